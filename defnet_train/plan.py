"""`defnet train --dry-run`: what a run would do and what it would take, without doing any of it.

Parameters are counted in the model itself. Memory is weights, gradients and AdamW's two moments, all float32, and what
the forward pass keeps for the backward pass. The last is found by running the pass on tensors that have shapes and no
content, and summing the size of all that autograd would save. What comes and goes within an operator, what the
allocator wastes and what PyTorch itself occupies is not in it; of the peak that is measured on the CPU the estimate was
the 1/1.16 part for MobileNetV2, 1/1.20 for ViT-B/32, and 1/1.4 to 1/2.2 for a tiny tower, where that waste is large.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from defnet_infer.contract import Preprocess
from defnet_train.batch_order import BatchOrder
from defnet_train.config import RunConfig, TrainConfig, require_trainable
from defnet_train.features import FEW_WINDOWS
from defnet_train.folds import deal
from defnet_train.initial_weights import bare_model
from defnet_train.model import Defnet
from defnet_train.run_data import PARTS, RunData
from defnet_train.trainer import adamw, first_stages, thawed

FLOAT, HALF = 4, 2
"""Bytes of a float32 and a float16."""


@dataclass(frozen=True)
class Part:
    """Parameters of a part of the model."""

    name: str
    count: int
    trained: int
    rate: float
    """Learning rate at its highest."""
    weight_decay: float


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, all estimated by the rule in the module's first lines."""

    weights: int
    gradients: int
    moments: int
    activations: int
    features: int
    """Of a frozen trunk, in the computer's memory whatever the device."""

    @property
    def on_device(self) -> int:
        """All but the features."""
        return self.weights + self.gradients + self.moments + self.activations


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    config: TrainConfig
    photos: dict[str, dict[str, int]]
    """Data set -> photos of every part, of those rated, and of one batch."""
    parts: list[Part]
    memory: Memory

    @property
    def batch(self) -> int:
        """Photos of one step, on all devices together."""
        return sum(counts["batch"] for counts in self.photos.values())


