"""The files of a server: content and what is known of it, in one folder.

A file is `file-ID` with its content, and `file-ID.json`, which appears when the content is complete. No path is made of
a name or an id that a client sent: the id must be that of a known file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sterna.errors import ArgumentError, shown
from sterna.files.atomic import atomic_write
from sterna.files.locks import lock
from sterna.files.sizes import readable
from sterna.jobs.limits import Limits
from sterna.server.errors import ApiError

log = logging.getLogger("sterna.server")

LOCK_FILE = ".lock"
_OURS = re.compile(r"file-[0-9a-f]{32}(\.journal)?")


@dataclass(frozen=True)
class File:
    """A file that is complete."""

    id: str
    filename: str
    """As its client calls it."""
    purpose: str
    """`batch` for the input of batches, `batch_output` for what they made."""
    bytes: int
    created_at: float
    """Seconds since 1970."""
    expires_at: float | None = None

    def body(self) -> dict[str, Any]:
        """The file as OpenAI's API shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": int(self.created_at),
            "expires_at": None if self.expires_at is None else int(self.expires_at),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Files:
    """The files of one server. All methods run on the event loop; `path`, `measure` and `lack` on any thread."""

    def __init__(self, limits: Limits) -> None:
        """Opens the folder, or makes it. Raises `ArgumentError` where another server uses it, OSError."""
        self.limits = limits
        self._temporary = None if limits.folder else tempfile.TemporaryDirectory(prefix="sterna-files-")
        self.folder = limits.folder or Path(self._temporary.name if self._temporary else "")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self.folder)
        self._files: dict[str, File] = {}
        """In the order in which they were made."""
        self._bytes = 0
        """Of all these."""
        self._reserved: dict[str, int] = {}
        """By id, the bytes of files that grow."""
        self._users: Counter[str] = Counter()
        for found in sorted(
            filter(None, map(_read, self.folder.glob("file-*.json"))), key=lambda each: each.created_at
        ):
            if self.path(found.id).is_file():
                self._add(found)

    def close(self) -> None:
        """Lets another server use the folder; removes a temporary one."""
        self._lock.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @staticmethod
    def new_id() -> str:
        return f"file-{uuid.uuid4().hex}"

    def path(self, id: str) -> Path:
        """Where the content of a file lies, or will lie. The id is one of ours, not one from a request."""
        return self.folder / id

    def all(self) -> list[File]:
        """The files that have not expired, the oldest first."""
        return [each for each in self._files.values() if not self._is_over(each)]

    def find(self, id: str) -> File:
        """Raises `ApiError` 404 for an unknown file."""
        found = self._files.get(id)
        if found is None or self._is_over(found):
            raise ApiError(404, f"There is no file {shown(id)}.", param="id", code="file_not_found")
        return found

    def use(self, id: str) -> None:
        """Keeps a file until `release`."""
        self._users[id] += 1

    def release(self, id: str) -> None:
        self._users[id] -= 1

    def delete(self, id: str) -> None:
        """Raises `ApiError`: 404 for an unknown file, 400 for one that a batch reads."""
        found = self.find(id)
        if self._users[id]:
            raise ApiError(400, f"A batch reads {id}; cancel it first, or wait for its end.", code="file_in_use")
        self._remove(found.id)

    def remove_old(self) -> None:
        """Removes the files that have expired."""
        for each in list(self._files.values()):
            if self._is_over(each):
                self._remove(each.id)

    def remove_strays(self, wanted: Collection[str]) -> None:
        """Removes what a killed server left, but for the ids that are wanted."""
        for path in self.folder.iterdir():
            id = path.name.partition(".")[0]
            if _OURS.fullmatch(path.name) and id not in self._files and id not in wanted:
                path.unlink(missing_ok=True)

    def reserve(self, id: str, size: int = 0) -> None:
        """Counts a file that is being made with its size so far."""
        self._reserved[id] = size

    def measure(self, id: str) -> None:
        """Counts a reserved file of a job with what it and its journal have on the disk."""
        paths = (path for path in (self.path(id), self.folder / f"{id}.journal") if path.exists())
        self.reserve(id, sum(path.stat().st_size for path in paths))

    def lack(self) -> ApiError | None:
        """The error where there are too many files or bytes."""
        sentence = None
        if self._bytes + sum(self._reserved.values()) > self.limits.all_bytes:
            sentence = (
                f"All files together have at most {readable(self.limits.all_bytes)} (--files-quota); delete some."
            )
        elif len(self._files) + len(self._reserved) > self.limits.files:
            sentence = f"There are at most {self.limits.files} files; delete some."
        return None if sentence is None else ApiError(413, sentence, code="quota_exceeded")

    def receive(self) -> Incoming:
        """A new file, whose content comes piece by piece. Raises `ApiError` where there is no room, OSError."""
        return Incoming(self, self.new_id())

    async def publish(self, id: str, filename: str, purpose: str, seconds: float | None = None) -> File:
        """Makes a file of the content that lies at its path. `seconds`: for which its client wants it. Raises
        OSError."""
        now = time.time()
        found = File(id, filename, purpose, self.path(id).stat().st_size, now, self.limits.expiry(now, seconds))
        await asyncio.to_thread(write_record, self._record(id), asdict(found))
        self._reserved.pop(id, None)
        self._add(found)
        return found

    def abandon(self, id: str) -> None:
        """Removes what there is of a file that will not be published. One that was published stays."""
        self._reserved.pop(id, None)
        if id not in self._files:
            for path in (self.path(id), self.folder / f"{id}.journal"):
                path.unlink(missing_ok=True)

    def _add(self, file: File) -> None:
        if file.id in self._files:
            self._bytes -= self._files[file.id].bytes
        self._files[file.id] = file
        self._bytes += file.bytes

    def _remove(self, id: str) -> None:
        self._bytes -= self._files.pop(id).bytes
        self._record(id).unlink(missing_ok=True)
        self.path(id).unlink(missing_ok=True)

    def _record(self, id: str) -> Path:
        return self.folder / f"{id}.json"

    def _is_over(self, file: File) -> bool:
        return file.expires_at is not None and file.expires_at <= time.time() and not self._users[file.id]


