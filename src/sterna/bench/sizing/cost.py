"""What tokens cost on a machine with a price an hour, and when that is less than an API's price."""

from __future__ import annotations

from dataclasses import dataclass

SECONDS, MILLION = 3600.0, 1e6


def per_million(price_per_hour: float, tokens_per_second: float) -> float:
    """The price of a million tokens: price · 10⁶ / (3600 · tokens/s)."""
    return price_per_hour / SECONDS / tokens_per_second * MILLION


def speed_for(price_per_hour: float, price_per_million: float) -> float:
    """Tokens a second at which a million tokens cost so much."""
    return price_per_hour / SECONDS / price_per_million * MILLION


@dataclass(frozen=True)
class Cost:
    """Prices in the currency of `per_hour`. `input`, `output`, `blended`: of a million tokens of prompts, of answers,
    and of both in the proportion of `prompt` to `output_tokens`, on a machine that is busy all the time; `input` and
    `blended` are None where prefill is not known.

    `busy_share`: how much of the time the machine must be busy to cost as much as the API; above 1: it never is
    cheaper. `requests_per_hour`: how many requests that is. None without an API's price.
    """

    per_hour: float
    prompt: int
    output_tokens: int
    input: float | None
    output: float
    blended: float | None
    api_per_million: float | None = None
    busy_share: float | None = None
    requests_per_hour: float | None = None


def cost(
    per_hour: float,
    prefill_tps: float | None,
    decode_tps: float,
    prompt: int,
    output: int,
    api_per_million: float | None = None,
) -> Cost:
    """The cost of requests with `prompt` and `output` tokens at these speeds; `decode_tps` of all streams together."""
    blended = None
    if prefill_tps is not None:
        blended = per_million(per_hour, (prompt + output) / (prompt / prefill_tps + output / decode_tps))
    compared = blended is not None and api_per_million is not None
    return Cost(
        per_hour=per_hour,
        prompt=prompt,
        output_tokens=output,
        input=None if prefill_tps is None else per_million(per_hour, prefill_tps),
        output=per_million(per_hour, decode_tps),
        blended=blended,
        api_per_million=api_per_million,
        busy_share=blended / api_per_million if compared else None,  # type: ignore[operator]
        requests_per_hour=per_hour / (api_per_million * (prompt + output) / MILLION) if compared else None,  # type: ignore[operator]
    )
