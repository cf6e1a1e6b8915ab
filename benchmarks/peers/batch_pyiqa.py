"""pyiqa's LIQE on photos one by one, together in a batch, and on one photo repeated (its issue 178).

Runs with the installed pyiqa, or with an older one that comes first on the path.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType

import report
import torch
from liqe_metric import metric_of
from PIL import Image
from torchvision.transforms.functional import to_tensor

REPEATS = 5


def pretend_imgaug() -> None:
    """Old versions import it, for training only; it does not work with today's NumPy."""
    module = ModuleType("imgaug")
    module.augmenters = None
    sys.modules["imgaug"] = module


def main() -> None:
    given = report.arguments(__doc__, "checkpoint", "photos")
    pretend_imgaug()
    metric = metric_of(given.checkpoint)
    # Old versions encode the prompts again for every photo.
    features = metric.net.clip_model.encode_text(metric.net.joint_texts) if hasattr(metric.net, "joint_texts") else None
    metric.net.clip_model.encode_text = lambda texts: features
    photos_NCHW = torch.stack([to_tensor(Image.open(path).convert("RGB")) for path in report.photos_of(given.photos)])
    repeated_NCHW = photos_NCHW[:1].expand(REPEATS, -1, -1, -1)
    import pyiqa

    report.write(
        given.out,
        version=re.sub(r"\+.*", "", pyiqa.__version__),
        alone=[float(metric(one)) for one in photos_NCHW.split(1)],
        together=metric(photos_NCHW).flatten().tolist(),
        repeated=metric(repeated_NCHW).flatten().tolist(),
    )


if __name__ == "__main__":
    main()
