"""Training steps: everything that changes from one to the next, and how it is put down and taken up again."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from defnet_infer.errors import UsageError
from defnet_train.batch_order import BatchOrder
from defnet_train.batches import ViewSource, take, targets_of
from defnet_train.config import TrainConfig
from defnet_train.model import Defnet
from defnet_train.mos_scaling import scaled_targets
from defnet_train.objective import objective, weighted_losses
from defnet_train.parallel import gather, of_every_process, share_of
from defnet_train.run_data import RunData
from defnet_train.run_state import Position, RunState, under
from defnet_train.schedule import learning_rate_factor
from defnet_train.weighting import DynamicWeights


def adamw(config: TrainConfig, model: Defnet) -> torch.optim.AdamW:
    """AdamW with encoder, heads, and what has a rate of its own in groups; what is frozen is in none."""
    trunk = thawed(config, model)
    if config.optim.freeze_trunk:
        model.encoder.trunk.requires_grad_(False)
    if not config.optim.train_text:
        for part in model.encoder.text_tower():
            part.requires_grad_(False)
    model.encoder.clip.logit_scale.requires_grad_(config.optim.learn_kappa)
    decay = config.optim.encoder_weight_decay
    apart = model.encoder.text_tower() if config.optim.text_lr else []
    text = [p for p in apart if p.requires_grad]
    text_ids = {id(p) for p in text}
    encoder = [p for p in model.encoder.parameters() if p.requires_grad and id(p) not in text_ids]
    groups = [
        {"name": "encoder", "params": encoder, "lr": config.optim.encoder_lr, "weight_decay": decay},
        {"name": "heads", "params": list(model.heads.parameters()), "lr": config.optim.head_lr, "weight_decay": 0.0},
    ]
    if text:
        groups.append({"name": "text", "params": text, "lr": config.optim.text_lr, "weight_decay": decay})
    if trunk:
        groups.append({"name": "trunk", "params": trunk, "lr": config.optim.trunk_lr, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def first_stages(config: TrainConfig, model: Defnet) -> int:
    """How many stages of a multi-level trunk stay frozen when the others train after all; 0: there are no others.

    Raises:
        UsageError: If the tower is not such a trunk, or has fewer stages.
    """
    last = config.optim.thaw_stages
    if not last:
        return 0
    stages = getattr(model.encoder.trunk, "stages", 0)
    if not stages:
        raise UsageError(f"optim.thaw_stages needs a trunk in stages; {config.model.tower} is not: leave it at 0")
    if last >= stages:
        raise UsageError(f"optim.thaw_stages = {last}: {config.model.tower} has {stages} stages; one must stay frozen")
    return int(stages - last)


def thawed(config: TrainConfig, model: Defnet) -> list[nn.Parameter]:
    """Parameters of the last stages of a frozen trunk that train after all."""
    stages = first_stages(config, model)
    return model.encoder.last_stages(stages) if stages else []


class Trainer:
    """A model in training.

    Args:
        fabric: Device, precision, and the other processes.
        config: The run.
        model: On the device; trained in place.
        source: Views of all photos.
        data: The photos and their parts.
    """

    def __init__(self, fabric: Fabric, config: TrainConfig, model: Defnet, source: ViewSource, data: RunData) -> None:
        self.fabric, self.config, self.model = fabric, config, model
        self.position = Position()
        self.weights = DynamicWeights(weighted_losses(model.tasks, config.loss))
        self._source, self._train = source, data.parts["train"]
        self._targets = scaled_targets(targets_of(data.records), self._train, config.loss.mos_scaling)
        self._moments = adamw(config, model)
        self._thawed = thawed(config, model)
        self._start_rates = [group["lr"] for group in self._moments.param_groups]
        self._wrapped, self._optimizer = fabric.setup(model, self._moments)
        self._rng = np.random.default_rng(config.seed)
        self._order = BatchOrder(data.of("train"), config.data.sets, self._rng)
        if fabric.global_rank:  # Dropout must not drop the same features of every share.
            torch.manual_seed(config.seed + fabric.global_rank)

    def begin_epoch(self) -> float:
        """Set rates and modes for the epoch in work.

        Returns:
            The learning rate of the encoder.
        """
        optim = self.config.optim
        factor = learning_rate_factor(optim.schedule, self.position.epoch, optim.epochs)
        for group, rate in zip(self._moments.param_groups, self._start_rates, strict=True):
            group["lr"] = rate * factor
        if self._thawed and self.position.epoch >= optim.thaw_epoch:
            self._source.thaw()
            self.model.cached_stages = first_stages(self.config, self.model)
        for parameter in self._thawed:
            parameter.requires_grad_(self.position.epoch >= optim.thaw_epoch)
        self.model.train()
        self.model.encoder.trunk.eval()  # batch norm must not learn statistics of a few correlated crops
        return self._start_rates[0] * factor

    def step(self) -> None:
        """One training step; counts it and its losses."""
        indices = [self._train[i] for i in next(self._order)]
        share = share_of(len(indices), self.fabric)
        crops, overview = self._source.draw(indices, self.config.data.crops, self._rng, share)
        targets = take(self._targets, indices)
        crops, overview, *labels = self.fabric.to_device((crops, overview, *targets))
        prediction = gather(self._wrapped(crops, overview), len(indices), self.fabric)
        losses = objective(prediction, type(targets)(*labels), self.weights.weights(), self.config.loss)
        self._optimizer.zero_grad()
        self.fabric.backward(losses.total * self.fabric.world_size if self.fabric.world_size > 1 else losses.total)
        if self.config.optim.clip_norm:
            self.fabric.clip_gradients(self._wrapped, self._optimizer, max_norm=self.config.optim.clip_norm)
        self._optimizer.step()
        self.model.encoder.limit_logit_scale()
        sums = self.position.sums
        for name, value in losses.parts.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        self.position.step += 1
        self.position.photos += len(indices)

    def mean_losses(self) -> dict[str, float]:
        """Unweighted losses, mean over the steps of the epoch in work."""
        return {name: total / self.position.step for name, total in self.position.sums.items()}

    def end_epoch(self, entry: dict[str, Any], figure: float) -> None:
        """Close the epoch in work, and note what it was worth.

        Args:
            entry: Its line of the log.
            figure: What chooses the checkpoint, higher is better.
        """
        position = self.position
        position.entries.append(entry)
        if figure > position.best_figure or self.config.optim.checkpoint_choice == "last":
            position.best_figure, position.best_epoch = figure, position.epoch
        self.count_epoch()

    def count_epoch(self) -> None:
        """Go on to the next epoch: its weights of losses follow from those of the epochs before."""
        self.weights.end_epoch(self.mean_losses())
        position = self.position
        position.epoch += 1
        position.step, position.sums, position.photos, position.seconds = 0, {}, 0, 0.0

    def state(self) -> RunState:
        """All that is needed to go on with the same bits. Every process of a run must call it."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, moments in self._moments.state_dict()["state"].items():
            tensors |= {f"moments.{index}.{name}": value for name, value in moments.items()}
        tensors["rng.cpu"] = torch.stack(of_every_process(torch.get_rng_state(), self.fabric))
        if self.fabric.device.type == "cuda":
            own = torch.cuda.get_rng_state(self.fabric.device)
            tensors["rng.cuda"] = torch.stack(of_every_process(own, self.fabric))
        about = {
            "order": self._order.state(),
            "draws": self._rng.bit_generator.state,
            "loss_history": self.weights.history,
            "scaler": self.fabric.strategy.precision.state_dict(),
        }
        return RunState(self.position, tensors, about)

    def restore(self, state: RunState) -> None:
        """Go on from a state of a run with the same configuration, data and number of processes.

        Raises:
            CheckpointError: If the state is of another model.
        """
        state.load_weights(self.model)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in under("moments", state.tensors).items():
            index, _, kind = name.partition(".")
            moments.setdefault(int(index), {})[kind] = value
        self._moments.load_state_dict({**self._moments.state_dict(), "state": moments})
        self.position = state.position
        self.weights.history = state.about["loss_history"]
        self._order.restore(state.about["order"])
        self._rng.bit_generator.state = state.about["draws"]
        self.fabric.strategy.precision.load_state_dict(state.about["scaler"])
        restore_generators(state.tensors, self.fabric.global_rank, self.fabric.device)


def restore_generators(tensors: dict[str, Tensor], rank: int, device: torch.device) -> None:
    """Put PyTorch's generators where those of a process stood.

    Args:
        tensors: Of a `RunState`; ``rng.*`` have a row per process.
        rank: Which process.
        device: A GPU's own generator is restored with the CPU's.
    """
    # Cloned: torch.set_rng_state reads from the start of a tensor's storage, which is the row of process 0.
    torch.set_rng_state(tensors["rng.cpu"][rank].clone())
    if device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"][rank].clone(), device)
