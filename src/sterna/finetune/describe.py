"""Describes what a fine-tuning run is going to do: `sterna finetune --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator

from sterna.files.sizes import readable
from sterna.finetune.data.batches import Row, learned_tokens
from sterna.finetune.data.examples import Sequence
from sterna.finetune.plan import Plan
from sterna.model.tokenizer import Tokenizer
from sterna.train.describe import USUAL_SHARE, last_speed
from sterna.train.watch.lines import duration
from sterna.train.watch.machine import peak_flops

SHOWN_ROWS = 2
"""Rows of the first batch that are shown."""
SHOWN_TOKENS = 400
"""Tokens of a row that are shown."""
LEARNED, REST, PLAIN = "\x1b[32m", "\x1b[2m", "\x1b[0m"
"""What a terminal shows learned text with, other text, and what ends both."""
BEGINS, ENDS = "⟦", "⟧"
"""What stands around learned text where there are no colours."""


def describe(plan: Plan, colours: bool = False) -> list[str]:
    """Lines that describe a plan to people: model, data, steps, memory, time, output, what to know, and the first rows
    with what is learned of them."""
    inputs, training = plan.inputs, plan.inputs.config.training
    begins = "begins anew" if plan.found is None else f"resumes after step {plan.step:,}"
    return [
        f"mode:   {inputs.config.mode}, from {inputs.base.path}",
        *plan.mode.describe(),
        *_data(plan),
        f"steps:  {training.steps:,} of {training.batch_size:,} rows; {begins}",
        f"memory: about {readable(plan.mode.memory())} on {inputs.device}",
        f"time:   {_time(plan, (training.steps - plan.step) * training.batch_size * _tokens_per_row(plan))}",
        f"output: {plan.output.resolve()}",
        *plan.notes,
        *_first_rows(plan, colours),
    ]


def _data(plan: Plan) -> Iterator[str]:
    for source in plan.inputs.sources:
        section, sequences = source.section, source.sequences
        learned = sum(int(sequence.learned.sum()) for sequence in sequences)
        tokens = sum(map(len, sequences))
        weight = f", weight {section.weight:g}" if section.weight != 1 else ""
        yield (
            f"data:   {section.path} ({section.format}, {section.split}{weight}): {len(sequences):,} examples of "
            f"{tokens:,} tokens, {learned:,} of them learned"
        )
    training, rows = plan.inputs.config.training, plan.inputs.data.batches.epoch(0)
    filled = _tokens_per_row(plan) / training.context
    yield (
        f"epoch:  {len(rows):,} rows, {filled:.0%} of training.context filled, nothing padded; "
        f"{training.steps * training.batch_size / len(rows):.2f} epochs in all"
    )


def _tokens_per_row(plan: Plan) -> float:
    """How many tokens a row of the first epoch has on average."""
    batches = plan.inputs.data.batches
    return batches.tokens(len(batches.epoch(0))) / len(batches.epoch(0))


def _time(plan: Plan, tokens: float) -> str:
    """How long so many tokens take: at the speed of the run so far, else at a usual share of the machine's peak."""
    if (speed := last_speed(plan.output)) is not None:
        return f"about {duration(tokens / speed)} at the last {speed:,.0f} tokens/s of its log"
    peak = peak_flops(plan.inputs.device, plan.inputs.config.training.precision)
    speed = USUAL_SHARE * peak / plan.flops_per_token
    return f"very roughly {duration(tokens / speed)}, if it makes {speed:,.3g} tokens/s"


def _first_rows(plan: Plan, colours: bool) -> Iterator[str]:
    """The first rows of the first batch, example by example."""
    size = plan.inputs.config.training.batch_size
    batch = plan.inputs.data.batches.batch(0, size)
    yield (
        f"The first batch has {len(batch)} rows with {sum(map(len, batch))} examples; {learned_tokens(batch):,} tokens "
        f"are learned, {'in green' if colours else f'between {BEGINS} and {ENDS}'}:"
    )
    for number, row in enumerate(batch[:SHOWN_ROWS], 1):
        yield f"row {number}:"
        yield from _shown(row, plan.inputs.tokenizer, colours)


def _shown(row: Row, tokenizer: Tokenizer, colours: bool) -> Iterator[str]:
    left = SHOWN_TOKENS
    for example in row:
        if left <= 0:
            yield "  ..."
            return
        yield "  " + _text(example, tokenizer, colours, left)
        left -= len(example)


def _text(example: Sequence, tokenizer: Tokenizer, colours: bool, limit: int) -> str:
    """An example's text, with marks around what is learned; special tokens by their names."""
    marks = {True: (LEARNED, PLAIN), False: (REST, PLAIN)} if colours else {True: (BEGINS, ENDS), False: ("", "")}
    ids, learned = example.ids[:limit].tolist(), example.learned[:limit].tolist()
    text, at = "", 0
    while at < len(ids):
        end = next((i for i in range(at, len(ids)) if learned[i] != learned[at]), len(ids))
        run = b"".join(map(tokenizer.token_bytes, ids[at:end])).decode("utf-8", "replace")
        begins, ends = marks[learned[at]]
        text += begins + repr(run)[1:-1] + ends
        at = end
    return text + (" ..." if len(example) > limit else "")
