"""A plan in torch with adapters: against the numpy oracle, and gradients against differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sterna.checkpoint.adapters import Adapter, LowRank, in_model, out_of_model  # noqa: E402
from sterna.engine.machine import choose_isa  # noqa: E402
from sterna.errors import UnsupportedError  # noqa: E402
from sterna.finetune.lora import AdaptedDecoder  # noqa: E402
from sterna.model.config import ModelConfig  # noqa: E402

from ..adapters.random_adapters import adapted_oracle, random_adapter  # noqa: E402
from ..helpers import GEMMA3, QWEN3, QWEN35, TINY, relative_error, tiny_checkpoint  # noqa: E402

LLAMA = replace(TINY, architecture="llama", activation="silu", rope_style="interleaved", tied_head=False)
WINDOWED = replace(LLAMA, sliding_window=7, sliding_layers=(0, 1))
CONFIGS = {
    "bitnet": TINY,
    "llama": LLAMA,
    "qwen2": replace(TINY, architecture="qwen2", activation="silu"),
    "qwen3": QWEN3,
    "gemma3": GEMMA3,
    "windows": WINDOWED,
}
TOKENS = np.random.default_rng(1).integers(0, TINY.vocab_size, 24).tolist()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def decoder(config: ModelConfig, adapter: Adapter, activations: str = "none", **options: float) -> AdaptedDecoder:
    base = tiny_checkpoint(config)
    updates = in_model(adapter, config, base.tensors).updates
    return AdaptedDecoder(base, updates, isa=choose_isa(), threads=1, activations=activations, **options)


def ids(*lists: list[int]) -> torch.Tensor:
    return torch.tensor(lists)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_those_of_the_oracle(name: str) -> None:
    config, adapter = CONFIGS[name], random_adapter(CONFIGS[name])
    expected = adapted_oracle(tiny_checkpoint(config), [(adapter, 1.0)], activations="none", kv_dtype=np.float32)
    model = decoder(config, adapter)
    with torch.no_grad():
        got = model(ids(TOKENS))[0].numpy()
    assert relative_error(expected.logits(TOKENS), got) < 2e-5
    back = out_of_model(Adapter(model.updates()), config)
    for matrix, low in adapter.updates.items():
        assert np.array_equal(back.updates[matrix].b, low.b) and np.array_equal(back.updates[matrix].a, low.a)


@pytest.mark.parametrize("name", ["bitnet", "llama", "windows"])
def test_documents_in_a_row_do_not_see_each_other(name: str) -> None:
    model = decoder(CONFIGS[name], random_adapter(CONFIGS[name]), "int8")
    with torch.no_grad():
        together = model.rows(ids(TOKENS), [10, 14])
        apart = [model.rows(ids(TOKENS[:10])), model.rows(ids(TOKENS[10:]))]
        batch = model.rows(ids(TOKENS[:12], TOKENS[12:]))
    assert torch.allclose(together, torch.cat(apart, dim=1), atol=1e-5)
    assert torch.allclose(batch[1], model.rows(ids(TOKENS[12:])).detach()[0], atol=1e-5)


@pytest.mark.parametrize("name", ["bitnet", "llama", "gemma3"])
def test_gradients_are_those_of_differences(name: str) -> None:
    model = decoder(CONFIGS[name], random_adapter(CONFIGS[name]))
    targets = torch.from_numpy(np.random.default_rng(2).standard_normal((1, 24, 96)).astype(np.float32))

    def loss() -> torch.Tensor:
        return (model(ids(TOKENS)) * targets).sum()

    loss().backward()
    rng = torch.Generator().manual_seed(3)
    for parameter in (model.blk[0]["attn_q"].b, model.blk[1]["ffn_down"].a, model.output.a):
        direction = torch.randn(parameter.shape, generator=rng)
        direction /= direction.norm()
        with torch.no_grad():
            step = 1e-2 * parameter.norm() / 2
            parameter += step * direction
            above = loss()
            parameter -= 2 * step * direction
            below = loss()
            parameter += step * direction
        assert parameter.grad is not None
        got = (parameter.grad * direction).sum().item()
        scale = parameter.grad.norm().item() / direction.numel() ** 0.5
        assert got == pytest.approx(((above - below) / (2 * step)).item(), abs=0.05 * scale + 0.02 * abs(got))


def test_layers_that_are_computed_again_have_the_same_gradients() -> None:
    gradients = []
    for kept in (True, False):
        model = decoder(TINY, random_adapter(TINY), "int8", dropout=0.3)
        model.checkpoints_layers = kept
        torch.manual_seed(4)
        model(ids(TOKENS)).logsumexp(-1).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_dropout_is_of_training_alone() -> None:
    model = decoder(TINY, random_adapter(TINY), "int8", dropout=0.5)
    with torch.no_grad():
        first, second = model(ids(TOKENS)), model(ids(TOKENS))
        model.eval()
        third, fourth = model(ids(TOKENS)), model(ids(TOKENS))
    assert not torch.equal(first, second) and torch.equal(third, fourth)


def test_an_adapter_with_b_zero_changes_no_bit() -> None:
    adapter = random_adapter(TINY)
    zero = Adapter({name: LowRank(low.a, 0 * low.b, low.scale) for name, low in adapter.updates.items()})
    with torch.no_grad():
        assert torch.equal(decoder(TINY, zero, "int8")(ids(TOKENS)), decoder(TINY, Adapter({}), "int8")(ids(TOKENS)))


def test_operations_without_gradients_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="deltarule.* pass no gradients"):
        decoder(QWEN35, Adapter({}))