class Incoming:
    """A file while it is uploaded."""

    def __init__(self, files: Files, id: str) -> None:
        self.id, self._files, self._bytes = id, files, 0
        files.reserve(id)
        try:
            self._check_room()
            self._file: BinaryIO = open(files.path(id), "xb")
        except BaseException:
            files.abandon(id)
            raise

    async def write(self, data: bytes) -> None:
        """Appends a piece. Raises `ApiError` where the file, or all together, are too large, OSError."""
        self._bytes += len(data)
        most = self._files.limits.file_bytes
        if self._bytes > most:
            raise ApiError(413, f"A file has at most {readable(most)} (--file-size).", param="file", code="too_large")
        self._files.reserve(self.id, self._bytes)
        self._check_room()
        await asyncio.to_thread(self._file.write, data)

    async def finish(self, filename: str, purpose: str, seconds: float | None) -> File:
        """Brings the content to the disk, and makes the file known. Raises OSError."""
        await asyncio.to_thread(self._to_disk)
        return await self._files.publish(self.id, filename, purpose, seconds)

    def _check_room(self) -> None:
        if (error := self._files.lack()) is not None:
            raise error

    def abandon(self) -> None:
        """Removes it."""
        self._file.close()
        self._files.abandon(self.id)

    def _to_disk(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _locked(folder: Path) -> BinaryIO:
    """The open file that locks other servers out of a folder. Raises `ArgumentError` where another server uses it."""
    file = open(folder / LOCK_FILE, "ab")
    if lock(file) is False:
        file.close()
        raise ArgumentError(f"Another server uses the folder {folder}; give --files another one.")
    return file


def write_record(path: Path, fields: Any) -> None:
    """Writes a JSON file atomically. Raises OSError."""
    with atomic_write(path) as file:
        file.write(json.dumps(fields).encode())


def _read(record: Path) -> File | None:
    try:
        found = File(**json.loads(record.read_bytes()))
        if found.id == record.stem and _OURS.fullmatch(found.id):
            return found
    except (OSError, ValueError, TypeError):
        pass
    log.warning("not read", extra={"file": str(record)})
    return None
