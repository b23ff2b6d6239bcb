"""Events of the engine's thread reach the tasks of an event loop together, and none is lost."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sterna.engine import inbox
from sterna.engine.inbox import Inbox


class Engine:
    """A loop whose turns the test ends."""

    def __init__(self) -> None:
        self.asked: dict[Any, None] = {}

    def after_turn(self, function: Any) -> None:
        self.asked[function] = None

    def end_turn(self) -> None:
        asked, self.asked = self.asked, {}
        for function in asked:
            function()


def counting(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each message to the event loop."""
    messages: list[None] = []
    call = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: (messages.append(None), call(*args)))
    return messages


def test_the_events_of_a_turn_take_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        engine: Any = Engine()
        messages = counting(asyncio.get_running_loop(), monkeypatch)
        boxes = [Inbox[int](engine) for _ in range(3)]
        tasks = [asyncio.create_task(box.take()) for box in boxes]
        await asyncio.sleep(0)
        for event in range(6):
            boxes[event % 3].put(event)
        assert not messages
        engine.end_turn()
        assert await asyncio.gather(*tasks) == [[0, 3], [1, 4], [2, 5]] and len(messages) == 1

    asyncio.run(work())


def test_what_is_not_urgent_waits_and_comes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "REST", 0.05)

    async def work() -> None:
        engine: Any = Engine()
        messages = counting(asyncio.get_running_loop(), monkeypatch)
        box = Inbox[str](engine)
        box.put("first", urgent=False)
        engine.end_turn()
        assert await box.take() == ["first"]
        task = asyncio.create_task(box.take())
        await asyncio.sleep(0.01)
        for event in "abc":
            box.put(event, urgent=False)
            engine.end_turn()
            await asyncio.sleep(0)
        assert len(messages) == 1 and not task.done()
        assert await task == ["a", "b", "c"] and len(messages) == 1
        task = asyncio.create_task(box.take())
        await asyncio.sleep(0.01)
        box.put("d", urgent=False)
        box.put("end")
        engine.end_turn()
        assert await task == ["d", "end"] and len(messages) == 2

    asyncio.run(work())


def test_silence_ends_the_waiting() -> None:
    async def work() -> None:
        engine: Any = Engine()
        assert await Inbox[int](engine).take(0.01) == []

    asyncio.run(work())


def test_nothing_is_lost_between_threads() -> None:
    async def work() -> None:
        engine: Any = Engine()
        box, got, wanted = Inbox[int](engine), [], 20_000

        def produce() -> None:
            for event in range(wanted):
                box.put(event, urgent=event % 7 == 0)
                engine.end_turn()

        thread = threading.Thread(target=produce)
        thread.start()
        while len(got) < wanted:
            events = await box.take(5)
            assert events
            got += events
        thread.join()
        assert got == list(range(wanted))

    asyncio.run(work())


def test_an_event_loop_that_is_closed_is_not_missed() -> None:
    async def make(engine: Any) -> Inbox[int]:
        return Inbox(engine)

    engine: Any = Engine()
    box = asyncio.run(make(engine))
    box.put(1)
    engine.end_turn()
