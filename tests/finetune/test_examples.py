"""The sample configs in examples/, each run on a tiny base."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from sterna import LLM  # noqa: E402
from sterna.finetune.config import SECTIONS, load_config  # noqa: E402
from sterna.finetune.run import run_finetuning  # noqa: E402

from .bases import write_base  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIGS = sorted(EXAMPLES.glob("finetune-*.toml"))
TINY = ["training.steps=2", "training.context=128", "training.batch_size=2", "training.eval_steps=2"]
OWN = {"distill": ["distill.layer=-1", "distill.split_heads=8"]}


def test_every_mode_has_an_example() -> None:
    assert {load_config(path).mode for path in CONFIGS} == set(SECTIONS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_examples_run(path: Path, tmp_path: Path) -> None:
    mode = load_config(path).mode
    ternary = mode in ("full", "lora")
    base = write_base(tmp_path / "base", "BitNetForCausalLM" if ternary else "LlamaForCausalLM")
    text = path.read_text().replace('path = "data/', f'path = "{EXAMPLES}/data/')
    copied = tmp_path / "run.toml"
    copied.write_text("".join(line for line in text.splitlines(True) if not line.startswith("tokens_per_step")))
    overrides = [*TINY, f"base={base}", f"output={tmp_path / 'out'}", "training.accumulation=1", *OWN.get(mode, [])]
    result = run_finetuning(copied, lambda line: None, overrides)
    assert result.steps == 2 and result.gguf is not None
    llm = LLM(base, adapters={"own": result.gguf}) if mode == "lora" else LLM(result.gguf)
    assert llm.generate(["Hi"], max_tokens=2)
