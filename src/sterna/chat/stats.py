"""What an answer cost, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sterna.engine.generation import Completion

if TYPE_CHECKING:
    from sterna.chat.session import Session


def speeds(completion: Completion) -> str:
    """Tokens and speeds of an answer."""
    return (
        f"{completion.prompt_tokens:,} prompt tokens, {completion.cached_tokens:,} of them cached, the others at "
        f"{completion.prefill_tps:,.1f}/s; {completion.completion_tokens:,} generated at "
        f"{completion.decode_tps:,.1f}/s, ended by {completion.stop_reason}"
    )


def use(session: Session) -> str:
    """How much of the context the conversation takes, and how much of the conversation is not sent."""
    share = session.context_used / session.context
    words = f"context {session.context_used:,} of {session.context:,} tokens ({share:.0%})"
    unsent = session.conversation.unsent_turns
    return f"{words}; {count_turns(unsent)} not sent" if unsent else words


def cut_notice(session: Session) -> str | None:
    """Why the last answer ends before its end; None where it does not."""
    last = session.last
    if last is None or last.stop_reason != "length":
        return None
    if last.completion_tokens == session.params.max_tokens:
        return f"(cut at {last.completion_tokens:,} tokens; /set max-tokens changes that)"
    return f"(cut: the context of {session.context:,} tokens is full)"


def count_turns(turns: int) -> str:
    """`1 turn`, `2 turns`."""
    return f"{turns} turn{'' if turns == 1 else 's'}"
