"""Models by name: pulled from a fake hub on this machine, found again without it, and every way in which that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sterna.errors import ArgumentError, NotFoundError
from sterna.files.hub.cache import WELL_KNOWN, Reference, parse_reference, resolve_model
from sterna.files.hub.repo_files import choose

from .fake_hub import COMMIT, OTHER_COMMIT, FakeHub, fake_hub
from .helpers import DATA

MODEL = (DATA / "tiny-bitnet-b158-i2_s.gguf").read_bytes()
NAME, FILE = "org/tiny-gguf", "ggml-model-i2_s.gguf"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        hub.repos[NAME] = {FILE: MODEL, "README.md": b"#", "model-f16.gguf": b"never wanted"}
        yield hub


class Shell:
    """`sterna` with a cache of its own and the fake hub."""

    def __init__(self, hub: FakeHub, cache: Path) -> None:
        self.hub, self.cache = hub, cache

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        own = {"STERNA_CACHE": str(self.cache), "HF_HOME": str(self.cache / "home"), "HF_ENDPOINT": self.hub.url}
        return subprocess.run(
            [sys.executable, "-m", "sterna", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=keep | own | environment,
            stdin=subprocess.DEVNULL,
        )

    def json(self, *arguments: str, **environment: str) -> Any:
        result = self(*arguments, "--json", **environment)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def files(self) -> list[str]:
        """Names of the files below snapshots, complete or not."""
        return sorted(path.name for path in self.cache.rglob("snapshots/*/*"))


@pytest.fixture
def sterna(hub: FakeHub, tmp_path: Path) -> Shell:
    return Shell(hub, tmp_path)


def sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command failed with one sentence on stderr (after lines about downloads) that has these words."""
    last = result.stderr.splitlines()[-1]
    assert result.returncode == 1 and last.startswith("Error: ") and last.endswith("."), result.stderr
    assert all(word in last for word in words) and "Traceback" not in result.stderr, result.stderr


def test_a_pulled_model_runs_without_a_network_and_can_be_removed(hub: FakeHub, sterna: Shell) -> None:
    pulled = sterna("pull", NAME)
    assert pulled.returncode == 0, pulled.stderr
    assert Path(pulled.stdout.strip()).read_bytes() == MODEL
    assert pulled.stderr == f"Downloading {NAME}/{FILE}: {len(MODEL) / 1e6:,.1f} MB.\n"
    assert sterna.files() == [FILE]  # only what is needed
    before = len(hub.requests)
    assert sterna.json("info", NAME, HF_HUB_OFFLINE="1")["vocab_size"] == 512
    assert sterna("bench", NAME, "-p", "8", "-n", "4", "-r", "1").returncode == 0
    assert len(hub.requests) == before
    listed = sterna.json("list")["models"]
    assert [(model["name"], model["files"], model["bytes"]) for model in listed] == [(NAME, [FILE], len(MODEL))]
    assert NAME in sterna("list").stdout
    assert sterna("rm", NAME).stdout.startswith("Freed")
    assert sterna.json("list")["models"] == [] and not list(sterna.cache.rglob("*.gguf"))
    sentence(sterna("rm", NAME), NAME)
    sentence(sterna("info", NAME, HF_HUB_OFFLINE="1"), NAME, "HF_HUB_OFFLINE")


def test_a_name_is_downloaded_when_it_is_first_used_and_says_so(hub: FakeHub, sterna: Shell) -> None:
    hub.repos[WELL_KNOWN["bitnet-2b"]] = hub.repos[NAME]
    result = sterna("info", "bitnet-2b", "--json")
    assert result.returncode == 0 and json.loads(result.stdout)["vocab_size"] == 512
    assert "Downloading microsoft/bitnet-b1.58-2B-4T-gguf" in result.stderr
    assert sterna("info", "bitnet-2b").stderr == ""
    assert sterna.json("list")["models"][0]["alias"] == "bitnet-2b"


