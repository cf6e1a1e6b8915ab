"""The learning rate of an epoch is the one that LIQE's release would have used."""

from __future__ import annotations

import pytest
import torch

from defnet_train.schedule import learning_rate_factor


def test_the_cyclic_schedule_falls_for_five_epochs_and_rises_for_four() -> None:
    rates = [5e-6 * learning_rate_factor("liqe_cyclic", epoch, 80) for epoch in range(18)]
    period = [5.00e-6, 4.52e-6, 3.27e-6, 1.73e-6, 0.48e-6, 0.48e-6, 1.73e-6, 3.27e-6, 4.52e-6]
    assert rates == pytest.approx(period * 2, abs=0.005e-6)


def test_no_epoch_of_the_cyclic_schedule_trains_at_rate_zero() -> None:
    assert min(learning_rate_factor("liqe_cyclic", epoch, 80) for epoch in range(80)) > 0.09


def test_cosine_falls_once_from_the_full_rate() -> None:
    factors = [learning_rate_factor("cosine", epoch, 8) for epoch in range(8)]
    assert factors[0] == 1.0
    assert factors[2] == pytest.approx((2 + 2**0.5) / 4)  # 0.5 (1 + cos 45 degrees)
    assert factors[4] == pytest.approx(0.5)
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] > 0


def test_constant_stays_at_the_full_rate() -> None:
    assert {learning_rate_factor("constant", epoch, 8) for epoch in range(8)} == {1.0}


def test_the_cyclic_schedule_is_torchs_cosine_without_its_zero_rate_epoch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
    rates: list[float] = []
    while len(rates) < 40:
        if reference.get_last_lr()[0] > 1e-9:  # LIQE skips an epoch whose rate is 0.
            rates.append(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
    assert [learning_rate_factor("liqe_cyclic", epoch, 40) for epoch in range(40)] == pytest.approx(rates, abs=1e-6)
