"""`timings` and `prompt_progress` of replies, as llama-server has them."""

from __future__ import annotations

from sterna.server.answer import Answer


def timings_body(answer: Answer) -> dict[str, int | float]:
    """Counts, milliseconds and speeds of an answer that is complete. Speeds of text do not count the first token, which
    is the prompt's."""
    usage, timings = answer.usage, answer.timings
    prompt, later = usage.prompt - usage.cached, max(usage.completion - 1, 0)
    body: dict[str, int | float] = {
        "cache_n": usage.cached,
        "prompt_n": prompt,
        "prompt_ms": timings.prompt * 1e3,
        "prompt_per_token_ms": _ratio(timings.prompt * 1e3, prompt),
        "prompt_per_second": _ratio(prompt, timings.prompt),
        "predicted_n": usage.completion,
        "predicted_ms": timings.completion * 1e3,
        "predicted_per_token_ms": _ratio(timings.completion * 1e3, later),
        "predicted_per_second": _ratio(later, timings.completion),
    }
    if timings.drafted:
        body |= {"draft_n": timings.drafted, "draft_n_accepted": timings.accepted}
    return body


def progress_body(answer: Answer) -> dict[str, int]:
    """How much of the prompts is computed, tokens from the prefix cache included."""
    usage, progress = answer.usage, answer.progress
    milliseconds = round(progress.seconds * 1e3)
    return {"total": usage.prompt, "cache": usage.cached, "processed": progress.computed, "time_ms": milliseconds}


def _ratio(amount: float, by: float) -> float:
    return amount / by if by else 0.0