def make_plan(config: TrainConfig, data: RunData) -> Plan:
    """Plan a run.

    Args:
        config: The run. Its weights are not needed: only sizes count.
        data: Its data.

    Raises:
        UsageError: If the tower is unknown, or the photos are too few for the folds.
        DatasetError: If a data set of the mixture has no photo.
    """
    require_trainable(config)
    if config.calibration.folds:
        deal(data, config.calibration.folds, config.seed)
    model = bare_model(config)
    groups = adamw(config, model).param_groups
    model.cached_stages = first_stages(config, model)
    for parameter in thawed(config, model):
        parameter.requires_grad_(True)  # As in the later epochs, which take the most.
    train = data.of("train")
    batch = next(BatchOrder(train, config.data.sets, np.random.default_rng(config.seed)))
    in_batch = Counter(train[i].dataset for i in batch)
    photos = {
        key: {
            **{part: sum(r.dataset == key for r in data.of(part)) for part in PARTS},
            "rated": sum(r.dataset == key and r.target is not None for r in data.records),
            "batch": in_batch[key],
        }
        for key in config.data.sets
    }
    group_of = {id(p): group for group in groups for p in group["params"]}
    parts = []
    for name, parameters in _parts(model).items():
        trained = [p for p in parameters if id(p) in group_of]
        group = group_of[id(trained[0])] if trained else {"lr": 0.0, "weight_decay": 0.0}
        total, moving = (sum(p.numel() for p in some) for some in (parameters, trained))
        parts.append(Part(name, total, moving, group["lr"], group["weight_decay"]))
    weights = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    trained = FLOAT * sum(part.trained for part in parts)
    rows = -(-sum(in_batch.values()) // config.run.devices)
    memory = Memory(
        weights=weights,
        gradients=trained,
        moments=2 * trained,
        activations=saved_for_backward(model, rows, config),
        features=_feature_bytes(model, data, config) if config.optim.freeze_trunk else 0,
    )
    return Plan(config, photos, parts, memory)


def lines(plan: Plan) -> list[str]:
    """The plan as text, line by line."""
    config, optim, memory = plan.config, plan.config.optim, plan.memory
    text = [f"recipe {config.recipe}: {config.model.tower}, session {config.data.session}, seed {config.seed}", ""]
    text.append(f"{'data set':<14}{'train':>8}{'val':>8}{'test':>8}{'rated':>8}{'a batch':>9}{'passes an epoch':>17}")
    for key, counts in plan.photos.items():
        passes = optim.steps_per_epoch * counts["batch"] / counts["train"]
        cells = "".join(f"{counts[part]:>8}" for part in (*PARTS, "rated"))
        text.append(f"{key:<14}{cells}{counts['batch']:>9}{passes:>17.2f}")
    views = config.data.crops + 1
    shared = f" on {config.run.devices} devices" if config.run.devices > 1 else ""
    folds = config.calibration.folds
    again = f"; {folds} times as many again for models that calibrate" if folds else ""
    text += [
        "",
        f"steps: {optim.epochs} epochs of {optim.steps_per_epoch} = {optim.epochs * optim.steps_per_epoch}, each of "
        f"{plan.batch} photos, {plan.batch * views} views{shared}; {optim.schedule} schedule{again}",
        "",
        f"{'parameters':<20}{sum(part.count for part in plan.parts):>13,}",
    ]
    for part in plan.parts:
        how = f"rate {part.rate:g}, weight decay {part.weight_decay:g}" if part.trained else "frozen"
        some = f"{part.trained:,} at " if 0 < part.trained < part.count else ""
        text.append(f"  {part.name:<18}{part.count:>13,}  {some}{how}")
    sizes = {"weights": memory.weights, "gradients": memory.gradients, "moments": memory.moments}
    sizes["activations"] = memory.activations
    each = "each device, " if config.run.devices > 1 else ""
    text += ["", f"memory ({each}{config.run.precision}), estimated: {_gigabytes(memory.on_device)}"]
    text += [f"  {name:<18}{_gigabytes(size):>13}" for name, size in sizes.items()]
    if memory.features:
        text.append(f"  {'trunk features':<18}{_gigabytes(memory.features):>13}  in the computer's memory")
    return text


def saved_for_backward(model: Defnet, rows: int, config: TrainConfig) -> int:
    """Bytes that the forward pass of a training step keeps for the backward pass, beside the weights.

    Args:
        model: Its `requires_grad` flags as in training.
        rows: Photos.
        config: Crops, precision, and whether views or trunk features go in.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    model.train()
    views = (rows, config.data.crops)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        state = {name: mode.from_tensor(t) for name, t in [*model.named_parameters(), *model.named_buffers()]}
        own = {tensor.untyped_storage()._cdata for tensor in state.values()}
        if config.optim.freeze_trunk:
            width = _begun(model) if model.cached_stages else _features(model)
            crops, overview = torch.empty(*views, width), torch.empty(rows, width)
        else:
            side = Preprocess().crop_size
            crops = torch.empty(*views, side, side, 3, dtype=torch.uint8)
            overview = torch.empty(rows, side, side, 3, dtype=torch.uint8)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), _autocast(config.run):
            # The outputs must live until all is counted, or their storages' addresses would be used again.
            outputs = torch.func.functional_call(model, state, (crops, overview))
        size = sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in own)
        del outputs
    return size


@contextlib.contextmanager
def _autocast(config: RunConfig) -> Iterator[None]:
    if config.precision == "32-true":
        yield
        return
    # On the CPU float16 stands in for nothing; both halves have the same size.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield


def _parts(model: Defnet) -> dict[str, list[nn.Parameter]]:
    clip = model.encoder.clip
    trunk = {id(p) for p in model.encoder.trunk.parameters()}
    visual = {id(p) for p in clip.visual.parameters()}
    parts = {
        "image tower": [p for p in clip.parameters() if id(p) in trunk],
        "image projection": [p for p in clip.visual.parameters() if id(p) not in trunk],
        "text tower": [p for p in clip.parameters() if id(p) not in visual and p is not clip.logit_scale],
        "temperature": [clip.logit_scale],
        "evidential heads": list(model.heads.parameters()),
    }
    return {name: parameters for name, parameters in parts.items() if parameters}


def _features(model: Defnet) -> int:
    """Length of a view's trunk feature, of which the projection makes the embedding."""
    has_projection = hasattr(model.encoder.clip.visual, "head")
    return int(model.encoder.trunk.num_features) if has_projection else model.encoder.embed_dim


def _begun(model: Defnet) -> int:
    """Length of what a trunk gives when it is stopped before the stages that train."""
    side = Preprocess().crop_size
    with torch.inference_mode():
        views = torch.zeros(1, side, side, 3, dtype=torch.uint8)
        return model.encoder.begin_trunk(views, model.cached_stages).shape[-1]


def _feature_bytes(model: Defnet, data: RunData, config: TrainConfig) -> int:
    pictures = 2 + len(config.data.scales)
    rated = pictures * (Preprocess().crop_count + 1)
    views = sum(len(FEW_WINDOWS) + 1 if r.series else rated for r in data.records)
    begun = HALF * _begun(model) if model.cached_stages else 0
    return views * (FLOAT * _features(model) + begun)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
