"""A job on a Ray cluster of two nodes on this machine. A worker is killed, and the bytes are the same."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sterna.batch import BatchReport, Worker, run
from sterna.batch import ray as ray_module
from sterna.engine.options import EngineOptions
from sterna.errors import UnsupportedError
from sterna.files.embedded import EMBEDDED_MODEL
from tests.batch.jobs import mixed_lines, write_lines

MARK = "STERNA_TEST_CLUSTER"


def test_a_cluster_needs_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'sterna\[ray\]'"):
        run(write_lines(tmp_path / "in", [{"prompt": "a"}]), tmp_path / "out", ray="local")


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(os.getpid()))
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        try:
            nodes.add_node(num_cpus=2)
            yield nodes
        finally:
            nodes.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster that several tests share."""
    with two_nodes() as nodes:
        yield nodes.address


def workers() -> list[int]:
    """The processes of the cluster that hold a model."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            ours = f"{MARK}={os.getpid()}".encode() in (process / "environ").read_bytes()
            if process.name.isdigit() and ours and b"MapWorker" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["worker", "node"])
def test_what_a_cluster_loses_changes_no_bytes(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_module, "LINES", 64)
    if loss == "node":  # by default Ray waits for most of a minute before a silent node counts as lost
        monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    source, options = write_lines(tmp_path / "in.jsonl", mixed_lines(1_000)), EngineOptions(threads=1)
    unbroken = run(source, tmp_path / "one.jsonl", options=options)
    began, killed = threading.Event(), []

    with two_nodes() as nodes:

        def kill() -> None:
            began.wait()
            if loss == "worker":
                killed.append(workers()[0])
            else:
                (node,) = nodes.worker_nodes
                killed.extend(process.process.pid for each in node.all_processes.values() for process in each)
            for process in killed:
                os.kill(process, signal.SIGKILL)

        def progress(report: BatchReport) -> None:
            if report.completion_tokens:
                began.set()

        killer = threading.Thread(target=kill)
        killer.start()
        report = run(source, tmp_path / "many.jsonl", ray=nodes.address, options=options, progress=progress)
        killer.join()
    assert killed and report.done == unbroken.done == 1_000 and report.failed == unbroken.failed
    for name in (".jsonl", ".jsonl.errors.jsonl"):
        assert (tmp_path / f"many{name}").read_bytes() == (tmp_path / f"one{name}").read_bytes()


@pytest.mark.slow
def test_people_map_their_own_tables(cluster: str) -> None:
    import ray

    ray.init(address=cluster, log_to_driver=False)
    try:
        rows = [{"prompt": f"The ship {n}", "max_tokens": 3, "label": n} for n in range(20)]
        table = ray.data.from_items(rows).map_batches(
            Worker, fn_constructor_kwargs={"threads": 1}, batch_size=8, compute=ray.data.ActorPoolStrategy(size=1)
        )
        found = {row["label"]: row["generated_text"] for row in table.take_all()}
    finally:
        ray.shutdown()
    here = Worker(threads=1)({name: [row[name] for row in rows] for name in rows[0]})
    assert found == dict(zip(here["label"], here["generated_text"], strict=True))


def test_a_cluster_without_processors_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(
        ray, "nodes", lambda: [{"Alive": True, "Resources": {}}, {"Alive": False, "Resources": {"CPU": 2}}]
    )
    source = write_lines(tmp_path / "in", [{"prompt": "a"}])
    with pytest.raises(UnsupportedError, match="The cluster at auto has no node with processors"):
        run(source, tmp_path / "out", ray="auto")


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    source = write_lines(tmp_path / "in", [{"prompt": "a"}])
    with pytest.raises(UnsupportedError, match="The cluster at 127.0.0.1:1 failed: .*refused"):
        run(source, tmp_path / "out", ray="127.0.0.1:1")


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def init(**options: Any) -> None:
        raise RuntimeError("RPC error: Deadline Exceeded")

    monkeypatch.setattr(ray, "init", init)
    source = write_lines(tmp_path / "in", [{"prompt": "a"}])
    with pytest.raises(UnsupportedError, match="The cluster at auto failed: RPC error: Deadline Exceeded"):
        run(source, tmp_path / "out", ray="auto")


@pytest.mark.slow
def test_a_model_that_the_nodes_lack_is_one_sentence(cluster: str, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(EMBEDDED_MODEL.read_bytes()[:1000])  # what a node finds there
    source = write_lines(tmp_path / "in", [{"prompt": "a"}])
    with pytest.raises(UnsupportedError, match="A node has no model: .*model.gguf is no valid GGUF file"):
        run(source, tmp_path / "out", model, ray=cluster)
