"""The whole configuration of a training run: frozen dataclasses, read from TOML, saved with every checkpoint.

    config = load_config("lite", overrides=["optim.epochs=5"])

A recipe is a TOML file with the tables below; a key that is not a field is an error that names its neighbours.
Field comments give the row of the README's table of departures where the paper leaves a choice.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from defnet_infer.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"
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
    session: int = 1
    """Number of the seeded 70/10/20 split."""
    crops: int = 4
    """Windows drawn per photo and step, with replacement (row 28)."""
    synthetic_levels: tuple[int, ...] = (1, 3, 5)
    """Levels, 1 to 5, of every distortion in the data set `synthetic`."""
    cache: PathText = ""
    """Folder for the features of a frozen trunk; empty keeps them in memory."""

    def __post_init__(self) -> None:
        _at_least("data", self, session=1, crops=1)
        if not self.synthetic_levels or not set(self.synthetic_levels) <= {1, 2, 3, 4, 5}:
            raise UsageError(f"data.synthetic_levels = {list(self.synthetic_levels)}: levels are 1 to 5")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Architecture and starting weights."""

    tower: str = "ViT-B-32-quickgelu"
    weights: str = "openai"
    """``openai``, ``random`` or a local CLIP weights file."""
    trunk_weights: PathText = ""
    dropout: float = 0.0
    """Share of trunk features dropped before the projection while training; timm towers only."""
    prompt_preset: Literal["paper", "liqe"] = "paper"
    local_aggregation: Literal["prob_mean", "logit_mean"] = "prob_mean"
    """Row 5."""
    uncertainty_source: Literal["fusion", "cross"] = "fusion"
    """Row 25."""

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
    overview_gradient: Literal["head", "full"] = "head"
    """Where the overview's loss goes: the head only, as in the paper, or into the encoder too (row 26)."""

    def __post_init__(self) -> None:
        _at_least("loss", self, cross_weight=0, fusion_weight=0, tau=0, label_noise_aux=0, tie_probability=0)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, its two groups and the schedule (rows 30, 31)."""

    epochs: int = 80
    steps_per_epoch: int = 200
    schedule: Literal["liqe_cyclic", "cosine", "constant"] = "liqe_cyclic"
    encoder_lr: float = 5e-6
    encoder_weight_decay: float = 1e-3
    head_lr: float = 1e-3
    clip_norm: float = 0.0
    """Largest gradient norm; 0: not clipped."""
    freeze_trunk: bool = False
    """Train everything but the image trunk, on cached trunk features."""
    learn_kappa: bool = True
    """Row 4."""

    def __post_init__(self) -> None:
        _at_least("optim", self, epochs=1, steps_per_epoch=1, encoder_lr=0, head_lr=0, clip_norm=0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run."""

    recipe: str = "paper"
    seed: int = 20200626
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

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
        return _read(cls, values, source, "")


def _at_least(table: str, config: Any, **bounds: float) -> None:
    """Refuse numbers below their bound, and NaN."""
    for name, bound in bounds.items():
        if not getattr(config, name) >= bound:
            raise UsageError(f"{table}.{name} = {getattr(config, name)} must be at least {bound}")


def load_config(recipe: str, overrides: list[str] | None = None) -> TrainConfig:
    """A recipe by name (a file in defnet_train/recipes) or by path, with ``table.key=value`` overrides.

    Raises:
        UsageError: If the recipe is not found or not TOML, or a key or value does not fit.
    """
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UsageError(f"recipe '{recipe}' not found; use one of {known}, or the path of a .toml file")
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    for override in overrides or []:
        _apply(values, override)
    return TrainConfig.from_dict({"recipe": path.stem, **values}, str(path))


def apply_overrides(config: TrainConfig, overrides: list[str]) -> TrainConfig:
    """A configuration with ``table.key=value`` changes.

    Raises:
        UsageError: If a key or value does not fit.
    """
    values = config.to_dict()
    for override in overrides:
        _apply(values, override)
    return TrainConfig.from_dict(values, "--set")


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise UsageError(f"--set {override}: write it as table.key=value, for example --set optim.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string: quoting inside a shell is a nuisance
    *tables, name = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {override}: '{table}' is not a table")
    values[name] = value


def _read(cls: Any, values: dict[str, Any], source: str, prefix: str) -> Any:
    hints = get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"; did you mean '{prefix}{near[0]}'?" if near else f"; known keys: {', '.join(hints)}"
            raise UsageError(f"{source}: unknown key '{prefix}{key}'{hint}")
        expected = hints[key]
        if dataclasses.is_dataclass(expected):
            if not isinstance(value, dict):
                raise UsageError(f"{source}: '{prefix}{key}' must be a table")
            arguments[key] = _read(expected, value, source, f"{prefix}{key}.")
        else:
            arguments[key] = _checked(value, expected, source, f"{prefix}{key}")
    return cls(**arguments)


def _checked(value: Any, expected: Any, source: str, name: str) -> Any:
    if get_origin(expected) is Literal:
        if value not in get_args(expected):
            raise UsageError(f"{source}: {name} = {value!r}; choose one of {', '.join(map(repr, get_args(expected)))}")
        return value
    if get_origin(expected) is dict:
        if not isinstance(value, dict) or not value or not all(type(v) is int and v > 0 for v in value.values()):
            raise UsageError(f"{source}: {name} must map data sets to photos per batch, for example {{ clive = 48 }}")
        return value
    if get_origin(expected) is tuple:
        if not isinstance(value, (list, tuple)) or not all(type(v) is int for v in value):
            raise UsageError(f"{source}: {name} must be a list of whole numbers, for example [1, 3, 5]")
        return tuple(value)
    if expected is float and type(value) is int:
        value = float(value)
    if type(value) is not expected:
        raise UsageError(f"{source}: {name} = {value!r} is not of type {expected.__name__}")
    return value
