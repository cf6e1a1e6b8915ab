"""What a person, or a log file, is told while a model is trained."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from defnet_infer.wording import duration
from defnet_train.display import Display
from defnet_train.figure_tables import print_figures, print_parts
from defnet_train.listener import StepReport


def report(step: int) -> StepReport:
    losses = {"quality": 0.12345, "scene": 0.5}
    return StepReport(step=step, steps=20, photos_per_second=31.7, losses=losses, task_weights={"quality": 1.1})


def show(display: Display, steps: int) -> None:
    with display:
        display.stage("epoch 1/2", 10)
        for step in range(1, steps + 1):
            display.advance()
            display.step(report(step))
        display.epoch({"epoch": 0, "losses": {"quality": 0.12345}, "val_srcc": 0.81234, "seconds": 12.3})


def test_a_log_file_gets_a_line_now_and_then() -> None:
    text = io.StringIO()
    show(Display(every=0, console=Console(file=text, width=300)), 3)
    lines = text.getvalue().splitlines()
    assert lines[0] == "epoch 1/2: 1 of 10; quality 0.123  scene 0.500; weights 1.10; 32 photos/s"
    assert lines[1].startswith(lines[0].replace("1 of 10", "2 of 10"))
    assert lines[1].endswith("s left"), "the rest of the whole run, once two steps tell how long one takes"
    assert lines[3] == "epoch 1: quality 0.123  validation SRCC 0.8123  (12 s)"
    assert len(lines) == 4


def test_between_two_lines_passes_the_time_that_was_asked_for() -> None:
    text = io.StringIO()
    show(Display(every=3600, console=Console(file=text, width=300)), 10)
    assert len(text.getvalue().splitlines()) == 1, "the epoch's own line alone"


def test_a_terminal_shows_the_figures_beside_the_bar() -> None:
    text = io.StringIO()
    show(Display(console=Console(file=text, width=200, force_terminal=True)), 3)
    for shown in ("epoch 1/2", "3/10", "quality 0.123", "weights 1.10", "32 photos/s", "left"):
        assert shown in text.getvalue()


def test_a_wait_is_given_in_a_unit_that_fits() -> None:
    assert [duration(s) for s in (3.4, 89, 600, 7200)] == ["3 s", "89 s", "10 min", "2.0 h"]


@pytest.mark.parametrize("terminal", [False, True])
def test_brackets_in_a_path_are_shown_as_they_are(terminal: bool) -> None:
    text = io.StringIO()
    with Display(every=0, console=Console(file=text, width=200, force_terminal=terminal)) as display:
        display.stage("scoring with b[/x]/best[1].safetensors", 2)
        display.advance()
    assert "scoring with b[/x]/best[1].safetensors" in text.getvalue()


def test_brackets_in_tables_of_figures_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_figures({"b[/x]": {"srcc": 0.5}}, title="Agreement [/b]")
    print_parts({"[red]": {"srcc": 0.5}}, title="By set of [/c]")
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("b[/x]", "Agreement [/b]", "[red]", "By set of [/c]"))
