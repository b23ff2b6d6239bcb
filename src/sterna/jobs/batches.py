"""The batches of a server: each is the job of `sterna batch` on a model that is served.

One batch runs at a time, the oldest first, in the passes of the engine that no request needs (`engine/scheduler.py`).
What it has done is on disk at every moment, in the files that it will publish and in their journal, so that a server
that was killed goes on with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from sterna.engine.loop import CLOSED
from sterna.errors import UnsupportedError, shown
from sterna.jobs.batch import Batch
from sterna.jobs.checked import BadBatch, check_lines
from sterna.jobs.files import Files, write_record
from sterna.jobs.limits import Limits
from sterna.jobs.running import CANCELLED, EXPIRED, Closing, Run
from sterna.server.errors import ApiError, api_error
from sterna.server.models import Models

log = logging.getLogger("sterna.server")

T = TypeVar("T")

AGAIN = 5.0
"""Seconds after which a batch goes on whose model was unloaded."""
CLEANING = 60.0
"""Most seconds between two removals of what has expired; they are at least one, where nothing is kept that long."""


class Batches:
    """The batches of one server. All methods run on the event loop, and jobs on threads of their own."""

    def __init__(self, files: Files, limits: Limits) -> None:
        self._files, self._limits = files, limits
        self._batches = {each.id: each for each in _read_all(files.folder)}
        """In the order in which they were made."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, Run] = {}
        """Those that are on a thread."""
        self._threads = ThreadPoolExecutor(2, "batch")
        self._reading, self._turn, self._saving = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self._closing = False

    def start(self, models: Models) -> None:
        """Goes on with the batches that have not ended."""
        self._models = models
        unended = [each for each in self._batches.values() if not each.ended]
        self._files.remove_strays([id for each in unended for id in (each.output_id, each.error_id)])
        for batch in unended:
            self._files.use(batch.input_file_id)
            self._begin(batch)
        self._cleaner = asyncio.create_task(self._clean())

    async def close(self) -> None:
        """Lets batches break off; a later server with the same folder goes on with them."""
        self._closing = True
        self._cleaner.cancel()
        for id, task in self._tasks.items():
            if id in self._runs:
                self._runs[id].closing = True
            else:
                task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)

    def all(self) -> list[Batch]:
        """The oldest first."""
        return list(self._batches.values())

    def find(self, id: str) -> Batch:
        """Raises `ApiError` 404 for an unknown batch."""
        found = self._batches.get(id)
        if found is None:
            raise ApiError(404, f"There is no batch {shown(id)}.", param="id", code="batch_not_found")
        return found

    async def create(self, batch: Batch) -> None:
        """Takes a new batch. Raises `ApiError` for an unknown file, or where there are too many batches."""
        if self._files.find(batch.input_file_id).purpose != "batch":
            raise ApiError(400, f"The purpose of {batch.input_file_id} is not batch.", param="input_file_id")
        if len(self._batches) >= self._limits.batches:
            ended = next((each for each in self._batches.values() if each.ended), None)
            if ended is None:
                raise ApiError(429, f"{len(self._batches)} batches run or wait.", code="too_many_batches")
            self._forget(ended)
        batch.output_id, batch.error_id = self._files.new_id(), self._files.new_id()
        self._batches[batch.id] = batch
        self._files.use(batch.input_file_id)
        self._begin(batch)
        await self._save(batch)

    async def cancel(self, batch: Batch) -> None:
        """Ends a batch; what is done is kept. Raises `ApiError` for one that has ended."""
        if batch.status == "cancelling":
            return
        if batch.ended or batch.status == "finalizing":
            raise ApiError(400, f"The batch is {batch.status}; it cannot be cancelled.", code="batch_ended")
        saved = self._move(batch, "cancelling")
        if batch.id not in self._runs:  # else its run sees the status
            task = self._tasks[batch.id]
            task.cancel()
            await asyncio.wait({task})
            self._begin(batch)
        await saved

    def _begin(self, batch: Batch) -> None:
        """Lets a batch live in a task of its own."""
        for id in (batch.output_id, batch.error_id):
            self._files.reserve(id)
        self._tasks[batch.id] = task = asyncio.create_task(self._live(batch))

        def ended(task: asyncio.Task[None]) -> None:
            if self._tasks.get(batch.id) is task:
                del self._tasks[batch.id]

        task.add_done_callback(ended)

    async def _live(self, batch: Batch) -> None:
        """Takes a batch to its end."""
        try:
            if batch.status == "validating":
                async with self._reading:
                    await self._check(batch)
            if batch.status == "cancelling":
                await self._end(batch)
            else:
                async with self._turn:
                    while not await self._answered(batch):
                        await asyncio.sleep(AGAIN)
        except Closing:
            pass
        except BadBatch as bad:
            await self._fail(batch, bad.error, bad.line)
        except OSError as error:
            await self._fail(batch, ApiError(500, f"Its files cannot be read or written: {error.strerror}."))
        except Exception as error:
            if not isinstance(error, ApiError):
                log.exception("%s failed.", batch.id)
            await self._fail(batch, api_error(error))

    async def _check(self, batch: Batch) -> None:
        path = self._files.path(self._files.find(batch.input_file_id).id)

        def stop() -> bool:
            return self._closing or batch.status != "validating"

        checked = await self._on_thread(lambda: check_lines(path, lambda name: self._models.find(name).name, stop))
        batch.total, batch.model = checked.total, checked.model
        await self._move(batch, "in_progress")

    async def _answered(self, batch: Batch) -> bool:
        """Whether a batch was taken to its end; a request may have needed the memory of its model."""
        try:
            async with self._models.use(batch.model, gives_way=True) as served:
                run = Run(batch, self._files, self._models.metrics)
                batch.job = await self._on_thread(lambda: run.prepare(served))
                await self._save(batch)
                await self._through(batch, run, lambda: run.answer(served))
        except UnsupportedError as error:
            if str(error) != CLOSED:
                raise
            return False
        return True

    async def _end(self, batch: Batch) -> None:
        """Ends a batch that was cancelled while it did not run."""
        if batch.job is None:
            await self._publish(batch, "cancelled")
        else:
            run = Run(batch, self._files, self._models.metrics)
            await self._through(batch, run, run.refuse)

    async def _through(self, batch: Batch, run: Run, work: Callable[[], None]) -> None:
        """Lets a run do its work on a thread, and publishes what it made."""
        self._runs[batch.id] = run
        try:
            run.closing = self._closing
            await self._on_thread(work)
        finally:
            del self._runs[batch.id]
        match run.stopped:
            case None:
                status = "cancelled" if batch.status == "cancelling" else "completed"
            case error if error is CANCELLED:
                status = "cancelled"
            case error if error is EXPIRED:
                status = "expired"
            case error:
                status = "failed"
                batch.errors = [_told(error)]
        await self._publish(batch, status)

    async def _publish(self, batch: Batch, status: str) -> None:
        await self._move(batch, "finalizing")
        for id, kind in ((batch.output_id, "output"), (batch.error_id, "error")):
            path = self._files.path(id)
            if path.exists() and path.stat().st_size:
                await self._files.publish(id, f"{batch.id}_{kind}.jsonl", "batch_output", batch.output_seconds)
                batch.published.append(id)
            else:
                self._files.abandon(id)
        await self._finish(batch, status)

    async def _fail(self, batch: Batch, error: ApiError, line: int | None = None) -> None:
        """Ends a batch that cannot run."""
        for id in (batch.output_id, batch.error_id):
            self._files.abandon(id)
        batch.errors = [_told(error, line)]
        await self._finish(batch, "failed")

    async def _finish(self, batch: Batch, status: str) -> None:
        self._files.release(batch.input_file_id)
        await self._move(batch, status)

    def _move(self, batch: Batch, status: str) -> asyncio.Future[None]:
        """Gives a batch its next status, at once; it is saved when the result is there."""
        batch.status, batch.times[status] = status, time.time()
        log.info("batch", extra={"batch": batch.id, "status": status, "model": batch.model})
        return self._save(batch)

    def _save(self, batch: Batch) -> asyncio.Future[None]:
        async def save() -> None:
            async with self._saving:  # so that no state is overwritten by an earlier one
                with suppress(OSError):  # the disk is full; after a kill the batch goes on from the state before
                    await asyncio.to_thread(write_record, self._record(batch), asdict(batch))

        return asyncio.shield(asyncio.create_task(save()))

    def _record(self, batch: Batch) -> Path:
        return self._files.folder / f"{batch.id}.json"

    def _forget(self, batch: Batch) -> None:
        del self._batches[batch.id]
        self._record(batch).unlink(missing_ok=True)

    async def _clean(self) -> None:
        """Removes what has expired, again and again."""
        while True:
            try:
                self._remove_old()
            except OSError:
                log.exception("What has expired cannot be removed.")
            await asyncio.sleep(min(CLEANING, max(1.0, self._limits.seconds)))

    def _remove_old(self) -> None:
        self._files.remove_old()
        for batch in self.all():
            expiry = self._limits.expiry(batch.times[batch.status]) if batch.ended else None
            if expiry is not None and expiry <= time.time():
                self._forget(batch)

    async def _on_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


def _told(error: ApiError, line: int | None = None) -> dict[str, Any]:
    code = error.code or ("invalid_request" if error.status < 500 else "server_error")
    return {"code": code, "message": error.message, "param": error.param, "line": line}


def _read_all(folder: Path) -> list[Batch]:
    """The batches of a folder, the oldest first."""
    found = []
    for path in folder.glob("batch_*.json"):
        try:
            batch = Batch(**json.loads(path.read_bytes()))
            assert batch.id == path.stem
            found.append(batch)
        except (OSError, ValueError, TypeError, AssertionError):
            log.warning("not read", extra={"file": str(path)})
    return sorted(found, key=lambda each: each.created_at)
