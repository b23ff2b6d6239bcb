"""`[lora]`: which matrices get an adapter, of which rank and scale, compared with what `peft` makes of the same."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from sterna.checkpoint.adapters import Adapter, read_adapter  # noqa: E402
from sterna.checkpoint.adapters.peft import write_peft  # noqa: E402
from sterna.errors import ArgumentError  # noqa: E402
from sterna.finetune.lora.memory import base_bytes, peak_memory  # noqa: E402
from sterna.finetune.lora.section import LoraSection, new_updates  # noqa: E402

from ..helpers import TINY, tiny_checkpoint  # noqa: E402


def sites(**keys: Any) -> dict[str, tuple[int, float]]:
    return {site.name: (site.rank, site.scale) for site in LoraSection(**keys).sites(TINY)}


def test_all_is_every_matrix_of_the_layers() -> None:
    found = sites(r=8, alpha=16.0)
    assert len(found) == 14 and set(found.values()) == {(8, 2.0)}
    assert "output.weight" not in found
    assert "output.weight" in sites(targets=["all", "lm_head"])


def test_targets_have_the_names_of_files_and_of_folders() -> None:
    assert sites(targets=["attn_q", "down_proj"]) == sites(targets=["self_attn.q_proj", "ffn_down"])
    assert list(sites(targets=["blk.1.attn_q"])) == ["blk.1.attn_q.weight"]
    assert all(name.startswith("blk.1.") for name in sites(layers=[1]))
    with pytest.raises(ArgumentError, match="'proj'"):
        sites(targets=["proj"])


def test_patterns_and_rslora_scale_as_peft_does() -> None:
    found = sites(
        r=4, alpha=8.0, rslora=True, rank_pattern={"down_proj": 9}, alpha_pattern={r"layers\.0\..*v_proj": 2.0}
    )
    assert found["blk.1.ffn_down.weight"] == (9, 8 / 3)
    assert found["blk.0.attn_v.weight"] == (4, 1.0) and found["blk.1.attn_v.weight"] == (4, 8 / sqrt(4))
    with pytest.raises(ArgumentError, match="rank_pattern"):
        sites(rank_pattern={"(": 3})


def test_peft_makes_the_same_adapter(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    options: dict[str, Any] = {"r": 4, "rank_pattern": {"v_proj": 6}, "alpha_pattern": {"q_proj": 5}}
    wanted = peft.LoraConfig(
        lora_alpha=8,
        use_rslora=True,
        target_modules=["q_proj", "v_proj", "down_proj"],
        layers_to_transform=[1],
        **options,
    )
    peft.get_peft_model(transformers.LlamaForCausalLM(config), wanted).save_pretrained(tmp_path)
    theirs = read_adapter(tmp_path, TINY).updates
    own = sites(alpha=8.0, rslora=True, targets=["q_proj", "v_proj", "down_proj"], layers=[1], **options)
    assert {name: (low.rank, low.scale) for name, low in theirs.items()} == own


def test_a_new_adapter_is_drawn_from_the_seed_and_has_no_effect() -> None:
    chosen = LoraSection(targets=["attn_q"]).sites(TINY)
    first, second, other = (new_updates(chosen, seed)["blk.0.attn_q.weight"] for seed in (1, 1, 2))
    assert (first.a == second.a).all() and (first.a != other.a).any() and not first.b.any()
    assert abs(first.a).max() <= 1 / 8


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    section = LoraSection(r=3, alpha=7.0, rslora=True, rank_pattern={"o_proj": 5})
    adapter = Adapter(new_updates(section.sites(TINY), 0))
    write_peft(tmp_path, adapter, TINY)
    for name, low in read_adapter(tmp_path, TINY).updates.items():
        assert low.scale == pytest.approx(adapter.updates[name].scale, rel=1e-12)
        assert (low.a == adapter.updates[name].a).all()


def test_memory_grows_with_what_takes_it() -> None:
    base = tiny_checkpoint(TINY)
    size = base_bytes(base.tensors)
    assert size == sum(tensor.data.nbytes for tensor in base.tensors.values())
    parts = peak_memory(TINY, 1000, 512, size)
    assert parts["packed base"] == size and parts["adapter, gradients and moments"] == 16_000
    assert parts["inputs of layers"] == 4 * 512 * 64 * 3
    assert sum(peak_memory(TINY, 1000, 1024, size).values()) > sum(parts.values())
