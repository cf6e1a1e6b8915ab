"""What an exported file promises: which pixels it wants, which numbers it returns.

A `Contract` travels inside every exported file as JSON (metadata key ``defnet.contract``). It holds the
whole preprocessing rule, so that a C++ program can make the same views, and the tensor names and
shapes. Its fingerprint goes into every results file: two runs are comparable when they agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from defnet_infer.errors import ArtifactError
from defnet_infer.taxonomy import CLASSES, SCORE_RANGE, TASKS

SCHEMA_VERSION = 1

KIND_KEY = "defnet.kind"
END_TO_END = "end_to_end"
"""Value of the metadata key ``defnet.kind`` in a file that takes a raw photo. Files without the key take views."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From upright 8-bit sRGB pixels to views. Field order is the order of the steps.

    All sizes are pixels. A resized side is ``side * target // short_side`` in integer arithmetic.
    Filters are Pillow's: the support grows with the shrink factor (antialiased), pixel centres at half. A resize
    goes across first and then down, and rounds to 8 bits after each.
    """

    name: str = "defnet"
    shrink_short_side: int = 768
    """When both sides are at least this, shrink so that the short side equals it. 0: never shrink."""
    shrink_filter: Literal["bilinear"] = "bilinear"
    crop_size: int = 224
    """Crops are squares of this side. A photo with a shorter side is enlarged to it first."""
    enlarge_filter: Literal["bicubic"] = "bicubic"
    crop_count: int = 15
    stride: int = 32
    """Distance of neighbouring windows; halved until there are `crop_count` windows or it is 1, unless `few_windows`
    says otherwise."""
    large_stride: int = 48
    large_side: int = 1024
    """When either side reaches this, windows are `large_stride` apart."""
    crop_rule: Literal["every_nth", "linspace"] = "every_nth"
    """Of n row-major windows take k * (n // crop_count), or k * (n - 1) / (crop_count - 1) rounded half to even."""
    few_windows: Literal["halve", "repeat"] = "halve"
    """What happens when there are fewer windows than crops. ``halve``: see `stride`, and what is still missing is
    repeated in order. ``repeat``: the stride stays, and windows are repeated in order; the graph counts each once."""
    overview_mode: Literal["squash", "center_crop", "letterbox", "none"] = "squash"
    """How the photo, before any shrinking, becomes a square. ``squash``: resized whole, aspect ratio not kept.
    ``center_crop``: the square of its short side, ``(long - short) // 2`` from the edge, cut out, then resized.
    ``letterbox``: resized to sides of ``max(1, side * crop_size // long_side)``, ``(crop_size - new_side) // 2`` from
    the edges of a square whose rest is gray 128. ``none``: the model sees crops only and has no such input."""
    overview_filter: Literal["bicubic"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    """Subtracted per channel from pixels in [0, 1]; done inside the graph."""
    std: tuple[float, float, float] = CLIP_STD

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """The rule that `dataclasses.asdict` wrote, through JSON or not.

        Raises:
            KeyError, TypeError: If it is not one.
        """
        return cls(**_known(cls, values))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what was added to schema 1 later stands in it only where it differs from what was always so."""
        return _without_defaults(asdict(self), type(self), ("few_windows",))


PREPROCESS_PRESETS = {
    "defnet": Preprocess(),
    # As LIQE's own scripts prepare photos, and the DEFNet of the paper after them.
    "liqe": Preprocess(name="liqe"),
    # As pyiqa's LIQE: whatever the size of a photo, its own pixels in windows 32 apart.
    "pyiqa": Preprocess(name="pyiqa", shrink_short_side=0, large_stride=32, few_windows="repeat"),
}
"""Rules by name, as `model.preprocess` of a recipe and `defnet import` choose them."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output: name, element type, shape. A string in the shape is a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


IMAGE = TensorSpec(name="image", dtype="uint8", shape=("height", "width", 3))
"""The one input of an end-to-end file: an upright RGB photo. Its outputs are the contract's, with a batch of 1."""


def _inputs(preprocess: Preprocess) -> tuple[TensorSpec, ...]:
    side = preprocess.crop_size
    crops = TensorSpec(name="crops", dtype="uint8", shape=("batch", preprocess.crop_count, side, side, 3))
    if preprocess.overview_mode == "none":
        return (crops,)
    return crops, TensorSpec(name="overview", dtype="uint8", shape=("batch", side, side, 3))


def _outputs(preprocess: Preprocess, tasks: tuple[str, ...], uncertainty: bool) -> tuple[TensorSpec, ...]:
    def spec(name: str, *shape: int) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=("batch", *shape))

    evidence = (
        spec("fused_score"),
        spec("aleatoric"),
        spec("epistemic"),
        spec("interval", 2),
        spec("nig", 4),
    )
    return (
        spec("score"),
        *(evidence if uncertainty else ()),
        *(spec(task, len(CLASSES[task])) for task in tasks),
        spec("crop_score", preprocess.crop_count),
    )


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The promise of one exported file.

    Raises:
        ArtifactError: From `from_json`, if the text is not a contract of this schema.
    """

    encoder: str
    """open_clip model name of the image tower."""
    prompt_preset: str
    local_aggregation: Literal["prob_mean", "logit_mean"] = "prob_mean"
    uncertainty_source: Literal["fusion", "cross"] = "fusion"
    """Which NIG the uncertainty outputs come from: local-global fusion, or the crops alone."""
    tasks: tuple[str, ...] = TASKS
    """What the model tells of a photo, in this order: quality, and scene and distortion where it knows them."""
    uncertainty: bool = True
    """Whether it has an evidential head. LIQE and its kin have none: score and probabilities are all they say."""
    schema: int = SCHEMA_VERSION
    score_range: tuple[float, float] = SCORE_RANGE
    higher_is_better: bool = True
    interval_level: float = 0.95
    preprocess: Preprocess = field(default_factory=Preprocess)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Input tensors in graph order; derived, so that it cannot contradict `preprocess`."""
        return _inputs(self.preprocess)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Output tensors in graph order."""
        return _outputs(self.preprocess, self.tasks, self.uncertainty)

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces. Tensor specs are written out for other languages."""
        body = _without_defaults(asdict(self), type(self), ("tasks", "uncertainty"))
        body["preprocess"] = self.preprocess.to_dict()
        body["inputs"] = [asdict(spec) for spec in self.inputs]
        body["outputs"] = [asdict(spec) for spec in self.outputs]
        return json.dumps(body, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Read what `to_json` wrote."""
        try:
            body = json.loads(text)
            if body.get("schema") != SCHEMA_VERSION:
                raise ArtifactError(
                    f"the model file has contract schema {body.get('schema')}, this defnet reads schema "
                    f"{SCHEMA_VERSION}; export it again with this version: defnet export CHECKPOINT"
                )
            stored = {side: body.pop(side) for side in ("inputs", "outputs")}
            preprocess = Preprocess.from_dict(body.pop("preprocess"))
            known = _known(cls, body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"the model file's contract cannot be read ({error}); export it again") from error
        contract = cls(preprocess=preprocess, **known)
        if stored != json.loads(json.dumps({k: [asdict(s) for s in getattr(contract, k)] for k in stored})):
            raise ArtifactError("the model file's contract names other tensors than its schema has; export it again")
        return contract


def _without_defaults(values: dict[str, Any], cls: type, names: tuple[str, ...]) -> dict[str, Any]:
    """Leave out fields that hold their default, so that files from before these fields keep their fingerprint."""
    usual = {f.name: f.default for f in fields(cls) if f.name in names}
    return {key: value for key, value in values.items() if key not in usual or value != usual[key]}


def _known(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for a dataclass from JSON: lists become tuples, an unknown key is an error."""
    names = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise KeyError(f"unknown field {', '.join(unknown)}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
