"""Score photos from Python with a loaded model: `defnet score` without files, for arrays and images too."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from defnet_infer import inputs, photos, scoring
from defnet_infer.artifact import Artifact, builtin_model_path
from defnet_infer.deadline import DECODE_SECONDS, Deadline
from defnet_infer.errors import PhotoError, UsageError
from defnet_infer.photos import Photo
from defnet_infer.results import Row
from defnet_infer.sessions import Session
from defnet_infer.sessions.choice import Device, Engine, open_session
from defnet_infer.sources import Source, broken

if TYPE_CHECKING:
    from defnet_infer.sources import Content

    PhotoLike = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | npt.NDArray[np.uint8]
    """A path, pattern or URL; the bytes of a file; a Pillow image; an array (H, W, 3), (H, W) or (H, W, 4)."""

_WHAT_IS = "give paths, bytes, Pillow images or arrays"


class Scorer:
    """Scores photos with a loaded model: the Python form of `defnet score`.

    Example:
        >>> for row in Scorer().score("photos"):  # doctest: +SKIP
        ...     print(row.path, row.score)

    Args:
        model: An exported file, ``.onnx`` or ``.plan``, or ``hf://owner/name[@revision][/file]``; None takes the
                built-in model.
        device: ``auto``, ``cpu`` or ``cuda``.
        engine: ``auto``, ``onnxruntime`` or ``tensorrt``.
        batch_size: Photos handed to the model at once on a GPU, None for 8 or what a TensorRT engine was tuned for; on
            the CPU each photo is a call of its own.
        workers: Decode threads; None chooses for this machine.
        threads: Photos the CPU works on at once, one thread each; 0 takes one per core.
        max_pixels: Larger photos become error rows.
        fast_decode: Decode large JPEGs at a fraction of their size. Faster, with slightly other scores.
        color_managed: Convert photos with an embedded colour profile to sRGB.
        decode_timeout: Seconds after which a decode is given up and its photo becomes an error row; 0 for never. Pillow
            images are decoded when they are reached, without this limit.

    Raises:
        ArtifactError: If the model file cannot be used.
        MissingExtraError: If the model is a TensorRT engine and TensorRT is not installed.
        SessionError: If the device cannot be used.
        UsageError: If an argument is none of the values it can have.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: Device = "auto",
        engine: Engine = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        threads: int = 0,
        max_pixels: int = photos.MAX_PIXELS,
        fast_decode: bool = False,
        color_managed: bool = False,
        decode_timeout: float = DECODE_SECONDS,
    ) -> None:
        for argument, value, least in (
            ("batch_size", batch_size, 1),
            ("workers", workers, 1),
            ("threads", threads, 0),
            ("max_pixels", max_pixels, 1),
            ("decode_timeout", decode_timeout, 0),
        ):
            if value is not None and not value >= least:  # NaN is not either.
                raise UsageError(f"{argument} = {value} must be at least {least}")
        self.artifact = Artifact.open(builtin_model_path() if model is None else model)
        self.artifact.require_views()
        self.session: Session = open_session(
            self.artifact.path, device=device, engine=engine, threads=threads, batch_size=batch_size
        )
        self._workers = workers
        self._max_pixels = max_pixels
        self._fast_decode = fast_decode
        self._color_managed = color_managed
        self._decode_timeout = decode_timeout

    @property
    def device(self) -> str:
        """What really runs the model."""
        return self.session.device

    @property
    def origin(self) -> dict[str, object]:
        """What makes the rows; a run is resumed only with the same."""
        return {"model": self.artifact.sha256, "contract": self.artifact.contract.fingerprint, **self.rule_options}

    @property
    def rule_options(self) -> dict[str, object]:
        """Options that can change a row."""
        return {
            "max_pixels": self._max_pixels,
            "fast_decode": self._fast_decode,
            "color_managed": self._color_managed,
        }

    def score(self, photos: PhotoLike | Iterable[PhotoLike]) -> Iterator[Row]:
        """Score photos, yielding one row each; a photo that cannot be read is a row with an error.

        One path, pattern or URL is what it is for `defnet score`: a file, a folder that is searched to the bottom,
        a tar archive; its rows come in sorted order. Anything else that can be iterated is scored one after the
        other in the order given, each item as often as it is given and as it is when it is reached, and is taken only
        as fast as it is scored. In it, a path that does not exist is a row with an error.

        The rows of what has no path are called after their place: ``bytes 0``, ``image 1``, ``array 2``.

        Args:
            photos: A path, pattern or URL; the bytes of a file; a Pillow image; a uint8 array, RGB (H, W, 3), gray
                (H, W) or RGB with transparency (H, W, 4); or an iterable of those, such as an array (N, H, W, 3).

        Raises:
            UsageError: If the one path does not exist or holds no photo.
            TypeError: If something is given that no photo can be.
            SessionError: If the runtime fails.
        """
        if isinstance(photos, (str, os.PathLike)):
            return self.score_sources(inputs.find([photos]))
        of_one = isinstance(photos, np.ndarray) and photos.ndim < 4
        if of_one or isinstance(photos, (bytes, bytearray, memoryview, Image.Image)):
            return self.score_sources(self._sources([photos]))
        if isinstance(photos, io.IOBase):
            raise TypeError("an opened file is no photo; give its path, or its bytes with file.read()")
        if not isinstance(photos, Iterable):
            raise TypeError(f"a {type(photos).__name__} is no photo; {_WHAT_IS}")
        return self.score_sources(self._sources(photos))

    def score_sources(self, sources: Iterable[Source], *, stop: threading.Event | None = None) -> Iterator[Row]:
        """Score exactly these, in this order; `stop` ends it early, as in `scoring.score`."""
        with Deadline[Source, Photo](
            lambda source: self._decode(source.content), self._decode_timeout
        ) as decode_in_time:
            yield from scoring.score(
                sources,
                self.session,
                self.artifact.contract.preprocess,
                decode=decode_in_time,
                name=attrgetter("name"),
                workers=self._workers,
                stop=stop,
            )

    def _decode(self, content: Content) -> Photo:
        rule = self.artifact.contract.preprocess
        return photos.decode(
            content,
            self._max_pixels,
            reduce_to=rule.shrink_short_side if self._fast_decode else 0,
            color_managed=self._color_managed,
        )

    def _sources(self, given: Iterable[Any]) -> Iterator[Source]:
        """Checked when it is reached, not before: there may be no end to them.

        Pictures and arrays are taken as they are at that moment; whoever gave them may close or refill them then.
        """
        for place, photo in enumerate(given):
            if isinstance(photo, (str, os.PathLike)):
                yield from inputs.find([], listed=[os.fspath(photo)])
            elif isinstance(photo, (bytes, bytearray, memoryview)):
                yield Source(f"bytes {place}", bytes(photo))
            elif isinstance(photo, Image.Image):
                yield self._of_picture(f"image {place}", photo)
            elif isinstance(photo, np.ndarray):
                yield Source(f"array {place}", photo.copy())
            else:
                raise TypeError(f"item {place} is a {type(photo).__name__}; {_WHAT_IS}")

    def _of_picture(self, name: str, picture: Image.Image) -> Source:
        try:
            photo = self._decode(picture)
        except PhotoError as error:
            return broken(name, str(error))
        return Source(name, replace(photo, image=photo.image.copy()) if photo.image is picture else photo)

    def close(self) -> None:
        """Free the model."""
        self.session.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
