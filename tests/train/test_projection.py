"""The projection of the small tower, and weights that count as half-precision numbers."""

from __future__ import annotations

import torch

from defnet_train.projection import HalfWeights, hidden_projection


def test_weights_count_as_the_half_precision_numbers_next_to_them() -> None:
    torch.manual_seed(0)
    layer, x = HalfWeights(30, 20), torch.randn(5, 30)
    halves = layer.weight.detach().half()
    torch.testing.assert_close(layer(x), x @ halves.float().T + layer.bias, rtol=1e-6, atol=1e-6)
    assert torch.equal(layer.rounded(), halves.float())
    assert not torch.equal(layer.rounded(), layer.weight), "most weights are no half-precision numbers"


def test_gradients_pass_the_rounding() -> None:
    torch.manual_seed(0)
    layer, x = HalfWeights(6, 4), torch.randn(5, 6)
    layer(x).square().sum().backward()
    expected = 2 * (x @ layer.rounded().T + layer.bias).T @ x
    torch.testing.assert_close(layer.weight.grad, expected.detach())


def test_a_step_smaller_than_the_rounding_is_kept() -> None:
    layer, one = HalfWeights(1, 1, bias=False), torch.ones(1, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        for _ in range(8):
            layer(one)
            layer.weight.add_(1e-4)  # A tenth of the way to the next half-precision number.
    assert layer.rounded().item() == 1.0 + 2**-10


def test_the_projection_has_a_hidden_layer_twice_as_wide_as_the_embedding() -> None:
    torch.manual_seed(0)
    made = hidden_projection(50, 8, 0.3).eval()
    x = torch.randn(4, 50)
    hidden = torch.nn.functional.gelu(x @ made.hidden.rounded().T + made.hidden.bias)
    assert hidden.shape == (4, 16)
    torch.testing.assert_close(made(x), hidden @ made.proj.weight.T)
