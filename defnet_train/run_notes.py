"""What a person should know of a run's photos before it starts, though nothing stops it: which outputs it cannot learn,
and what its interval can promise."""

from __future__ import annotations

from defnet_train.config import TrainConfig
from defnet_train.datasets import own_csv
from defnet_train.run_data import RunData
from defnet_train.uncertainty import photos_needed

TASKS = {"s": "scene", "d": "distortion"}


def run_notes(config: TrainConfig, data: RunData) -> list[str]:
    """One line for everything out of the ordinary.

    Args:
        config: The run.
        data: Its photos.
    """
    return [*_unlearned(config, data), *_few_to_calibrate(config, data)]


def _unlearned(config: TrainConfig, data: RunData) -> list[str]:
    labels = [record.labels for record in data.of("train") if record.labels]
    known = {"s": any(label.scenes for label in labels), "d": any(label.distortion is not None for label in labels)}
    asked = config.model.tasks.split("+")[1:]
    unknown = [TASKS[task] for task in asked if not known[task]]
    if not unknown:
        return []
    left = "+".join(["q", *(task for task in asked if known[task])])
    columns = f"add the column{'s' if len(unknown) > 1 else ''} {' and '.join(unknown)}"
    more = columns if own_csv.KEY in config.data.sets else "name label tables with --set data.labels=FOLDER"
    return [
        f"no training photo has a {' or '.join(unknown)} label; what the model says of it would mean nothing: "
        f"{more}, or leave it out: --set model.tasks={left}"
    ]


def _few_to_calibrate(config: TrainConfig, data: RunData) -> list[str]:
    folds = config.calibration.folds
    count = len(data.rated("val")) + (len(data.rated("train")) if folds else 0)
    if count >= photos_needed():
        return []
    promised = 100 * count // (count + 1)
    photos, advice = ("photos", "") if folds else ("validation photos", ", or --set calibration.folds=8")
    return [f"{count} {photos} promise an interval of {promised} %, not 95 %; more photos{advice}"]