def test_a_name_can_be_converted(hub: FakeHub, sterna: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    report = sterna.json("convert", f"{NAME}:{FILE}", str(out), "--verify")
    again = sterna.json("convert", NAME, str(tmp_path / "again.gguf"), HF_HUB_OFFLINE="1")
    assert report.keys() == again.keys() and out.read_bytes() == (tmp_path / "again.gguf").read_bytes()
    assert [t["name"] for t in sterna.json("info", str(out))["tensors"]] == [
        t["name"] for t in sterna.json("info", NAME, HF_HUB_OFFLINE="1")["tensors"]
    ]
    sentence(sterna("convert", "org/nothing", str(tmp_path / "none.gguf")), "org/nothing")


def test_a_broken_off_download_goes_on_where_it_ended(hub: FakeHub, sterna: Shell) -> None:
    data = MODEL + bytes(14 << 20)
    hub.repos[NAME] = {FILE: data}
    hub.break_after = 12 << 20
    sentence(sterna("pull", NAME), NAME, "kept")
    assert sterna.files() == [] and sterna.json("list")["models"] == []
    (part,) = sterna.cache.rglob("*.incomplete")
    kept = part.stat().st_size
    assert kept == 10 << 20  # the library hands over chunks of this size
    sentence(sterna("info", NAME, HF_HUB_OFFLINE="1"), "as a whole")
    hub.break_after, hub.broken = None, False
    hub.requests.clear()
    pulled = sterna("pull", NAME)
    assert pulled.returncode == 0 and Path(pulled.stdout.strip()).read_bytes() == data
    assert hub.ranges() == [f"bytes={kept}-"] and "10.5 MB of it are there" in pulled.stderr
    assert not list(sterna.cache.rglob("*.incomplete"))


def test_weights_that_arrive_damaged_are_thrown_away(hub: FakeHub, sterna: Shell) -> None:
    hub.damaged = True
    sentence(sterna("pull", NAME), "damaged")
    assert sterna.files() == [] and not list(sterna.cache.rglob("*.incomplete"))
    hub.damaged = False
    assert sterna("pull", NAME).returncode == 0


def test_an_update_is_used_only_when_it_is_whole(hub: FakeHub, sterna: Shell) -> None:
    assert sterna("pull", NAME).returncode == 0
    newer = MODEL[:-1] + bytes([MODEL[-1] ^ 1])
    hub.branches["main"], hub.repos[NAME] = OTHER_COMMIT, {FILE: newer}
    hub.break_after = 1000
    sentence(sterna("pull", NAME), "kept")
    assert COMMIT in sterna.json("list")["models"][0]["path"]
    hub.break_after, hub.broken = None, False
    assert Path(sterna("pull", NAME).stdout.strip()).read_bytes() == newer
    assert OTHER_COMMIT in sterna.json("list")["models"][0]["path"]


def test_a_revision_has_a_name_of_its_own(hub: FakeHub, sterna: Shell) -> None:
    hub.branches["trained"] = OTHER_COMMIT
    assert OTHER_COMMIT in sterna("pull", NAME, "--revision", "trained").stdout
    assert sterna.json("info", f"{NAME}@trained", HF_HUB_OFFLINE="1")["vocab_size"] == 512
    assert [model["name"] for model in sterna.json("list")["models"]] == [f"{NAME}@trained"]
    assert COMMIT in sterna("pull", f"https://huggingface.co/{NAME}", "--revision", "main").stdout
    sentence(sterna("pull", NAME, "--revision", "nope"), "no revision 'nope'")


def test_a_folder_is_pulled_without_what_nobody_reads(hub: FakeHub, sterna: Shell) -> None:
    pytest.importorskip("torch")
    from .hf_folders import quantization, random_model, save

    save(sterna.cache / "made", random_model("LlamaForCausalLM", "grouped"), quantization(), packed=True)
    files = {path.name: path.read_bytes() for path in (sterna.cache / "made").iterdir()}
    hub.repos["org/folder"] = files | {"pytorch_model.bin": b"pickle", "tokenizer_config.json": b"{}"}
    assert Path(sterna("pull", "org/folder").stdout.strip()).is_dir()
    assert sterna.files() == ["config.json", "model.safetensors", "tokenizer_config.json"]
    assert sterna.json("info", "org/folder", HF_HUB_OFFLINE="1")["architecture"] == "llama"
    assert sterna.json("list")["models"][0]["files"] == ["model.safetensors"]


def test_a_folder_is_pulled_with_the_shards_of_its_index(hub: FakeHub, sterna: Shell) -> None:
    pytest.importorskip("torch")
    from safetensors.torch import load_file, save

    from .hf_folders import quantization, random_model
    from .hf_folders import save as save_folder

    save_folder(sterna.cache / "made", random_model("LlamaForCausalLM", "grouped"), quantization(), packed=True)
    tensors = load_file(sterna.cache / "made" / "model.safetensors")
    names = sorted(tensors)
    parts = {"part-a.safetensors": names[::2], "more/part-b.safetensors": names[1::2]}
    shards = {file: save({name: tensors[name] for name in part}) for file, part in parts.items()}
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    small = {
        "config.json": (sterna.cache / "made" / "config.json").read_bytes(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "special_tokens_map.json": b"{}",
        "additional_chat_templates/rag.jinja": b"x",
    }
    left = {"model-00001-of-00001.safetensors": b"old", "original/consolidated.safetensors": b"never wanted"}
    hub.repos["org/shards"] = small | shards | left
    snapshot = Path(sterna("pull", "org/shards").stdout.strip())
    pulled = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}
    assert pulled == {*small, *shards}
    assert sterna.json("info", "org/shards", HF_HUB_OFFLINE="1")["architecture"] == "llama"
    assert sterna.json("list")["models"][0]["files"] == sorted(shards)
    (snapshot / "part-a.safetensors").unlink()
    sentence(sterna("info", "org/shards", HF_HUB_OFFLINE="1"), "org/shards", "as a whole")


def test_addresses_and_names_in_any_case_are_names(hub: FakeHub, sterna: Shell) -> None:
    assert sterna("pull", f"https://huggingface.co/{NAME}/blob/main/model-f16.gguf?download=true").stdout.strip()
    assert sterna.files() == ["model-f16.gguf"]
    assert sterna("pull", f"hf.co/{NAME}:I2_S").returncode == 0
    for name in (f"{hub.url}/{NAME}", NAME.upper(), f"https://huggingface.co/{NAME}/tree/main", f"hf://{NAME}:i2_S"):
        assert sterna.json("info", name, HF_HUB_OFFLINE="1")["vocab_size"] == 512
    assert sterna("rm", NAME.upper()).stdout.startswith("Freed")


def test_closed_doors(hub: FakeHub, sterna: Shell) -> None:
    sentence(sterna("pull", "org/nothing"), "org/nothing", "HF_TOKEN")
    hub.token = "secret"
    sentence(sterna("pull", NAME), NAME, "HF_TOKEN")
    hub.gated = True
    sentence(sterna("run", NAME, "-p", "x"), "gated", "HF_TOKEN")
    assert sterna("pull", NAME, HF_TOKEN="secret").returncode == 0
    assert sterna("rm", NAME).returncode == 0
    assert sterna("pull", NAME, "--token", "secret").returncode == 0


def test_a_hub_that_is_not_there(hub: FakeHub, sterna: Shell) -> None:
    sentence(sterna("pull", NAME, HF_ENDPOINT="http://127.0.0.1:9"), NAME, "cannot be reached")


def test_several_models_in_one_repository(hub: FakeHub, sterna: Shell) -> None:
    hub.repos["org/many"] = {"one-i2_s.gguf": MODEL, "two-i2_s.gguf": MODEL}
    result = sterna("pull", "org/many")
    assert result.returncode == 2 and "one-i2_s.gguf, two-i2_s.gguf" in result.stderr
    assert sterna("pull", "org/many:two-i2_s.gguf").returncode == 0
    assert sterna.json("info", "org/many", HF_HUB_OFFLINE="1")["vocab_size"] == 512
    sentence(sterna("pull", "org/many:q4_0"), "one-i2_s.gguf")


def test_hostile_listings_cannot_leave_the_cache(hub: FakeHub, sterna: Shell) -> None:
    hub.repos["org/escape"] = {"../../../../escaped-i2_s.gguf": MODEL}
    sentence(sterna("pull", "org/escape"), "no model")
    hub.branches["main"] = "../../../elsewhere"
    sentence(sterna("pull", NAME), "no commit")
    assert {path.name for path in sterna.cache.iterdir()} <= {"home", f"models--{NAME.replace('/', '--')}"}


@pytest.mark.parametrize(
    ("files", "wanted", "entry", "weights"),
    [
        (["a-f16.gguf", "a-i2_s.gguf", "a-TQ2_0.gguf"], None, "a-i2_s.gguf", 1),
        (["a-f16.gguf", "a-TQ2_0.gguf", "a-tq1_0.gguf"], None, "a-TQ2_0.gguf", 1),
        (["B-8B-F16.gguf", "B-8B-PQ2_0.gguf", "B-8B-Q2_0.gguf", "B-8B-Q2_0_g64.gguf"], None, "B-8B-PQ2_0.gguf", 1),
        (["B-8B-F16.gguf", "B-8B-PQ2_0.gguf", "B-8B-Q2_0.gguf", "B-8B-Q2_0_g64.gguf"], "q2_0", "B-8B-Q2_0.gguf", 1),
        (["a-bf16-i2_s.gguf", "a-bf16.gguf"], "bf16", "a-bf16.gguf", 1),
        (["a-bf16-i2_s.gguf", "a-q4_k.gguf"], None, "a-bf16-i2_s.gguf", 1),
        (["a-Q8_0.gguf", "config.json", "model.safetensors"], None, "", 1),
        (["a-i2_s.gguf", "config.json", "model.safetensors"], None, "a-i2_s.gguf", 1),
        (["a-i2_s.gguf", "config.json", "model.safetensors"], "safetensors", "", 1),
        (["x/a-f16-00001-of-00002.gguf", "x/a-f16-00002-of-00002.gguf"], "F16", "x/a-f16-00001-of-00002.gguf", 2),
        (["a-00001-of-00003.gguf", "a-00003-of-00003.gguf"], None, "a-00001-of-00003.gguf", 2),
        (["only.gguf"], None, "only.gguf", 1),
    ],
)
def test_which_files_are_a_model(files: list[str], wanted: str | None, entry: str, weights: int) -> None:
    choice = choose(files, wanted, "it")
    assert choice.entry == entry and len(choice.weights) == weights
    assert choice.complete == ("of-00003" not in entry)


BONSAI = [
    "Ternary-Bonsai-27B-F16.gguf",
    "Ternary-Bonsai-27B-PQ2_0.gguf",
    "Ternary-Bonsai-27B-Q2_0.gguf",
    "Ternary-Bonsai-27B-Q2_g64.gguf",
    "Ternary-Bonsai-27B-dspark-Q4_1.gguf",
    "Ternary-Bonsai-27B-mmproj-Q8_0.gguf",
]


@pytest.mark.parametrize(
    ("wanted", "without", "entry"),
    [
        (None, "", "Ternary-Bonsai-27B-PQ2_0.gguf"),
        (None, "PQ2_0", "Ternary-Bonsai-27B-Q2_g64.gguf"),
        (None, "Q2_g64 PQ2_0", "Ternary-Bonsai-27B-Q2_0.gguf"),
        (None, "Q2_g64 PQ2_0 Q2_0", "Ternary-Bonsai-27B-F16.gguf"),
        ("Q2_0", "", "Ternary-Bonsai-27B-Q2_0.gguf"),
        ("q2_g64", "", "Ternary-Bonsai-27B-Q2_g64.gguf"),
        ("pq2_0", "", "Ternary-Bonsai-27B-PQ2_0.gguf"),
        ("Ternary-Bonsai-27B-dspark-Q4_1.gguf", "", "Ternary-Bonsai-27B-dspark-Q4_1.gguf"),
    ],
)
def test_which_variant_of_bonsai_is_taken(wanted: str | None, without: str, entry: str) -> None:
    """BONSAI.md, complaint 10: names that differ by size, a tag `:Q2_0` that takes PQ2_0, drafters among models."""
    files = [file for file in BONSAI if not any(file.endswith(f"-{kind}.gguf") for kind in without.split())]
    assert choose(files, wanted, "it").entry == entry


def test_sharded_folders_are_whole_when_all_shards_are_there() -> None:
    shards = [f"model-0000{index}-of-00002.safetensors" for index in (1, 2)]
    files = ["config.json", "model.safetensors.index.json", *shards]
    whole = choose(files, None, "it")
    assert whole.complete and list(whole.weights) == shards and whole.small == tuple(files[:2])
    assert not choose(files[:-1], None, "it").complete


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("bitnet-2b", Reference(WELL_KNOWN["bitnet-2b"])),
        ("Ternary-Bonsai-2-27B:ptq1_0", Reference("prism-ml/Ternary-Bonsai-2-27B-gguf", file="ptq1_0")),
        ("bonsai-2-4b", Reference("prism-ml/Ternary-Bonsai-2-4B-gguf")),
        ("bonsai-2@v1", Reference("prism-ml/Ternary-Bonsai-2-9B-gguf", "v1")),
        ("bonsai-27b", Reference("prism-ml/Bonsai-27B-gguf")),
        ("Falcon3-1B:i2_s", Reference(WELL_KNOWN["falcon3-1b"], file="i2_s")),
        ("a/b@v1:c.gguf", Reference("a/b", "v1", "c.gguf")),
        ("a/b@refs/pr/1", Reference("a/b", "refs/pr/1")),
        *((name, None) for name in ["", "a", "a/b/c", "../a", "a/..", "/a/b", "./a", "~/a", "a/b@../c", "a/b.gguf"]),
        ("https://huggingface.co/a/b", Reference("a/b")),
        ("https://huggingface.co/a/b/", Reference("a/b")),
        ("http://hf.co/a/b/tree/dev", Reference("a/b", "dev")),
        ("https://huggingface.co/a/b/tree/main/Q4_K_M", Reference("a/b", file="Q4_K_M")),
        ("https://huggingface.co/a/b/resolve/main/c.gguf?download=true", Reference("a/b", file="c.gguf")),
        ("https://huggingface.co/a/b/blob/v1/x/c%20d.gguf#L1", Reference("a/b", "v1", "x/c d.gguf")),
        ("https://huggingface.co/a/b/blob/refs%2Fpr%2F1/c.gguf", Reference("a/b", "refs/pr/1", "c.gguf")),
        ("huggingface.co/a/b", Reference("a/b")),
        ("hf.co/a/b:Q4_K_M", Reference("a/b", file="Q4_K_M")),
        ("HF://a/b@v1", Reference("a/b", "v1")),
        *((f"https://huggingface.co/{path}", None) for path in ["", "a", "datasets/a/b", "a/b/commits/main", "a/../b"]),
        *(
            (name, None)
            for name in ["https://example.com/a/b", "https://huggingface.co.example.com/a/b", "ftp://hf.co/a/b"]
        ),
        *((name, None) for name in ["a/b@", "a/b:", "a--b/c", "a/b:../c", "a b/c", "a/b\n", "C:\\a", "-a/b"]),
    ],
)
def test_names_of_repositories(name: str, reference: Reference | None) -> None:
    assert parse_reference(name) == reference


def test_what_is_no_name_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert resolve_model(tmp_path) == tmp_path
    for name in ("nowhere.gguf", "x" * 5000, "nul\0"):
        with pytest.raises(NotFoundError, match=r"give a path.*bitnet-2b.*\.$"):
            resolve_model(name)
    with pytest.raises(ArgumentError, match="several"):
        choose(["a.gguf", "b.gguf"], None, "it")
