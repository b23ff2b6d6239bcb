"""Lets Ctrl-C interrupt a long call into compiled code, which answers no signal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_background(function: Callable[[Callable[[], bool]], T]) -> T:
    """Calls `function` on another thread, waits, and returns its result or raises its exception.

    A KeyboardInterrupt during the wait is raised at once; the thread goes on by itself. So `function` receives an
    argument to call: it returns True once nobody waits any more, and `function` should then return.
    """
    result: Future[T] = Future()
    stopped = threading.Event()

    def run() -> None:
        try:
            result.set_result(function(stopped.is_set))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return result.result()
    finally:
        stopped.set()
