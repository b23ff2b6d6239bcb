"""Downloads from the Hugging Face hub into its cache, with `huggingface_hub`; interrupted downloads of weights are
resumed.

That library deletes a partial file when a download fails. Weights are therefore fetched with its HTTP client into a
file that stays. When the file is complete, it is moved to the cache's blobs, under its checksum.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sterna.errors import ArgumentError, FormatError, NetworkError, NotFoundError, SternaError
from sterna.files.hub.repo_files import Choice
from sterna.files.locks import lock

_ETAG = re.compile(r"[0-9A-Za-z_.-]{1,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
KEPT = ", or broke off; what was downloaded is kept, so try again"
"""End of the sentence about a hub that does not answer in the middle of a download."""


@dataclass(frozen=True)
class Downloaded:
    """How much of a file of weights has come: bytes, of all that it has."""

    name: str
    digest: str
    """What the hub calls its content: for large files, their SHA-256."""
    bytes: int
    total: int


Tell = Callable[[Downloaded], None]
"""Is told, on the thread that downloads, whenever more has come."""


class Hub:
    """One repository of the hub (`HF_ENDPOINT`), and the cache folder that its files go to."""

    def __init__(self, cache: Path, repo: str, token: str | None = None, kind: str = "model") -> None:
        """`token`: None takes `HF_TOKEN` or the token of `hf auth login`. `kind`: of the repository, model or
        dataset."""
        self.cache, self.repo, self.token, self.kind = cache, repo, token, kind

    def listing(self, revision: str) -> tuple[str, list[str]]:
        """The commit of a revision, and the paths of all its files.

        Raises NotFoundError where there is no such repository or revision, NetworkError where the hub does not answer.
        """
        from huggingface_hub import HfApi

        with self._errors(revision, more=""):
            info = HfApi(token=self.token).repo_info(self.repo, revision=revision, repo_type=self.kind)
        return info.sha or "", [sibling.rfilename for sibling in getattr(info, "siblings", None) or []]

    def licence(self) -> str | None:
        """The licences that the card of the repository names; raises as `listing`."""
        from huggingface_hub import HfApi

        with self._errors("main", more=""):
            info = HfApi(token=self.token).repo_info(self.repo, revision="main", repo_type=self.kind)
        named = getattr(getattr(info, "card_data", None), "license", None)
        return ", ".join(named) if isinstance(named, list) else named

    def path_of(self, name: str, commit: str) -> Path:
        """The path of a small file in the cache, downloaded if it is not there; raises as `listing`."""
        from huggingface_hub import hf_hub_download

        with self._errors(commit):
            return Path(
                hf_hub_download(
                    self.repo, name, repo_type=self.kind, revision=commit, cache_dir=self.cache, token=self.token
                )
            )

    def fetch(self, choice: Choice, commit: str, tell: Tell = lambda downloaded: None) -> None:
        """Downloads all files of a model at a commit, except those in the cache; raises as `listing`, and FormatError
        for a file that arrived damaged."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        with self._errors(commit):
            for name in choice.small:
                hf_hub_download(self.repo, name, revision=commit, cache_dir=self.cache, token=self.token)
            for name in choice.weights:
                self._fetch_weights(name, commit, tell)
                hf_hub_download(self.repo, name, revision=commit, cache_dir=self.cache, token=self.token)

    def _fetch_weights(self, name: str, commit: str, tell: Tell) -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get, repo_folder_name
        from huggingface_hub.utils import build_hf_headers

        folder = self.cache / repo_folder_name(repo_id=self.repo, repo_type="model")
        if (folder / "snapshots" / commit / name).exists():
            return
        url = hf_hub_url(self.repo, name, revision=commit)
        metadata = get_hf_file_metadata(url, token=self.token)
        if metadata.etag is None or metadata.size is None or not _ETAG.fullmatch(metadata.etag):
            raise NetworkError(f"The hub does not say what it would send as {self.repo}/{name}.")
        blob = folder / "blobs" / metadata.etag
        if blob.exists():
            return
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = blob.with_name(f"{blob.name}.sterna.incomplete")
        digest, total = metadata.etag, metadata.size
        with _Told(part, lambda done: tell(Downloaded(name, digest, done, total))) as file:
            if lock(file) is False:
                raise NetworkError(f"Another process is downloading {self.repo}/{name}; wait for it.")
            done = file.tell()
            if done > metadata.size:
                file.truncate(done := 0)
            resuming = f", {done / 1e6:,.1f} MB of it are there" if done else ""
            print(f"Downloading {self.repo}/{name}: {metadata.size / 1e6:,.1f} MB{resuming}.", file=sys.stderr)
            http_get(
                url,
                file,
                resume_size=done,
                headers=build_hf_headers(token=self.token),
                expected_size=metadata.size,
                displayed_filename=name,
            )
            file.flush()
            os.fsync(file.fileno())
            if sys.platform == "win32":
                file.close()  # Windows renames no file that is open.
            _check(part, metadata.etag, f"{self.repo}/{name}")
            os.replace(part, blob)

    @contextmanager
    def _errors(self, revision: str, more: str = KEPT) -> Iterator[None]:
        """Turns errors of the hub and of its library into Sterna's. `more` ends the sentence about a hub that does not
        answer."""
        from huggingface_hub import errors

        # The HTTP client's own error; which client it is depends on the version of the library.
        http_error: type[Exception] = errors.HfHubHTTPError.__bases__[0]
        try:
            yield
        except errors.GatedRepoError as error:
            flag = ", or give it with `sterna pull --token`" if self.kind == "model" else ""
            raise NotFoundError(
                f"{self.repo} is gated: accept its terms on the hub, then set HF_TOKEN to your access token{flag}."
            ) from error
        except errors.RepositoryNotFoundError as error:
            beside = ", nor a file or folder here: check the name, or" if self.kind == "model" else ":"
            raise NotFoundError(
                f"{self.repo} is no {self.kind} of the hub that everybody may see{beside} set HF_TOKEN for one of your "
                "own."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise NotFoundError(f"{self.repo} has no revision {revision!r}.") from error
        except errors.OfflineModeIsEnabled as error:
            raise NotFoundError(f"{self.repo} is not in the cache as a whole, and HF_HUB_OFFLINE is set.") from error
        except errors.HFValidationError as error:
            raise ArgumentError(f"{self.repo} cannot be the name of a repository.") from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise NotFoundError(
                    f"The hub refuses {self.repo}: set HF_TOKEN to a token that may read it."
                ) from error
            raise NetworkError(
                f"The hub answered {status} when asked for {self.repo}; what was downloaded is kept: try again later."
            ) from error
        except (http_error, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
            if _is_offline(error):
                raise NotFoundError(f"{self.repo} is not in the cache, and HF_HUB_OFFLINE is set.") from error
            raise NetworkError(f"The hub cannot be reached for {self.repo}{more}.") from error
        except OSError as error:
            if error.errno is not None:  # an error of the disk
                raise SternaError(
                    f"{error.filename or self.cache} cannot be written: {error.strerror} (STERNA_CACHE names another "
                    "folder for downloads)."
                ) from error
            raise NetworkError(f"The hub cannot be reached for {self.repo}{KEPT}.") from error


class _Told(io.BufferedWriter):
    """A file that is appended to, and tells how long it is after each write."""

    def __init__(self, path: Path, tell: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._tell = tell

    def write(self, data: Any) -> int:
        written = super().write(data)
        self._tell(self.tell())
        return written


def _is_offline(error: BaseException) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    return isinstance(error.__cause__, OfflineModeIsEnabled)


def _check(part: Path, etag: str, name: str) -> None:
    """Checks weights whose name is their SHA-256 (git-lfs); a file with another checksum is deleted."""
    if not _SHA256.fullmatch(etag):
        return
    digest = hashlib.sha256()
    with open(part, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != etag:
        part.unlink()
        raise FormatError(f"{name} arrived damaged (its SHA-256 is wrong) and was thrown away; pull it again.")
