"""Score views with PyTorch, as the reference that exported files are held against.

The one module of this package that imports torch and `defnet_train`, and it does so inside functions: it is used
only where a checkpoint is given, and a checkpoint can be read nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from defnet_infer.contract import Contract
from defnet_infer.errors import MissingExtraError
from defnet_infer.sessions import Outputs

if TYPE_CHECKING:
    from defnet_train.model import Defnet


class TorchReference:
    """A checkpoint's model in float32 on the CPU.

    Args:
        model: In eval mode.
        checkpoint_sha256: Of the file it was read from.
    """

    def __init__(self, model: Defnet, checkpoint_sha256: str) -> None:
        import torch

        self.checkpoint_sha256 = checkpoint_sha256
        self.contract: Contract = model.contract()
        self.name = f"PyTorch {torch.__version__} float32 CPU"
        self._model = model
        with torch.inference_mode():
            self._text_EJ = model.text_matrix()

    @classmethod
    def open(cls, checkpoint: Path) -> TorchReference:
        """Read a checkpoint.

        Raises:
            MissingExtraError: If PyTorch is not installed.
            CheckpointError: If the checkpoint cannot be used.
        """
        try:
            from defnet_train.checkpoint import load_checkpoint
        except ModuleNotFoundError as error:
            raise MissingExtraError("defnet check --checkpoint", "train", error.name or "torch") from error
        model, info = load_checkpoint(checkpoint)
        return cls(model, info.sha256)

    def run(self, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> Outputs:
        """All outputs of schema 1, as `Session.run` gives them."""
        import torch

        with torch.inference_mode():
            outputs = self._model.score_views(
                torch.from_numpy(np.array(crops)), torch.from_numpy(np.array(overview)), self._text_EJ
            )
        return {name: value.numpy() for name, value in outputs.items()}
