"""How fast photos are scored here, which stage limits that, and what to do about it.

Each stage is timed alone, one photo after another: seconds of one core per photo, hence shares that do not depend
on how the threads happened to interleave. Then all photos are scored as `defnet score` would.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from defnet_infer import photos, views
from defnet_infer.contract import Preprocess
from defnet_infer.errors import PhotoError, UsageError
from defnet_infer.machine import cores, peak_memory
from defnet_infer.results import row_from_outputs, row_line
from defnet_infer.scorer import Scorer
from defnet_infer.sessions import Session
from defnet_infer.sources import Source

if TYPE_CHECKING:
    from defnet_infer.sources import Content

STAGES = ("read", "decode", "resize", "batch", "model", "write")
MADE_SIZES = ((500, 500), (1024, 768))
TIMED_ALONE = 24
"""Photos that are timed stage by stage; more would only make the figure wait."""
_ADVICE = {
    "read": "the disk or network is slow: copy the photos to a local disk, or raise --workers",
    "decode": "decoding limits: more cores, or --fast-decode if most photos are large JPEGs",
    "resize": "making the views limits: more cores, or --fast-decode if most photos are large JPEGs",
    "batch": "copying limits, which is unusual: try a smaller --batch-size",
    "model": "the model limits: a GPU (--device cuda), or more cores",
    "write": "writing limits: put --out on a faster disk",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured. Shares are of the time of one core per photo and add up to 1."""

    photos: int
    failed: int
    device: str
    engine: str
    cores: int
    photos_per_second: float
    seconds: float
    milliseconds: dict[str, float]
    """Per photo and stage, alone."""
    shares: dict[str, float]
    limiting_stage: str
    advice: str
    device_crops_per_second: float
    """The model alone on views that are ready, overviews counted as crops."""
    peak_memory_bytes: int | None
    fast_decode: dict[str, float] | None
    """Photos that --fast-decode changes, their decode speed-up, score drift (mean and largest); None if it changes
    none."""

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def make_photos(folder: Path, count: int) -> list[Source]:
    """Write JPEGs of the sizes that `MADE_SIZES` names, with camera-like detail."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        size = MADE_SIZES[number % len(MADE_SIZES)]
        coarse = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / f"{number:05}_{size[0]}x{size[1]}.jpg"
        Image.fromarray(noisy).save(path, quality=90)
        made.append(Source(str(path), str(path)))
    return made


def measure(scorer: Scorer, sources: Sequence[Source]) -> Report:
    """Time the stages, then a whole run.

    Raises:
        UsageError: If none of the photos can be read.
        SessionError: If the runtime fails.
    """
    rule = scorer.artifact.contract.preprocess
    session = scorer.session
    alone = _Stages()
    made = _time_alone(sources[:TIMED_ALONE], rule, session, alone)
    if not made:
        raise UsageError("none of the photos can be read, so nothing can be timed; give others: defnet bench PHOTOS...")
    total = sum(alone.seconds.values())
    # Six stages share the cores of a CPU; a GPU works beside them, one batch at a time.
    others = {stage: seconds / cores() for stage, seconds in alone.seconds.items() if stage != "model"}
    per_photo = others | {"model": alone.seconds["model"] / (1 if session.device != "cpu" else cores())}
    limiting = max(per_photo, key=lambda stage: per_photo[stage])
    crops_per_second = _device_alone(made, session)
    start = time.perf_counter()
    rows = list(scorer.score_sources(sources))
    seconds = time.perf_counter() - start
    return Report(
        photos=len(rows),
        failed=sum(row.failed for row in rows),
        device=session.device,
        engine=session.why,
        cores=cores(),
        photos_per_second=len(rows) / seconds,
        seconds=seconds,
        milliseconds={stage: 1000 * alone.seconds[stage] / len(made) for stage in STAGES},
        shares={stage: alone.seconds[stage] / total for stage in STAGES},
        limiting_stage=limiting,
        advice=_ADVICE[limiting],
        device_crops_per_second=crops_per_second,
        peak_memory_bytes=peak_memory(),
        fast_decode=_fast_decode(sources[:TIMED_ALONE], rule, session),
    )


class _Stages:
    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start


def _time_alone(sources: Iterable[Source], rule: Preprocess, session: Session, stages: _Stages) -> list[views.Views]:
    """Time each stage on each photo; photos that cannot be read are left out. Returns their views."""
    made: list[views.Views] = []
    sink = io.BytesIO()
    for source in sources:
        try:
            with stages("read"):
                data = _read(source)
            with stages("decode"):
                photo = photos.decode(data)
        except (OSError, PhotoError):
            continue
        with stages("resize"):
            photo_views = views.make(photo.image, rule)
        with stages("batch"):
            crops, overview = np.stack([photo_views.crops]), np.stack([photo_views.overview])
        if not made:
            session.run(crops, overview)  # The first run allocates.
        with stages("model"):
            outputs = session.run(crops, overview)
        with stages("write"):
            row = row_from_outputs(source.name, outputs, 0, width=1, height=1)
            sink.write(row_line(row, "csv").encode("utf-8", "surrogateescape"))
        made.append(photo_views)
    return made


def _read(source: Source) -> Content:
    content = source.content
    if callable(content):
        return content()
    return Path(content).read_bytes() if isinstance(content, (str, os.PathLike)) else content


def _device_alone(made: list[views.Views], session: Session) -> float:
    """Crops per second of the model alone, as many calls at once as it likes, on full batches of ready views."""
    from concurrent.futures import ThreadPoolExecutor

    size = session.photos_per_call
    calls = max(len(made), 4 * size * session.calls_at_once) // size
    batches = [[made[(call * size + k) % len(made)] for k in range(size)] for call in range(min(calls, 64))]
    ready = [(np.stack([v.crops for v in batch]), np.stack([v.overview for v in batch])) for batch in batches]
    with ThreadPoolExecutor(session.calls_at_once) as pool:
        list(pool.map(lambda batch: session.run(*batch), ready[: session.calls_at_once]))
        start = time.perf_counter()
        list(pool.map(lambda batch: session.run(*batch), ready))
        seconds = time.perf_counter() - start
    return float(len(ready) * size * (len(made[0].crops) + 1) / seconds)


def _fast_decode(sources: Sequence[Source], rule: Preprocess, session: Session) -> dict[str, float] | None:
    drifts, exact_seconds, fast_seconds = [], 0.0, 0.0
    for source in sources:
        try:
            start = time.perf_counter()
            fast = photos.decode(source.content, reduce_to=rule.shrink_short_side)
            middle = time.perf_counter()
            if fast.full_size is None:
                continue
            exact = photos.decode(source.content)
            end = time.perf_counter()
        except PhotoError:
            continue
        fast_seconds, exact_seconds = fast_seconds + middle - start, exact_seconds + end - middle
        scores = [_score(views.make(photo.image, rule), session) for photo in (exact, fast)]
        drifts.append(abs(scores[0] - scores[1]))
    if not drifts:
        return None
    return {
        "photos": len(drifts),
        "decode_speedup": exact_seconds / fast_seconds,
        "mean_drift": float(np.mean(drifts)),
        "largest_drift": float(np.max(drifts)),
    }


def _score(made: views.Views, session: Session) -> float:
    return float(session.run(made.crops[None], made.overview[None])["score"][0])


def lines(report: Report) -> list[str]:
    """The report as text."""
    text = [
        f"{report.photos} photos in {report.seconds:.1f} s: {report.photos_per_second:.2f} photos/s"
        + (f", {report.failed} failed" if report.failed else ""),
        f"{report.engine}; {report.cores} cores",
        "stage       ms/photo   share",
    ]
    text += [f"{stage:10} {report.milliseconds[stage]:9.2f}  {report.shares[stage]:6.1%}" for stage in STAGES]
    text += [
        f"limited by {report.limiting_stage}: {report.advice}",
        f"model alone: {report.device_crops_per_second:.0f} crops/s",
    ]
    if report.peak_memory_bytes is not None:
        text.append(f"peak memory: {report.peak_memory_bytes / 2**20:.0f} MiB")
    fast = report.fast_decode
    if fast is None:
        text.append("--fast-decode would change none of these photos")
    else:
        text.append(
            f"--fast-decode: decodes {fast['photos']:.0f} of the timed photos {fast['decode_speedup']:.2f} times as "
            f"fast; scores drift by {fast['mean_drift']:.4f} on average, {fast['largest_drift']:.4f} at most"
        )
    return text
