"""Training beside packed weights against `transformers` and `peft` (the project's golden data)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.checkpoint.adapters import in_model, read_adapter  # noqa: E402
from sterna.checkpoint.adapters.peft import PREFIX, A, B  # noqa: E402
from sterna.engine.machine import choose_isa  # noqa: E402
from sterna.finetune.lora import AdaptedDecoder  # noqa: E402
from sterna.model.architectures import architecture_of  # noqa: E402

from ..helpers import shared  # noqa: E402


def golden(*parts: str) -> Path:
    return shared("golden-finetune", *parts)


def model(*adapters: str, base: str = "base-packed") -> AdaptedDecoder:
    """The golden base with one of its adapters, or none."""
    checkpoint = open_checkpoint(golden(base)).load()
    updates = {}
    for name in adapters:
        updates = in_model(read_adapter(golden(name), checkpoint.config), checkpoint.config, checkpoint.tensors).updates
    return AdaptedDecoder(checkpoint, updates, isa=choose_isa(), threads=2)


@pytest.fixture(scope="module")
def logits() -> dict[str, torch.Tensor]:
    return load_file(golden("logits.safetensors"))


@pytest.mark.parametrize("base", ["base-packed", "base-latent"])
def test_logits_of_the_base(logits: dict[str, torch.Tensor], base: str) -> None:
    with torch.no_grad():
        got = model(base=base)(logits["ids"][None])[0]
    assert (got - logits["base"]).abs().max() < 1e-4


@pytest.mark.parametrize(("adapter", "rows"), [("adapter-all-r8", 24), ("adapter-attn-r4", 5)])
def test_effect_of_an_adapter(logits: dict[str, torch.Tensor], adapter: str, rows: int) -> None:
    # In the second, an int8 code of row 5 is rounded the other way, as in the engine; the rows behind it see that.
    with torch.no_grad():
        got = model(adapter)(logits["ids"][None])[0]
    assert (got - logits[adapter]).abs()[:rows].max() < 1e-4
    effect, expected = got - logits["base"], logits[adapter] - logits["base"]
    assert (effect - expected)[:rows].norm() < 2e-4 * expected[:rows].norm()


def test_gradients_and_three_steps() -> None:
    stored = load_file(golden("lora-training.safetensors"))
    decoder = model("adapter-all-r8")
    parameters = dict(decoder.named_parameters())
    modules = {name: names[0] for name, names in architecture_of(decoder.config).hf_names(2).items()}

    def of(name: str, kind: str) -> torch.Tensor:
        matrix, half = name.rsplit(".", 1)
        module = modules[f"{matrix}.weight"].removesuffix(".weight")
        return stored[f"{kind}.{PREFIX}{module}{A if half == 'a' else B}"]

    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for step, expected in enumerate(stored["losses"].tolist()):
        loss = F.cross_entropy(decoder(stored["ids"][None])[0, :-1], stored["labels"][1:], ignore_index=-100)
        assert loss.item() == pytest.approx(expected, abs=1e-4)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in parameters.items() if step == 0 else ():
            gradient = of(name, "grad")
            assert parameter.grad is not None
            assert (parameter.grad - gradient).abs().max() <= 1e-4 * gradient.abs().max(), name
        optimizer.step()
    assert len(parameters) == 28
    distances = np.concatenate(
        [(parameter - of(name, "after3")).abs().flatten().detach().numpy() for name, parameter in parameters.items()]
    )
    assert (distances < 1e-4).mean() >= 0.999 and distances.max() <= 2e-2
