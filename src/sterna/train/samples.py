"""Text that a model in training writes."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer

from sterna.train.data import END_OF_TEXT_ID
from sterna.train.model import Decoder

TEMPERATURE = 0.8


def sample_text(model: Decoder, tokenizer: Tokenizer, prompt: str, count: int, seed: int = 0) -> str:
    """Up to `count` tokens after `prompt`, sampled at `TEMPERATURE`, as text; it ends where the model ends it.

    Every token computes the whole context anew, because a few short samples need no cache. The same weights give the
    same text, and the random numbers of training are not touched.
    """
    device = next(model.parameters()).device
    random = torch.Generator().manual_seed(seed)
    begin = [END_OF_TEXT_ID, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    tokens = list(begin)
    with torch.no_grad():
        for _ in range(count):
            window = torch.tensor([tokens[-model.config.context_length :]], device=device)
            shares = (model(window)[0, -1].float().cpu() / TEMPERATURE).softmax(-1)
            token = int(torch.multinomial(shares, 1, generator=random))
            if token == END_OF_TEXT_ID:
                break
            tokens.append(token)
    text: str = tokenizer.decode(tokens[len(begin) :])
    return text
