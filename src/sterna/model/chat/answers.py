"""Which characters of a rendered conversation the assistant wrote: what a model is fine-tuned on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from os.path import commonprefix
from typing import Any

from sterna.model.chat.sandbox import ANSWER_BEGINS, ANSWER_ENDS
from sterna.model.chat.text import Text, typed_mask

Spans = list[tuple[int, int]]
"""First character and end (exclusive) of what the assistant wrote, in order."""
Render = Callable[..., Text]
"""`sterna.model.chat.render` with a template: takes messages, `add_generation_prompt` and `mark_answers`."""

_MARKS_ANSWERS = re.compile(r"\{%-?\s*generation\s*-?%\}")


def marked_answers(template: str, render: Render, messages: Sequence[Mapping[str, Any]]) -> list[tuple[Text, Spans]]:
    """Rendered conversations with the answers in them, each with its end of turn; empty without an answer.

    A template with `{% generation %}` blocks says itself what the answers are (transformers'
    `return_assistant_tokens_mask`). With any other, an answer is what the template adds to the prompt for it. Where a
    template renders an answer in another way once more messages follow (it drops thoughts, say), there is a
    conversation for each answer, which ends with it: what the model is going to see. Messages after the last answer
    are left out. Raises what `render` does.
    """
    answers = [index for index, message in enumerate(messages) if message.get("role") == "assistant"]
    if not answers:
        return []
    messages = messages[: answers[-1] + 1]
    if _MARKS_ANSWERS.search(template):
        return [_without_marks(render(messages, add_generation_prompt=False, mark_answers=True))]
    ends = [render(messages[: index + 1], add_generation_prompt=False) for index in answers]
    prompts = [render(messages[:index], add_generation_prompt=True) if index else Text("") for index in answers]
    spans = [(len(commonprefix((prompt, end))), len(end)) for prompt, end in zip(prompts, ends, strict=True)]
    if all(ends[-1].startswith(end) for end in ends):
        return [(ends[-1], spans)]
    return [(end, [span]) for end, span in zip(ends, spans, strict=True)]


def _without_marks(text: Text) -> tuple[Text, Spans]:
    """A text without the marks that the template wrote, and what lay between them."""
    mask = typed_mask(text)
    parts: list[Text] = []
    spans: Spans = []
    at = length = begun = 0
    for mark in re.finditer(f"[{ANSWER_BEGINS}{ANSWER_ENDS}]", text):
        if mask[mark.start()]:
            continue
        parts.append(text[at : mark.start()])
        length += len(parts[-1])
        at = mark.end()
        if mark[0] == ANSWER_BEGINS:
            begun = length
        elif begun < length:
            spans.append((begun, length))
    return text.joined((*parts, text[at:])), spans
