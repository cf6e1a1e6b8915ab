"""A foreign checkpoint to one of ours: `defnet import`.

The new file holds the same weights in float32, the settings under which its own program scores photos, and where it
came from. It has no evidential head: `defnet export` makes a file without uncertainty of it, `defnet train --init`
starts a run from it, with a fresh head.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import defnet_infer
from defnet_infer.errors import UsageError
from defnet_infer.out_file import require_free
from defnet_train.checkpoint import NO_WEIGHTS, save_checkpoint
from defnet_train.config import TrainConfig
from defnet_train.foreign.kinds import KINDS, TOWER_OF, Activation, KindName
from defnet_train.foreign.layout import (
    PROMPTS_UNTOLD,
    Found,
    activation_of,
    find,
    kind_of,
    refuse_other_towers,
    require_vit_b_32,
)
from defnet_train.foreign.reading import read, sha256
from defnet_train.model import Defnet

SUFFIX = ".defnet.safetensors"


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was found and what was written."""

    source: Path
    out: Path
    kind: KindName
    told_by: str
    """What showed the kind."""
    activation: Activation
    activation_told_by: str
    tensors: int
    dtypes: str
    config: TrainConfig

    @property
    def prompts_untold(self) -> bool:
        """Whether the number of prompts is a guess: the file would look the same with the other one."""
        return self.told_by.endswith(PROMPTS_UNTOLD)

    @property
    def prompts(self) -> int:
        """How many sentences its text tower is asked."""
        return 5 if self.config.model.tasks == "q" else 495

    def facts(self) -> dict[str, str]:
        """What a person should know, name -> words."""
        model = self.config.model
        return {
            "it is": KINDS[self.kind].title,
            "told by": self.told_by,
            "tensors": f"{self.tensors} of CLIP ViT-B/32, {self.dtypes}",
            "prompts": f"{self.prompts}, worded as in the preset {model.prompt_preset}",
            "crops to score": model.local_aggregation,
            "activation": f"{self.activation} ({self.activation_told_by})",
            "preprocessing": model.preprocess,
            "uncertainty": "none, it has no evidential head",
        }


def default_out(checkpoint: Path) -> Path:
    """Beside the foreign file, called after it."""
    return checkpoint.with_name(checkpoint.stem + SUFFIX)


def check_target(out: Path, checkpoint: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before the work.

    Raises:
        UsageError: If it exists, its folder does not, it is not called .safetensors, or is the foreign file itself.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: a checkpoint is called NAME.safetensors; name it so")
    if out.exists() and checkpoint.exists() and out.samefile(checkpoint):
        raise UsageError(f"--out {out} is the file that is imported; choose another")
    require_free(out, "", overwrite=overwrite)


def import_checkpoint(
    checkpoint: Path,
    out: Path | None = None,
    *,
    kind: KindName | None = None,
    preprocess: str | None = None,
    activation: Activation | None = None,
    overwrite: bool = False,
) -> Imported:
    """Write a foreign checkpoint as one of ours.

    Args:
        checkpoint: Of LIQE, pyiqa, DEFNet's authors, OpenAI or open_clip.
        out: The file to write; None: beside it.
        kind: What it is, where the caller knows better than the file.
        preprocess: A preset of `contract.PREPROCESS_PRESETS`; None: that of its own program.
        activation: Of both towers; None: what its kind and name tell.
        overwrite: Replace an existing file.

    Raises:
        UsageError: If `out` cannot be written as asked.
        CheckpointError: If the file cannot be read without running code, or does not hold CLIP ViT-B/32.
        StorageError: If the disk is full.
    """
    out = out or default_out(checkpoint)
    check_target(out, checkpoint, overwrite=overwrite)
    found = find(checkpoint, read(checkpoint))
    refuse_other_towers(checkpoint, found)
    told = (kind, "--as") if kind else kind_of(checkpoint, found)
    active = (activation, "--activation") if activation else activation_of(checkpoint, found, told[0])
    config = _config(told[0], active[0], preprocess)
    bare = TrainConfig.from_dict({"model": config.to_dict()["model"] | NO_WEIGHTS}, str(checkpoint))
    model = Defnet(bare.model).eval()
    clip = model.encoder.clip
    clip.load_state_dict(require_vit_b_32(checkpoint, found, clip.state_dict()))
    imported = Imported(
        source=checkpoint,
        out=out,
        kind=told[0],
        told_by=told[1],
        activation=active[0],
        activation_told_by=active[1],
        tensors=len(found.tensors),
        dtypes=found.dtypes,
        config=config,
    )
    save_checkpoint(out, model, config, {"imported": _provenance(imported, found)})
    return imported


def _config(kind: KindName, activation: Activation, preprocess: str | None) -> TrainConfig:
    known = KINDS[kind]
    return TrainConfig.from_dict(
        {
            "recipe": "imported",
            "data": {"sets": known.sets},
            "model": {
                "tower": TOWER_OF[activation],
                "weights": "imported",
                "tasks": known.tasks,
                "prompt_preset": known.prompt_preset,
                "local_aggregation": known.local_aggregation,
                "preprocess": preprocess or known.preprocess,
                "head": {"kind": "none"},
            },
        },
        "defnet import",
    )


def _provenance(imported: Imported, found: Found) -> dict[str, Any]:
    """Goes into the checkpoint and every file that is exported from it; names no folder of this machine."""
    return {
        "kind": imported.kind,
        "what": KINDS[imported.kind].title,
        "told_by": imported.told_by,
        "file": imported.source.name,
        "sha256": sha256(imported.source),
        "tensors": imported.tensors,
        "dtypes": found.dtypes,
        "activation": imported.activation,
        "prompts": imported.prompts,
        "defnet": defnet_infer.__version__,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
