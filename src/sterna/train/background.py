"""Lets Ctrl-C interrupt a long call into compiled code, which answers no signal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_background(function: Callable[[Callable[[], bool]], T]) -> T:
    """What `function` returns or raises, called on another thread.

    An exception that is raised here meanwhile (KeyboardInterrupt) does not wait for the thread. The function receives a
    function that then says True, so that it can end itself.
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
