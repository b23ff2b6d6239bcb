"""States of several processes: read by any other number of them, checked, and removed when they are no longer kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.checkpoint.state_files import PARTS, STEP, shard_folder, shard_path  # noqa: E402
from sterna.errors import FormatError, NotFoundError  # noqa: E402
from sterna.train.checkpoints import Checkpoints  # noqa: E402
from sterna.train.config import RunConfig, load_config  # noqa: E402
from sterna.train.model import Decoder  # noqa: E402
from sterna.train.optimizer import Optimizers, make_optimizers  # noqa: E402
from sterna.train.shards import opened, write_file  # noqa: E402
from sterna.train.state import load_state, save_state  # noqa: E402

from .test_train_run import CONFIG, one_thread  # noqa: E402, F401


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    path = tmp_path_factory.mktemp("shards") / "run.toml"
    path.write_text(CONFIG.format(output="out", steps=4, optimizer="muon").replace("layers = 2", "layers = 1"))
    return load_config(path)


def trained(config: RunConfig, steps: int) -> tuple[Decoder, Optimizers]:
    torch.manual_seed(steps)
    model = Decoder(config.model.model_config())
    optimizers = make_optimizers(model, config.training)
    for _ in range(steps):
        model(torch.randint(384, (1, 8))).square().mean().backward()
        optimizers.step(1.0, 0.0)
    return model, optimizers


def origin(config: RunConfig) -> dict[str, Any]:
    return {"model": asdict(config.model.model_config())}


def save(config: RunConfig, path: Path, step: int, processes: int) -> None:
    """Saves a state of one process, and cuts it as `processes` of them would have saved it."""
    save_state(path, *trained(config, step), step, origin(config))
    with safe_open(str(path), "pt") as file:
        metadata = {key: text for key, text in file.metadata().items() if key not in ("sha256", "format")}
    parts: list[dict[str, Any]] = [{} for _ in range(processes)]
    for name, tensor in load_file(path).items():
        chunks = list(tensor.chunk(processes)) if tensor.dim() else [tensor]
        chunks += [tensor[:0] for _ in range(processes - len(chunks))] if tensor.dim() else []
        for part, chunk in zip(parts, chunks, strict=False):
            part[name] = chunk.contiguous()
    shard_folder(path, step).mkdir()
    digests = [
        write_file(shard_path(path, step, process, processes), parts[process], {STEP: str(step)})
        for process in range(1, processes)
    ]
    write_file(path, parts[0], metadata | ({PARTS: json.dumps(digests)} if digests else {}))


@pytest.mark.parametrize("processes", [1, 2, 3, 48])
def test_a_state_of_any_number_of_processes_is_read_to_the_bit(
    tmp_path: Path, config: RunConfig, processes: int
) -> None:
    path = tmp_path / "state.safetensors"
    save(config, path, 2, processes)
    model, optimizers = trained(config, 1)
    assert load_state(path, model, optimizers, origin(config)).step == 2
    save_state(tmp_path / "again.safetensors", model, optimizers, 2, origin(config))
    save_state(tmp_path / "whole.safetensors", *trained(config, 2), 2, origin(config))
    again, before = (load_file(tmp_path / f"{name}.safetensors") for name in ("again", "whole"))
    assert again.keys() == before.keys() and all(torch.equal(again[name], before[name]) for name in before)
    own, whole = (open_checkpoint(file).load().tensors for file in (path, tmp_path / "whole.safetensors"))
    assert own.keys() == whole.keys()
    assert all(np.array_equal(own[name].data, whole[name].data) for name in whole)


@pytest.mark.parametrize("processes", [1, 3, 5])
def test_a_process_reads_any_rows_of_a_state(tmp_path: Path, config: RunConfig, processes: int) -> None:
    path, name = tmp_path / "state.safetensors", "model.blk.0.ffn_norm.weight"
    save(config, path, 1, processes)
    whole = trained(config, 1)[0].get_parameter("blk.0.ffn_norm.weight")
    with opened(path) as state:
        assert state.shape(name) == whole.shape and torch.equal(state.whole(name), whole)
        for first in range(0, len(whole) + 1, 17):
            for last in range(first, len(whole) + 1, 19):
                assert torch.equal(state.rows(name, first, last), whole[first:last])


def test_where_a_shard_is_damaged_or_missing_the_state_before_it_is_taken(tmp_path: Path, config: RunConfig) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(config, checkpoints.previous, 1, 3)
    save(config, checkpoints.last, 2, 2)
    found = checkpoints.find(origin(config))
    assert found is not None and found.saved.step == 2 and found.damage is None
    shard = shard_path(checkpoints.last, 2, 1, 2)
    data = bytearray(shard.read_bytes())
    data[-100] ^= 1
    shard.write_bytes(data)
    found = checkpoints.find(origin(config))
    assert found is not None and found.saved.step == 1
    assert found.damage is not None and f"{shard} is damaged: its SHA-256" in found.damage
    shard.unlink()
    found = checkpoints.find(origin(config))
    assert found is not None and found.saved.step == 1 and str(shard) in str(found.damage)
    with pytest.raises(NotFoundError, match="2-of-2"):
        open_checkpoint(checkpoints.last)


def test_a_whole_shard_of_another_state_is_noticed(tmp_path: Path, config: RunConfig) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(config, checkpoints.last, 2, 2)
    write_file(shard_path(checkpoints.last, 2, 1, 2), {"model.x": torch.zeros(3)}, {STEP: "2"})
    with pytest.raises(FormatError, match="2-of-2.safetensors is damaged"):
        checkpoints.find(origin(config))


@pytest.mark.parametrize("parts", ["{", "7", "[1]", '["../../etc"]', '{"a": 1}', "[" * 5000])
def test_a_state_that_names_its_shards_wrongly_is_refused(tmp_path: Path, config: RunConfig, parts: str) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, *trained(config, 0), 0, origin(config))
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata | {PARTS: parts})
    for read in (lambda: load_state(path, trained(config, 0)[0], None, {}), lambda: open_checkpoint(path)):
        with pytest.raises(FormatError, match="does not name the files of its shards as it should"):
            read()


def test_shards_that_do_not_fit_together_are_refused(tmp_path: Path, config: RunConfig) -> None:
    path, name = tmp_path / "state.safetensors", "model.blk.0.attn_q.weight"
    save(config, path, 1, 2)
    shard = shard_path(path, 1, 1, 2)
    for tensor in (torch.zeros(64, 7), torch.zeros(3, 128), torch.tensor(1.0), torch.zeros(64, 128).half()):
        save_file(load_file(shard) | {name: tensor}, shard)
        with pytest.raises(FormatError):
            open_checkpoint(path)
        if tensor.dtype == torch.float32:
            with pytest.raises(FormatError, match="no training state of this model"):
                load_state(path, trained(config, 0)[0], None, {})


def test_shards_of_states_that_are_not_kept_are_removed(tmp_path: Path, config: RunConfig) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(config, checkpoints.previous, 1, 2)
    save(config, checkpoints.last, 2, 2)
    shard_folder(checkpoints.last, 3).mkdir()  # Of a run that was killed while it saved.
    (tmp_path / "state.step-own").mkdir()
    checkpoints.save(*trained(config, 4), 4, origin(config))
    assert sorted(path.name for path in tmp_path.glob("state.step*")) == ["state.step-2", "state.step-own"]
    assert checkpoints.previous.exists()
    checkpoints.save(*trained(config, 4), 5, origin(config))
    assert sorted(path.name for path in tmp_path.glob("state.step*")) == ["state.step-own"]
