"""Models behind ``hf://`` addresses: an exported file of a Hugging Face repository, downloaded once and kept.

    defnet score photos --model hf://owner/name --out results.csv
    defnet score photos --model hf://owner/name@v1.0/defnet.int8.onnx --out results.csv

`huggingface_hub` does the work and keeps the files where its other users keep theirs (HF_HOME); with
HF_HUB_OFFLINE=1 only what is kept is used. Imported when an address is opened: the extra `hub` brings it.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from defnet_infer.errors import ArtifactError, MissingExtraError, UsageError
from defnet_infer.wording import first_line

SCHEME = "hf://"
DEFAULT_FILE = "model.onnx"
_FORM = re.compile(r"hf://(?P<repository>[^/@\s]+/[^/@\s]+)(@(?P<revision>[^/\s]+))?(/(?P<file>\S+))?")


@dataclass(frozen=True, kw_only=True)
class Address:
    """One file of one repository.

    Raises:
        UsageError: From `parse`, if the text has another form.
    """

    repository: str
    """``owner/name``."""
    revision: str | None = None
    """Branch, tag or commit; None is the main branch. Of a branch with a slash in its name give the commit."""
    file: str = DEFAULT_FILE

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``hf://owner/name[@revision][/file]``."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text}: write it as hf://owner/name, hf://owner/name@revision or hf://owner/name/file.onnx"
            )
        return cls(
            repository=match["repository"], revision=match["revision"], file=(match["file"] or DEFAULT_FILE).strip("/")
        )

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repository}{at}/{self.file}"


def is_address(model: object) -> bool:
    """Whether a model is named by address, not by path."""
    return isinstance(model, str) and model.startswith(SCHEME)


def fetch(text: str) -> Path:
    """Download the file unless it is kept already.

    Args:
        text: ``hf://owner/name[@revision][/file]``.

    Returns:
        Where it lies, in the cache of `huggingface_hub`.

    Raises:
        UsageError: If the address has another form.
        MissingExtraError: If `huggingface_hub` is not installed.
        ArtifactError: If the repository, revision or file does not exist, may not be read, or cannot be reached.
    """
    address = Address.parse(text)
    try:
        import huggingface_hub
        from huggingface_hub import errors
        from huggingface_hub.utils import logging as hub_logging
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"--model {text}", "hub", error.name or "huggingface_hub") from error
    from defnet_infer import __version__

    # It would tell each of its attempts; what came of them is told below.
    hub_logging.set_verbosity(logging.ERROR)
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                address.repository,
                address.file,
                revision=address.revision,
                library_name="defnet",
                library_version=__version__,
            )
        )
    except errors.HFValidationError as error:
        raise UsageError(f"{text}: {first_line(error)}") from error
    # The order matters: a gated repository is a repository that is not found, for those who may not see it.
    except errors.GatedRepoError as error:
        raise ArtifactError(f"{text} is open to approved users only; ask on its page, then: hf auth login") from error
    except errors.RepositoryNotFoundError as error:
        raise ArtifactError(
            f"{text}: there is no repository {address.repository}, or it is private; check the name, or: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ArtifactError(f"{text}: {address.repository} has no revision {address.revision}") from error
    # Not kept, and not to be had: this one is an EntryNotFoundError too.
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise ArtifactError(
            f"{text} is not on this machine and cannot be downloaded (no network, or HF_HUB_OFFLINE is set); "
            "download it once where there is a network, or give a file instead"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ArtifactError(
            f"{text}: {address.repository} has no file {address.file}; name the exported file: "
            f"{SCHEME}{address.repository}/FILE.onnx"
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ArtifactError(f"{text} cannot be downloaded: {first_line(error)}") from error
