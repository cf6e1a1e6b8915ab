"""Where the training package's commands are mounted. PyTorch is imported when one runs, so that --help stays quick."""

from __future__ import annotations

import typer

from defnet_train import evaluate_command, report_command
from defnet_train.data_command import data_app
from defnet_train.import_command import import_
from defnet_train.train_command import train


def add_commands(app: typer.Typer) -> None:
    """Mount this package's commands on the `defnet` application."""
    app.command()(train)
    app.command("import")(import_)
    evaluate_command.add_commands(app)
    report_command.add_commands(app)
    app.add_typer(data_app)
