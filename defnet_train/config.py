"""The whole configuration of a training run: frozen dataclasses, saved with every checkpoint.

A recipe is a TOML file with the tables below, which `defnet_train.recipe_file` reads. Field comments give the row of
the README's table of departures where the paper leaves a choice.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from defnet_infer.errors import UsageError
from defnet_train.typed_tables import read_tables

PathText = str


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained on, and how photos become batches."""

    sets: dict[str, int] = field(default_factory=lambda: {"clive": 48})
    """Data set key -> photos of it in every batch."""
    labels: PathText = ""
    """Folder of LIQE-style label tables (clive.tsv, ...) with scenes and distortions; empty: quality only."""
    missing: Literal["error", "skip"] = "error"
    """A photo that the score file lists and the folder lacks."""
    splits: Literal["generated", "liqe"] = "generated"
    """A seeded 70/10/20 split, by reference photo where there is one; or LIQE's sessions, from the tables of `labels`,
    or without those from ``splits2`` in each data set's folder. What LIQE did not split is generated either way."""
    session: int = 1
    """Number of the split."""
    fix_live_fastfading: bool = True
    """LIQE's table of LIVE calls fast fading white noise; believe the folder. False: as LIQE trained."""
    csv: PathText = ""
    """Your own photos, the data set `csv`: a CSV file with the columns path and mos; see docs/datasets.md."""
    csv_root: PathText = ""
    """Folder that its paths are relative to; empty: the folder of the file."""
    csv_range: tuple[float, ...] = ()
    """Lowest and highest score of its scale; empty: those of the file."""
    csv_lower_is_better: bool = False
    """Its scores are worse the higher they are."""
    crops: int = 4
    """Windows drawn per photo and step, with replacement (row 28)."""
    scales: tuple[float, ...] = ()
    """Factors by which rated photos are also resized in training, their scores kept: a crop of a large photo shows
    little of it, and photos of other cameras are of other sizes."""
    synthetic_levels: tuple[int, ...] = (1, 3, 5)
    """Levels, 1 to 5, of every distortion in the data set `synthetic`."""
    cache: PathText = ""
    """Folder for the features of a frozen trunk; empty keeps them in memory."""

    def __post_init__(self) -> None:
        _at_least("data", self, session=1, crops=1)
        levels = set(self.synthetic_levels)
        if not levels or not levels <= {1, 2, 3, 4, 5} or len(levels) < len(self.synthetic_levels):
            raise UsageError(f"data.synthetic_levels = {list(self.synthetic_levels)}: levels are 1 to 5, each once")
        if not all(0.25 <= scale <= 4 for scale in self.scales):
            raise UsageError(f"data.scales = {list(self.scales)}: factors from 0.25 to 4, such as [0.72, 1.45]")
        ends = self.csv_range
        if ends and not (len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf):
            raise UsageError(f"data.csv_range = {list(ends)}: write the two ends of the scale, such as [0, 100]")


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """How evidence comes from marginals (rows 10, 11, 14, 16)."""

    kind: Literal["linear", "mlp", "moment", "tied", "none"] = "linear"
    """See `defnet_train.heads`. ``none``: no evidence, only scores and probabilities, as in imported weights; such a
    model is not trained, a run with another kind starts from it with ``--init``."""
    hidden: int = 32
    """Width of the hidden layer of `mlp`."""
    input: Literal["marginal", "marginal+embedding"] = "marginal"
    """What `linear` and `mlp` see; the embedding is passed without gradient."""
    residual_delta: bool = False
    """Add a learned shift to delta, which else is the marginal's own."""
    noise: Literal["learned", "marginal"] = "learned"
    """Where `linear` and `mlp` take beta from when scoring: what they learned, or the variance of the marginal times a
    factor that calibration fits."""
    share_overview: bool = True
    """One head for crops and overview, or one for each (row 22)."""

    def __post_init__(self) -> None:
        _at_least("model.head", self, hidden=1)
        layered = (self.input, self.residual_delta, self.noise) != ("marginal", False, "learned")
        if self.kind in ("moment", "tied", "none") and layered:
            raise UsageError(
                f"model.head.kind = '{self.kind}' has no layer for an embedding, a residual delta or another noise; "
                "use model.head.kind = 'linear' or 'mlp', or leave input, residual_delta and noise as they are"
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Architecture and starting weights."""

    tasks: Literal["q", "q+s", "q+d", "q+s+d"] = "q+s+d"
    """Quality alone, with scenes, with distortions, or with both. What is left out leaves the prompts too."""
    tower: str = "ViT-B-32-quickgelu"
    weights: str = "openai"
    """``openai``, ``random`` or a local CLIP weights file."""
    trunk_weights: PathText = ""
    dropout: float = 0.0
    """Share of trunk features, and of the projection's hidden units, dropped while training; only ``mobilenetv2_100``
    has such a projection."""
    prompt_preset: Literal["paper", "liqe", "pyiqa"] = "paper"
    """How the classes are worded; see `defnet_infer.taxonomy`."""
    preprocess: Literal["defnet", "liqe", "pyiqa"] = "defnet"
    """How photos become views; see `PREPROCESS_PRESETS` in `defnet_infer.contract`."""
    local_aggregation: Literal["prob_mean", "logit_mean"] = "prob_mean"
    """Row 5."""
    uncertainty_source: Literal["fusion", "cross"] = "fusion"
    """Row 25."""
    cross_inference: Literal["tempered", "sum", "sample4"] = "tempered"
    """How fifteen crops are fused where training fused four (row 17)."""
    local_global_average: Literal["param", "moment"] = "param"
    """Mean of the NIG parameters; ``moment``: when scoring, with the spread between crops added to the epistemic
    variance (row 23)."""
    crop_rule: Literal["every_nth", "linspace"] = "every_nth"
    """Which fifteen windows are scored (row 28)."""
    overview_mode: Literal["squash", "center_crop", "letterbox"] = "squash"
    """How the whole photo becomes a square (row 27)."""
    head: HeadConfig = field(default_factory=HeadConfig)

    def __post_init__(self) -> None:
        _at_least("model", self, dropout=0)
        if self.dropout >= 1:
            raise UsageError(f"model.dropout = {self.dropout} would drop everything; it must be below 1")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights and variants of the objective."""

    cross_weight: float = 0.1
    """lambda 1 on the cross-region evidential loss (row 36)."""
    fusion_weight: float = 0.1
    """lambda 2 on the local-global evidential loss (row 36)."""
    tau: float = 0.05
    """Weight of wrong evidence, Eq. (3)."""
    label_noise_aux: float = 0.05
    """sigma_0 of the scene and distortion NIGs (row 21)."""
    pair_reduction: Literal["per_dataset", "flat"] = "per_dataset"
    """Row 8."""
    tie_probability: float = 0.5
    """Row 7."""
    order_weight: float = 1.0
    """What pairs of synthetic copies, of which only the order is known, count beside those of rated photos."""
    order_sharpness: float = 1.0
    """What their score differences are multiplied by in Eq. (7). At 1 most of the loss comes from copies that are in
    order already and could be further apart; at 10 from those that are not."""
    dwa_scope: Literal["multitask", "all"] = "multitask"
    """What dynamic weights weigh: the tasks, or every evidential loss too (row 9)."""
    mos_scaling: Literal["nominal", "observed", "raw"] = "nominal"
    """Scale of the evidential target of quality: the data set's nominal ends mapped to 1 and 5, the ends seen in
    training, or its own scale, as the published code has it (row 20)."""
    overview_gradient: Literal["head", "full"] = "head"
    """Where the overview's loss goes: the head only, as in the paper, or into the encoder too (row 26)."""

    def __post_init__(self) -> None:
        _at_least("loss", self, cross_weight=0, fusion_weight=0, tau=0, label_noise_aux=0)
        _at_least("loss", self, order_weight=0, order_sharpness=0)
        if not 0 <= self.tie_probability <= 1:
            raise UsageError(f"loss.tie_probability = {self.tie_probability} must be from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, its groups and the schedule (rows 30, 31)."""

    epochs: int = 80
    steps_per_epoch: int = 200
    schedule: Literal["liqe_cyclic", "cosine", "constant"] = "liqe_cyclic"
    encoder_lr: float = 5e-6
    encoder_weight_decay: float = 1e-3
    head_lr: float = 1e-3
    text_lr: float = 0.0
    """Rate of the text tower; 0: that of the encoder."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0: not clipped."""
    freeze_trunk: bool = False
    """Train everything but the image trunk, on cached trunk features."""
    thaw_stages: int = 0
    """Last stages of a frozen multi-level trunk that train after all, on cached activations of those before."""
    thaw_epoch: int = 0
    """Epochs before they begin: an untrained projection would spoil them."""
    trunk_lr: float = 1e-4
    """Learning rate of these stages."""
    train_text: bool = True
    """False: the text tower keeps its starting weights."""
    learn_kappa: bool = True
    """Row 4."""
    checkpoint_choice: Literal["quality_best", "avg_best", "last"] = "quality_best"
    """Which epoch is kept: the best mean validation SRCC over data sets, or the best mean of that and the accuracies of
    scene and distortion, or the last: where validation photos are few, the best of many epochs is the luckiest."""

    def __post_init__(self) -> None:
        _at_least("optim", self, epochs=1, steps_per_epoch=1, encoder_lr=0, head_lr=0, text_lr=0, clip_norm=0)
        _at_least("optim", self, encoder_weight_decay=0, thaw_stages=0, thaw_epoch=0, trunk_lr=0)
        if self.thaw_stages and not self.freeze_trunk:
            raise UsageError("optim.thaw_stages is for a frozen trunk; set optim.freeze_trunk = true as well")


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """On what the interval is fitted when training is done."""

    folds: int = 0
    """0: the run's model on the validation part. Else the rated photos of the training and validation parts are dealt
    into so many folds, and a model is trained without each, as long as the run's: its errors there count. Takes as long
    as so many runs; worth it where the validation part is small (see `defnet_train.folds`)."""

    def __post_init__(self) -> None:
        _at_least("calibration", self, folds=0)
        if self.folds == 1:
            raise UsageError("calibration.folds = 1 would leave nothing to train on; take 8, or 0 for none")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a run uses its machine."""

    devices: int = 1
    """GPUs, or processes on the CPU, that share every batch."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Of the towers while training. Weights, probabilities, evidence and losses are float32 whatever it is."""

    def __post_init__(self) -> None:
        _at_least("run", self, devices=1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run."""

    recipe: str = "paper"
    seed: int = 20200626
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        largest = 2**32 - 1 - self.calibration.folds  # Each fold adds its number.
        if not 0 <= self.seed <= largest:
            raise UsageError(f"seed = {self.seed} must be from 0 to {largest}")
        if self.calibration.folds and self.run.devices > 1:
            raise UsageError("calibration.folds trains in one process; set run.devices = 1, or calibration.folds = 0")
        if self.optim.thaw_stages and self.run.devices > 1:
            # What is frozen when processes first meet is left out of the gradients that they share.
            raise UsageError("optim.thaw_stages trains in one process; set run.devices = 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, as `from_dict` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str) -> TrainConfig:
        """Read nested dictionaries.

        Args:
            values: Tables and keys of a recipe.
            source: Where they came from, for messages.

        Raises:
            UsageError: On an unknown key or a value of another type.
        """
        return read_tables(cls, values, source)


def _at_least(table: str, config: Any, **bounds: float) -> None:
    """Refuse numbers below their bound, NaN, and infinity."""
    for name, bound in bounds.items():
        value = getattr(config, name)
        if not bound <= value < math.inf:
            raise UsageError(f"{table}.{name} = {value} must be {'finite' if value > bound else f'at least {bound}'}")


def require_trainable(config: TrainConfig) -> None:
    """Refuse to train a model without evidential head; imported weights are one.

    Raises:
        UsageError: If the configuration has none.
    """
    if config.model.head.kind == "none":
        raise UsageError(
            "model.head.kind = 'none' is for imported weights and is not trained; leave it out, and start from them "
            "with: defnet train RECIPE --init CHECKPOINT"
        )
