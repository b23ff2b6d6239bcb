"""A model of Sterna for the `lm-eval` harness (EleutherAI), with which all of its tasks run: extra `eval`.

from lm_eval import simple_evaluate
from sterna.evaluate.lm_eval import SternaLM

simple_evaluate(model=SternaLM("model.gguf"), tasks=["arc_easy"])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sterna.engine.llm import LLM
from sterna.errors import UnsupportedError
from sterna.evaluate.scoring import cut, prefix_id, score_ids
from sterna.evaluate.windows import windows

try:
    from lm_eval.api.model import TemplateLM
except ImportError:
    raise UnsupportedError("lm-eval is not installed: pip install 'sterna[eval]'.") from None


class SternaLM(TemplateLM):
    """`model`: an `LLM`, or what `LLM` takes, with its options by name."""

    def __init__(self, model: Any = None, **options: Any) -> None:
        super().__init__()
        self.llm = model if isinstance(model, LLM) else LLM(model, **options)

    @property
    def eot_token_id(self) -> int:
        return min(self.llm.tokenizer.eos_ids, default=prefix_id(self.llm))

    @property
    def prefix_token_id(self) -> int:
        return prefix_id(self.llm)

    @property
    def max_length(self) -> int:
        return self.llm.context_length

    @property
    def tokenizer_name(self) -> str:
        return self.llm.checkpoint.name.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **more: Any) -> list[int]:
        return self.llm.tokenizer.encode(string)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        raise UnsupportedError(
            "SternaLM scores plain texts, without a chat template; evaluate with apply_chat_template=False."
        )

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **more: Any
    ) -> list[tuple[float, bool]]:
        """`[((context, continuation), context ids, continuation ids)]` to log-probabilities and whether greedy.

        Requests with the same context are one question, whatever their order: it is computed once.
        """
        questions: dict[tuple[int, ...], list[int]] = {}
        for index, (_, context, _) in enumerate(requests):
            questions.setdefault(tuple(context), []).append(index)
        pairs = (
            (members, [cut(self.llm, [*context, *requests[index][2]], len(context)) for index in members])
            for context, members in questions.items()
        )
        results: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        for members, scores in score_ids(self.llm, pairs):
            for index, score in zip(members, scores, strict=True):
                results[index] = score.logprob, score.greedy
        return results

    def loglikelihood_rolling(self, requests: Sequence[Any], **more: Any) -> list[float]:
        """The log-probability of whole texts, by the windows of `sterna eval --text`."""
        results = []
        for request in requests:
            ids = self.llm.tokenizer.encode(request.args[0])
            if ids[:1] != [self.prefix_token_id]:
                ids = [self.prefix_token_id, *ids]
            nats = 0.0
            for start, end, first in windows(len(ids), self.llm.context_length):
                nats += float(self.llm.scores(ids[start:end], first - start)[:, 0].sum(dtype=np.float64))
            results.append(nats)
        return results

    def generate_until(self, requests: Sequence[Any], **more: Any) -> list[str]:
        """Greedy texts, or by the temperature that a task asks for, up to its stop strings."""
        results = []
        for request in requests:
            context, wanted = request.args
            stops = wanted.get("until") or ()
            room = min(int(wanted.get("max_gen_toks", 256)), self.llm.context_length // 2)
            completion = self.llm.complete(
                [self.tok_encode(context)[-(self.llm.context_length - room) :]],
                max_tokens=room,
                temperature=float(wanted.get("temperature", 0.0)) if wanted.get("do_sample") else 0.0,
                stop=tuple(text for text in ([stops] if isinstance(stops, str) else stops) if text),
            )[0]
            results.append(completion.text)
        return results
