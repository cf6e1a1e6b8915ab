"""Everything that can go wrong because of an input, a file or a machine, as one small tree.

DefnetError                    base; the command line prints `str(error)` and exits with `exit_code`
+-- UsageError         (2)     the command was typed wrong: a path that is not there, an output that exists
+-- PhotoError         (1)     one photo could not be read; it becomes a row with the reason and the run goes on
+-- ArtifactError      (3)     the model file is missing, is not ONNX, is not ours, or is of another schema
+-- SessionError       (3)     the runtime or the device cannot run the model
+-- DatasetError       (3)     training data: a label file or a photo is missing or contradicts itself
+-- TrainingError      (3)     training broke down: a loss is no longer a number
+-- CheckpointError    (3)     a training checkpoint is missing or belongs to another architecture
+-- StorageError       (3)     a file cannot be written: the disk is full or gone; what it held before is untouched
+-- MissingExtraError  (3)     the command needs packages that the base install does not bring
+-- GateError          (4)     a parity or precision gate failed: the numbers are not good enough to ship

Each leaf is a different thing for the caller to do. A message says what is wrong, where, and what to type
next. `assert` is for our own bugs only; whatever a person can cause raises one of these.
"""

from __future__ import annotations


class DefnetError(Exception):
    """Base of the tree. `exit_code` is what the `defnet` command returns for it."""

    exit_code = 3


class UsageError(DefnetError):
    """The command line asks for something that cannot be done as written."""

    exit_code = 2


class PhotoError(DefnetError):
    """One photo cannot be read. Never ends a run."""

    exit_code = 1


class ArtifactError(DefnetError):
    """The model file cannot be used."""


class SessionError(DefnetError):
    """The runtime or device cannot run the model."""


class DatasetError(DefnetError):
    """Training data is missing or inconsistent."""


class TrainingError(DefnetError):
    """Training cannot go on."""


class CheckpointError(DefnetError):
    """A training checkpoint cannot be used."""


class StorageError(DefnetError):
    """A file cannot be written."""


class MissingExtraError(DefnetError):
    """A command needs an optional part of the install.

    Args:
        command: What the person typed, such as ``defnet train``.
        extra: The extra of the `defnet` package that brings what is missing.
        missing: The module that could not be imported.
    """

    def __init__(self, command: str, extra: str, missing: str) -> None:
        super().__init__(f"`{command}` needs {missing}; install it with: pip install 'defnet[{extra}]'")


class GateError(DefnetError):
    """Two ways of computing the same numbers disagree by more than the bound."""

    exit_code = 4
