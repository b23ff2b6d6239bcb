"""Exit and fork of a process whose loops run on threads of their own.

At exit the threads are stopped and joined, because one that came back from native code later would abort the process. A
fork waits until every thread is between two passes, so that the child inherits no half-done pass.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from sterna.errors import UnsupportedError

if TYPE_CHECKING:
    from sterna.engine.loop import Loop

starting = threading.RLock()
"""Held while a loop's thread is started, and while the process forks."""
_forking = threading.RLock()
"""Held while a fork pauses the loops, and while the process forks."""
_paused: list[Loop] = []
_resume = threading.Event()
"""What the paused loops wait for."""
_exiting = False


class LoopThread(threading.Thread):
    """A loop's thread. `threading` knows it until it has ended, even when its loop is gone."""

    def __init__(self, loop: Loop, run: Callable[[], None]) -> None:
        super().__init__(target=run, name="sterna-loop", daemon=True)
        self.loop = weakref.ref(loop)


def check_alive() -> None:
    """Raises `UnsupportedError` where the process is ending; a daemon thread is ended with it."""
    if not _exiting:
        return
    thread = threading.current_thread()
    if thread.daemon and not isinstance(thread, LoopThread):
        threading.Event().wait()  # for ever: the process does not wait for this thread
    raise UnsupportedError("The process is ending.")


def _threads() -> list[tuple[LoopThread, Loop]]:
    """The threads that run, and their loops."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, LoopThread)]
    return [(thread, loop) for thread in threads if (loop := thread.loop()) is not None]


def _exit() -> None:
    """Stops the threads and waits for them. Daemon threads that wait for their texts go on waiting while the process
    ends."""
    global _exiting
    with starting:  # so that a thread which is just being started is found below
        _exiting = True
    for _, loop in _threads():
        loop.stop()
    for thread in threading.enumerate():
        if isinstance(thread, LoopThread):
            thread.join()


def _before_fork() -> None:
    global _resume
    _forking.acquire()
    _resume = threading.Event()
    seen: set[LoopThread] = set()
    while True:
        # Threads may be started until all are paused: a callback that starts one must not wait for the fork.
        threads = [(thread, loop) for thread, loop in _threads() if thread not in seen]
        for thread, loop in threads:
            seen.add(thread)
            _paused.append(loop)
            if thread is not threading.current_thread():
                _pause(thread, loop)
        starting.acquire()
        if all(thread in seen for thread, _ in _threads()):
            return
        starting.release()


def _pause(thread: LoopThread, loop: Loop) -> None:
    paused = threading.Event()
    loop.pause(paused, _resume)
    while not paused.wait(0.1) and thread.is_alive():
        pass


def _after_fork_in_parent() -> None:
    _resume.set()
    _paused.clear()
    starting.release()
    _forking.release()


def _after_fork_in_child() -> None:
    for loop in _paused:
        loop.forked()
    _paused.clear()
    starting.release()
    _forking.release()


atexit.register(_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
