"""What came of holding two ways of scoring against each other: every figure, its bound, and whether it holds.

A verdict is printed as a table, written as JSON into an exported file's metadata, and read back by `defnet info`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from defnet_infer.errors import ArtifactError

if TYPE_CHECKING:
    from rich.table import Table

State = Literal["holds", "fails", "undecided", "reported"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One figure against its bound."""

    what: str
    value: float | None
    """None where the photos do not define it, such as a correlation of constant scores."""
    bound: float | None = None
    """None for a figure that is reported and not held."""
    at_least: bool = False
    """The value must reach the bound; otherwise it must not exceed it."""
    percent: bool = False
    """The value is a share and is shown in percent."""
    undecided: str = ""
    """Why these photos cannot decide; empty where they can."""

    @property
    def state(self) -> State:
        """What the figure says. A figure that is not a number fails."""
        if self.bound is None:
            return "reported"
        if self.undecided:
            return "undecided"
        if self.value is None:
            return "fails"
        return "holds" if (self.value >= self.bound if self.at_least else self.value <= self.bound) else "fails"

    @property
    def relation(self) -> str:
        """The bound as a person reads it; empty where nothing is held."""
        if self.bound is None:
            return ""
        return f"{'at least' if self.at_least else 'at most'} {self.shown(self.bound)}"

    def shown(self, number: float | None) -> str:
        """A value or bound as a person reads it."""
        if number is None:
            return "-"
        if self.percent:
            return f"{100 * number:.4g} %"
        return f"{number:.6g}" if self.at_least else f"{number:.2g}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All figures of one comparison."""

    reference: str
    """What is taken to be right, in words."""
    candidate: str
    precision: str
    """Whose bounds were held."""
    photos: int
    checks: tuple[Check, ...]
    worst_photo: str
    """Where score or fused score differ most."""
    worst_difference: float
    notes: tuple[str, ...] = ()
    """Anything a reader must know, such as photos that were left out."""

    @property
    def passed(self) -> bool:
        """Whether nothing fails. What is undecided does not fail, but `summary` names it."""
        return not any(check.state == "fails" for check in self.checks)

    def failures(self) -> str:
        """The figures beyond their bounds, for a message of one line; empty if all hold."""
        parts = [f"{c.what} {c.shown(c.value)} (bound {c.shown(c.bound)})" for c in self.checks if c.state == "fails"]
        return "; ".join([*parts, f"worst photo {self.worst_photo}"]) if parts else ""

    def summary(self) -> str:
        """The outcome in one line."""
        undecided = [f"{check.what} ({check.undecided})" for check in self.checks if check.state == "undecided"]
        held = sum(check.state == "holds" for check in self.checks)
        line = f"{held} bounds of {self.precision} hold" if self.passed else f"does not agree: {self.failures()}"
        return f"{line}, {self.photos} photos" + (f"; not decided: {'; '.join(undecided)}" if undecided else "")

    def to_json(self) -> dict[str, Any]:
        """JSON-able; a value that is not a finite number becomes its name, which JSON has no number for."""
        body = asdict(self)
        for check, made in zip(body["checks"], self.checks, strict=True):
            check["value"] = _rounded(check["value"])
            check["state"] = made.state
        body["worst_difference"] = _rounded(self.worst_difference)
        return body | {"passed": self.passed}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Verdict:
        """Read what `to_json` made.

        Raises:
            ArtifactError: If it is not a verdict.
        """
        try:
            checks = tuple(
                Check(**{k: v for k, v in check.items() if k not in ("state", "value")}, value=_number(check["value"]))
                for check in body["checks"]
            )
            rest = {key: body[key] for key in ("reference", "candidate", "precision", "photos", "worst_photo")}
            return cls(
                **rest,
                checks=checks,
                worst_difference=float(body["worst_difference"]),
                notes=tuple(body["notes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the certificate cannot be read ({error!r}); export the file again: defnet export"
            ) from error

    def table(self) -> Table:
        """The figures for a person; the notes do not fit in."""
        from rich.table import Table
        from rich.text import Text

        title = Text(f"{self.candidate} against {self.reference}, {self.photos} photos, bounds of {self.precision}")
        table = Table(title=title, title_justify="left", title_style="bold")
        for column in ("", "measured", "bound", ""):
            table.add_column(column)
        for check in self.checks:
            state = check.state
            table.add_row(
                Text(check.what),
                Text(check.shown(check.value)),
                Text(check.relation),
                Text(
                    f"undecided: {check.undecided}" if state == "undecided" else "" if state == "reported" else state,
                    style={"fails": "bold red", "undecided": "yellow"}.get(state, ""),
                ),
            )
        table.add_section()
        table.add_row(Text("worst photo"), Text(f"{self.worst_difference:.2g}"), Text(""), Text(self.worst_photo))
        return table


def _rounded(value: float | None) -> float | str | None:
    """Seven digits: a correlation of 0.99951 must not become the bound that it is near to."""
    if value is None:
        return None
    return float(f"{value:.7g}") if np.isfinite(value) else str(value)


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)
