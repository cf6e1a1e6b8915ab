"""defnet_infer scores photos with an exported DEFNet model. It never needs PyTorch.

    from defnet_infer import Scorer
    for row in Scorer().score("photos"):
        print(row.path, row.score, row.interval_low, row.interval_high)

Names are loaded when they are first used, so that `import defnet_infer` costs nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from defnet_infer.results import Row as Row
    from defnet_infer.scorer import Scorer as Scorer

    __version__: str

__all__ = ["Row", "Scorer", "__version__"]

_HOME = {"Row": "defnet_infer.results", "Scorer": "defnet_infer.scorer"}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "__version__":
        return importlib.metadata.version("defnet")
    raise AttributeError(f"module 'defnet_infer' has no attribute {name!r}")
