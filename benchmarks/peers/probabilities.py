"""Scores and 495 joint probabilities of the same photos, from pyiqa and from our exported file: differences.

Both are read where they arise: pyiqa's softmax is overheard, and ours is made an output of a copy of the graph. Scores
have all their digits here; in results they have four.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import report
import torch
from liqe_metric import metric_of

from defnet_infer import photos, views
from defnet_infer.artifact import Artifact
from defnet_infer.taxonomy import JOINT_COUNT


@contextmanager
def overheard() -> Iterator[list[np.ndarray]]:
    """What `torch.nn.functional.softmax` gives meanwhile, where it is one joint distribution."""
    heard: list[np.ndarray] = []
    softmax = torch.nn.functional.softmax

    def listening(*given: object, **named: object) -> torch.Tensor:
        result = softmax(*given, **named)
        if result.shape == (1, JOINT_COUNT):
            heard.append(result[0].numpy())
        return result

    torch.nn.functional.softmax = listening
    try:
        yield heard
    finally:
        torch.nn.functional.softmax = softmax


class JointFile:
    """An exported file whose softmaxes are outputs too."""

    def __init__(self, path: Path) -> None:
        self.rule = Artifact.open(path).contract.preprocess
        model = onnx.load(path)
        self.softmaxes = [node.output[0] for node in model.graph.node if node.op_type == "Softmax"]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.softmaxes)
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        self.inputs = {given.name for given in self.session.get_inputs()}

    def score(self, path: Path) -> tuple[float, np.ndarray]:
        """Score and distribution, (495,), of one photo."""
        made = views.make(photos.decode(path).image, self.rule)
        feed = {"crops": made.crops[None]}
        if "overview" in self.inputs:
            feed["overview"] = made.overview[None]
        [score], *values = self.session.run(["score", *self.softmaxes], feed)
        found = [value for value in values if value.shape == (1, JOINT_COUNT)]
        assert len(found) == 1, "a graph that averages logits has one joint distribution of a photo"
        return float(score), found[0][0]


def main() -> None:
    given = report.arguments(__doc__, "checkpoint", "model", "photos")
    metric, file = metric_of(given.checkpoint), JointFile(given.model)
    photos_compared = []
    for path in report.photos_of(given.photos):
        with overheard() as heard:
            theirs = metric(str(path)).item()
        score, joint_J = file.score(path)
        photos_compared.append(
            {
                "pyiqa": theirs,
                "score_difference": abs(score - theirs),
                "probability_difference": float(np.abs(heard[-1] - joint_J).max()),
                "largest_probability": float(heard[-1].max()),
            }
        )
    report.write(given.out, photos=photos_compared)


if __name__ == "__main__":
    main()
