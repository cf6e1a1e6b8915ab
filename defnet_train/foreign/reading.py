"""A foreign checkpoint's tensors, read without running anything: safetensors, or PyTorch's own safe loader.

`torch.load` with ``weights_only=True`` builds tensors and plain containers and refuses everything else a pickle can
ask for. What it refuses is refused here too, in one line that says what the file is.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from defnet_infer.errors import CheckpointError
from defnet_infer.other_files import OtherFile, look, named_in

_RESAVE = "where it was made, save its weights alone: torch.save(model.state_dict(), 'weights.pt')"
_CHUNK = 1 << 22
_SCALARS = tuple(np.dtype(name) for name in ("float64", "float32", "int64"))


def read(path: Path) -> Any:
    """What a file holds: tensors by name, inside whatever containers it was saved in.

    Raises:
        CheckpointError: If it is missing, cut off, none of these formats, or could run code.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise CheckpointError(f"{path}: {what}; name a checkpoint of LIQE, pyiqa, DEFNet or CLIP")
    other = look(path)
    if other.form == "safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is a damaged safetensors file ({error}); fetch it again") from error
    if other.form == "torch":
        return _torch(path)
    raise CheckpointError(_refusal(path, other))


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _torch(path: Path) -> Any:
    # Figures beside the weights, as LIQE's training code saves them, are NumPy scalars: numbers, and harmless.
    rebuild = np.float64(0).__reduce__()[0]
    scalar_names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    allowed = [*((rebuild, name) for name in scalar_names), np.dtype, *{type(dtype) for dtype in _SCALARS}]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The text is advice of PyTorch to open the file regardless; only the name in it is of use.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({named[1]})" if named else ""
        raise CheckpointError(
            f"{path} is a pickle with program code{what}, which runs when it is opened, so defnet does not; {_RESAVE}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = (str(error).splitlines() or ["it ends too early"])[0].split(". ")[0]
        raise CheckpointError(f"{path} is damaged or cut off ({reason}); fetch or save it again") from error


def _refusal(path: Path, other: OtherFile) -> str:
    """Why a file is not read, and what to do."""
    if other.form == "pickle":
        called = [name for name in named_in(other.names) if not name.startswith("collections.")]
        what = f" that calls {called[0]}" if called else ""
        return (
            f"{path} is a pickle{what}, not written by torch.save; it could run code, so defnet opens none; {_RESAVE}"
        )
    typed = shlex.quote(str(path))
    load = f'torch.jit.load({json.dumps(str(path))}, map_location="cpu")'
    resave = f'import torch; torch.save({load}.state_dict(), "weights.pt")'
    return {
        "checkpoint": f"{path} is a checkpoint of defnet already; export it with: defnet export {typed}",
        "torchscript": (
            f"{path} is a TorchScript archive, as OpenAI ships CLIP; it holds program code, so defnet opens none; "
            f"save its weights alone: python -c {shlex.quote(resave)}, then: defnet import weights.pt"
        ),
        "cut": f"{path} is cut off: its end is missing; fetch or save it again",
        "empty": f"{path} is empty; fetch or save it again",
    }.get(
        other.form,
        f"{path} is no checkpoint that defnet knows; it imports what torch.save wrote and .safetensors files",
    )
