"""The foreign checkpoints that defnet knows, and how photos and prompts of each are read.

All of them hold the tensors of CLIP ViT-B/32 and nothing else: prompts, crops and the way from crops to a score are in
the program that came with them, and stand here. Sources, read for these facts only: LIQE's `LIQE.py` and `utils.py`,
pyiqa's `liqe_arch.py`, the published code of DEFNet, whose scores are LIQE's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

KindName = Literal["liqe", "pyiqa-mix", "pyiqa-koniq", "defnet", "clip", "open-clip"]
Activation = Literal["quickgelu", "gelu"]

SIX_SETS = {"live": 4, "csiq": 4, "bid": 4, "clive": 4, "koniq10k": 16, "kadid10k": 16}
"""What LIQE and DEFNet were trained on, with LIQE's photos of each in a batch."""
TOWER_OF: dict[Activation, str] = {"quickgelu": "ViT-B-32-quickgelu", "gelu": "ViT-B-32-gelu"}
"""The towers, which differ in nothing but the activation; no file of weights tells it."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one kind of checkpoint is used by the program that it belongs to."""

    title: str
    prompt_preset: Literal["liqe", "pyiqa"]
    tasks: Literal["q", "q+s+d"] = "q+s+d"
    preprocess: Literal["liqe", "pyiqa"]
    local_aggregation: Literal["logit_mean"] = "logit_mean"
    sets: dict[str, int] = field(default_factory=lambda: dict(SIX_SETS))
    """Data sets that trained it."""


KINDS: dict[KindName, Kind] = {
    "liqe": Kind(title="LIQE, as its authors' code saves it", prompt_preset="liqe", preprocess="liqe"),
    "pyiqa-mix": Kind(title="pyiqa's liqe_mix", prompt_preset="pyiqa", preprocess="pyiqa"),
    "pyiqa-koniq": Kind(
        title="pyiqa's liqe, of KonIQ-10k", prompt_preset="pyiqa", tasks="q", preprocess="pyiqa", sets={"koniq10k": 16}
    ),
    "defnet": Kind(title="DEFNet, as its authors' code saves it", prompt_preset="liqe", preprocess="liqe"),
    # Read as LIQE read them before it was trained; they know nothing of quality yet.
    "clip": Kind(title="CLIP of OpenAI", prompt_preset="liqe", preprocess="liqe"),
    "open-clip": Kind(title="CLIP of open_clip", prompt_preset="liqe", preprocess="liqe"),
}

QUICK_NAMES = ("quickgelu", "openai", "laion400m", "metaclip", "dfn")
"""Parts of file and run names whose weights open_clip trained, or took over, with QuickGELU."""
PLAIN_NAMES = ("laion2b", "datacomp", "commonpool", "open_clip_")
"""The same for GELU. Files called open_clip_model and open_clip_pytorch_model come from hubs of such weights."""
