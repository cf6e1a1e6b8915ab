"""What a file is that was given as a model and is none: checkpoints of ours and of others, cut files, pickles.

Only headers and names are read; nothing in a file is ever run. Needs neither PyTorch nor safetensors, so that the base
install can say which command makes a model of a checkpoint.
"""

from __future__ import annotations

import json
import pickletools
import shlex
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Form = Literal["checkpoint", "safetensors", "torch", "torchscript", "pickle", "cut", "empty", "unknown"]

TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of what `torch.save` wrote before its zip format."""
_ZIP_MAGIC = b"PK\x03\x04"
_LONGEST_HEADER = 100 << 20
"""Bytes of a safetensors header; the format allows no more."""
_NAMES_WITHIN = 32 << 20
"""Bytes of a pickle that are searched for names."""
_CLIP_NAME = b"transformer.resblocks.0."
_PYIQA_NAME = b"clip_model."


@dataclass(frozen=True)
class OtherFile:
    """What a file's first bytes and names tell."""

    form: Form
    """``checkpoint`` is one of ours; ``torch`` what `torch.save` wrote; ``cut`` either of the two, ending too early."""
    names: bytes = b""
    """Bytes in which the names of its tensors stand, as far as they were read."""

    @property
    def holds_clip(self) -> bool:
        """Whether its tensors are named like those of CLIP, LIQE and pyiqa's LIQE."""
        return _CLIP_NAME in self.names


def look(path: Path) -> OtherFile:
    """Find out what a file is; one that cannot be read is unknown."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
            if not start:
                return OtherFile("empty")
            if start.startswith(_ZIP_MAGIC):
                return _zip(path)
            if start.startswith(TORCH_MAGIC):
                return OtherFile("torch", start + file.read(_NAMES_WITHIN))
            if len(start) > 8 and start[8:9] == b"{":
                return _safetensors(path, *struct.unpack("<Q", start[:8]))
            if start[0] == 0x80 and start[1] <= 5:
                return OtherFile("pickle", start + file.read(_NAMES_WITHIN))
    except (OSError, zipfile.BadZipFile, ValueError):
        pass
    return OtherFile("unknown")


def advice(path: Path) -> str | None:
    """One line on a checkpoint that was given where an exported model is wanted; None if it is no checkpoint."""
    other = look(path)
    like = ", with the tensors of CLIP as LIQE has them" if other.holds_clip else ""
    if _PYIQA_NAME in other.names and other.holds_clip:
        like = ", with the tensors of pyiqa's LIQE"
    typed = shlex.quote(str(path))
    then = f"import it with: defnet import {typed}, and export what that writes"
    if other.form == "safetensors" and not other.holds_clip:
        then = f"CLIP is not in it; weights of a trunk are for: defnet train lite --set model.trunk_weights={typed}"
    return {
        "checkpoint": f"{path} is a checkpoint, not an exported model; make one with: defnet export {typed}",
        "safetensors": f"{path} is a file of weights{like}, not an exported model; {then}",
        "torch": f"{path} is a PyTorch checkpoint{like}, not an exported model; {then}",
        "torchscript": f"{path} is a TorchScript archive, not an exported model; {then}",
        "pickle": f"{path} is a pickle, not an exported model; defnet opens none, since a pickle can run code",
        "cut": f"{path} is a checkpoint that was cut off; fetch or save it again, then: defnet import {typed}",
    }.get(other.form)


def named_in(pickled: bytes) -> list[str]:
    """Functions and classes that a pickle would call when it is opened, ``module.name``, without opening it."""
    return list(dict.fromkeys(_named_in(pickled)))


def _named_in(pickled: bytes) -> Iterator[str]:
    texts: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(pickled):
            if code.name == "GLOBAL":
                yield str(argument).replace(" ", ".")
            elif code.name == "STACK_GLOBAL" and len(texts) > 1:
                yield ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)
    except ValueError:  # Cut off, or followed by what is no pickle.
        return


def _zip(path: Path) -> OtherFile:
    """`torch.save` and TorchScript write a zip archive, whose directory stands at its end."""
    if not zipfile.is_zipfile(path):
        return OtherFile("cut")
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if not pickles:
            return OtherFile("unknown")
        with archive.open(pickles[0]) as file:
            names = file.read(_NAMES_WITHIN)
    return OtherFile("torchscript" if any(name.endswith("/constants.pkl") for name in members) else "torch", names)


def _safetensors(path: Path, length: int) -> OtherFile:
    """Eight bytes of length, that much JSON, then the tensors."""
    size = path.stat().st_size
    if length > _LONGEST_HEADER:
        return OtherFile("unknown")
    if size < 8 + length:
        return OtherFile("cut")
    with path.open("rb") as file:
        header = file.read(8 + length)[8:]
    described = json.loads(header)
    about = described.pop("__metadata__", None) or {}
    if size < 8 + length + max((tensor["data_offsets"][1] for tensor in described.values()), default=0):
        return OtherFile("cut", header)
    return OtherFile("checkpoint" if "defnet" in about else "safetensors", header)
