"""Text that a model in training writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor

from sterna.train.data import END_OF_TEXT_ID
from sterna.train.model import Decoder

TEMPERATURE = 0.8


def sample_text(model: Decoder, tokenizer: Tokenizer, prompt: str, count: int, seed: int = 0) -> str:
    """Up to `count` tokens after `prompt`, sampled at `TEMPERATURE`, as text; it ends where the model ends it.

    The same weights give the same text.
    """
    begin = [END_OF_TEXT_ID, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    device, context = next(model.parameters()).device, model.config.context_length
    text: str = tokenizer.decode(sample_tokens(model, begin, count, {END_OF_TEXT_ID}, context, device, seed))
    return text


def sample_tokens(
    logits: Callable[[Tensor], Tensor],
    begin: Sequence[int],
    count: int,
    ends: Collection[int],
    context: int,
    device: torch.device,
    seed: int = 0,
) -> list[int]:
    """Up to `count` tokens after `begin`, sampled at `TEMPERATURE`, before the first one in `ends`. `logits`: tokens
    [1, n] -> [1, n or 1, vocab_size], n <= `context`, of which the last are taken.

    Every token computes the whole context anew, because a few short samples need no cache. The random numbers of
    training are not touched.
    """
    random = torch.Generator().manual_seed(seed)
    tokens = list(begin)
    with torch.no_grad():
        for _ in range(count):
            window = torch.tensor([tokens[-context:]], device=device)
            shares = (logits(window)[0, -1].float().cpu() / TEMPERATURE).softmax(-1)
            token = int(torch.multinomial(shares, 1, generator=random))
            if token in ends:
                break
            tokens.append(token)
    return tokens[len(begin) :]
