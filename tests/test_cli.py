"""The command line as a person or a script meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sterna.files.gguf import write_gguf

from .chat.terminal import Terminal
from .command import sterna
from .helpers import DATA, gguf_metadata, tiny_tensors


def test_run_writes_text() -> None:
    result = sterna("run", "-p", "It was a dark and stormy night", "-n", "20", "--seed", "1")
    assert result.returncode == 0 and len(result.stdout.split()) > 5 and result.stderr == ""


@pytest.mark.parametrize("more", ["", "--json"])
def test_control_characters_of_a_text_are_pictures_on_a_terminal_alone(tmp_path: Path, more: str) -> None:
    (tmp_path / "form").write_text(r'root ::= "a\x1b[2J\x9b2Jb\x07"')
    command = f"sterna run -p x --grammar {tmp_path}/form {more}"
    with Terminal(line=f"{command} && {command} > {tmp_path}/text", home=tmp_path) as terminal:
        assert terminal.wait() == 0
    assert terminal.raw.startswith(b"{" if more else "a␛[2J\ufffd2Jb␇\r\n".encode())
    assert not {0x1B, 0x07} & {*terminal.raw} and "\x9b" not in terminal.raw.decode()
    text = (tmp_path / "text").read_text()
    assert (json.loads(text)["text"] if more else text) == "a\x1b[2J\x9b2Jb\x07" + ("" if more else "\n")


def test_an_error_names_a_file_without_obeying_it(tmp_path: Path) -> None:
    with Terminal("info", f"{tmp_path}/\x1b[2Jno", home=tmp_path) as terminal:
        assert terminal.wait() == 1
    assert "Error: " in terminal.text and b"\x1b" not in terminal.raw


def test_run_json_has_the_documented_fields() -> None:
    result = sterna("run", "-p", "Once", "-n", "12", "--json", "--temp", "0", "--ignore-eos")
    fields = json.loads(result.stdout)
    assert fields["completion_tokens"] == len(fields["token_ids"]) == 12
    assert fields["stop_reason"] == "length" and fields["text"] and fields["prompt_tokens"] >= 1
    assert fields["prefill_tps"] > 0 and fields["decode_tps"] > 0


def test_a_requantised_head_is_reported_on_stderr() -> None:
    result = sterna("run", "-p", "Once", "-n", "4", "--temp", "0", "--head", "q8_0", "--json")
    assert json.loads(result.stdout)["completion_tokens"] == 4
    assert (
        result.stderr.startswith("Head as q8_0: logits are off by 0.") and "Head" not in sterna("run", "-p", "a").stderr
    )


def test_prompts_from_stdin_and_file_and_option_agree(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("The ship")
    options = ("-n", "10", "--temp", "0")
    texts = {
        sterna("run", "-p", "The ship", *options).stdout,
        sterna("run", "-f", str(tmp_path / "prompt.txt"), *options).stdout,
        sterna("run", *options, stdin="The ship").stdout,
        sterna("run", *options, stdin="\ufeffThe ship").stdout,
    }
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbfThe ship")
    texts.add(sterna("run", "-f", str(tmp_path / "prompt.txt"), *options).stdout)
    assert len(texts) == 1


def test_the_same_seed_gives_the_same_text_with_every_isa() -> None:
    command = ("run", "-p", "The ship", "-n", "16", "--seed", "7")
    texts = {sterna(*command).stdout, sterna(*command).stdout, sterna(*command, STERNA_ISA="scalar").stdout}
    assert len(texts) == 1


def test_lookup_gives_the_same_text_and_tells_what_it_drafted() -> None:
    command = ("run", "-p", "Once", "-n", "120", "--temp", "0", "--ignore-eos", "--json", "--stats")
    plain, drafted = sterna(*command), sterna(*command, "--lookup", "7")
    fields = [json.loads(result.stdout) for result in (plain, drafted)]
    assert fields[0]["token_ids"] == fields[1]["token_ids"] and fields[0]["draft_tokens"] == 0
    assert 0 < fields[1]["accepted_tokens"] <= fields[1]["draft_tokens"]
    assert "drafted" in drafted.stderr and "drafted" not in plain.stderr


def test_info_and_eval_json() -> None:
    fields = json.loads(sterna("info", str(DATA / "tiny-bitnet-b158-i2_s.gguf"), "--json").stdout)
    assert fields["architecture"] == "bitnet-b1.58" and fields["vocab_size"] == 512
    assert fields["ternary_parameters"] == 3 * 786432 and 0.2 < fields["zero_fraction"] < 0.6
    assert fields["parameters"] > fields["ternary_parameters"] and 2 < fields["bits_per_weight"] < 4
    embedding = next(t for t in fields["tensors"] if t["name"] == "token_embd.weight")
    assert embedding["shape"] == [512, 256] and embedding["bytes"] == 2 * 512 * 256


def test_info_tells_what_a_model_is_made_of(tmp_path: Path) -> None:
    template = "[red]\x1b[2J{% for message in messages %}{{ message.content }}{% endfor %}"
    tokens = ["<s>", "</s>", *map(chr, range(33, 127))]
    vocabulary = {
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3] + [1] * 94,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.chat_template": template,
    }
    model = tmp_path / "model.gguf"
    write_gguf(model, gguf_metadata() | vocabulary, tiny_tensors().values())
    fields = json.loads(sterna("info", str(model), "--json").stdout)
    assert fields["tokenizer"] == {
        "type": "byte-level BPE",
        "pre": "llama-bpe",
        "vocab_size": 96,
        "special_tokens": 2,
        "bos": "<s>",
        "add_bos": True,
        "eos": ["</s>"],
    }
    assert fields["chat_template"] == template
    parts = {part["name"]: part for part in fields["parts"]}
    assert parts["attn_q.weight"] == {
        "name": "attn_q.weight",
        "type": "i2_s",
        "ternary": True,
        "tensors": 2,
        "parameters": 2 * 64 * 64,
        "bytes": 2 * 64 * 64 // 4,
    }
    assert not parts["token_embd.weight"]["ternary"]
    assert sum(part["bytes"] for part in parts.values()) == fields["bytes"]
    text = sterna("info", str(model)).stdout
    assert "llama-bpe" in text and "[red]" in text and "\x1b" not in text

    write_gguf(model, gguf_metadata(), tiny_tensors().values())
    fields = json.loads(sterna("info", str(model), "--json").stdout)
    assert fields["tokenizer"] is None and "no vocabulary" in fields["tokenizer_problem"]
    assert sterna("info", str(model)).returncode == 0


def test_eval_scores_a_text(tmp_path: Path) -> None:
    text = "The captain went on deck, and looked at the sea. " * 20
    (tmp_path / "text.txt").write_text(text)
    fields = json.loads(sterna("eval", "--text", str(tmp_path / "text.txt"), "--json").stdout)
    assert fields["bytes"] == len(text)
    assert fields["bits_per_byte"] == pytest.approx(
        fields["nll_per_token"] * fields["tokens"] / 0.6931472 / fields["bytes"]
    )
    assert 0 < fields["bits_per_byte"] < 3 and fields["perplexity"] > 1
    piped = json.loads(sterna("eval", "--text", "-", "--json", stdin="\ufeff" + text).stdout)
    assert {key: piped[key] for key in piped if key != "seconds"} == {
        key: fields[key] for key in fields if key != "seconds"
    }


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run", "/nowhere.gguf", "-p", "x"], 1, "/nowhere.gguf"),
        (["run", "{text}", "-p", "x"], 1, "GGUF"),
        (["run", "-f", "/nowhere.txt"], 1, "/nowhere.txt"),
        (["run", "-p", "x", "-f", "{text}"], 2, "-p"),
        (["run", "-p", "x", "--temp", "-1"], 2, "emperature"),
        (["run", "-p", "x", "--frobnicate"], 2, "frobnicate"),
        (["run", "-p", "x", "-t", "0"], 2, "threads"),
        (["run", "-p", "x", "--lookup", "-1"], 2, "lookup"),
        (["run", "-p", "word " * 3000], 1, "context"),
        (["eval", "--text", "{binary}"], 1, "UTF-8"),
        (["eval", "--text", "{empty}"], 1, "short"),
        (["bench", "--synthetic", "9T"], 2, "2B4T"),
        (["bench", "--synthetic", "llama-1b:q9_z"], 2, "q4_0"),
        (["bench", "-p", "9999"], 2, "context"),
        (["info", "--i2s-layout", "neon"], 2, "x86-rows"),
        (["frobnicate"], 2, "frobnicate"),
        (["run", "-p", "x", "--head", "q5_k"], 2, "full, q8_0, q6_k, q4_0"),
        (["train", "/nowhere.toml"], None, "/nowhere.toml"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_errors_are_one_sentence(tmp_path: Path, arguments: list[str], status: int | None, words: str) -> None:
    (tmp_path / "text").write_text("no model")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").write_text("")
    result = sterna(*(a.format(**{n: tmp_path / n for n in ("text", "binary", "empty")}) for a in arguments))
    assert result.returncode == status or (status is None and result.returncode in (1, 2))
    assert words in result.stderr and "Traceback" not in result.stderr and result.stdout == ""


def test_stdin_that_is_no_text_and_stdout_that_lacks_characters() -> None:
    result = subprocess.run([sys.executable, "-m", "sterna", "run"], input=b"\xff\xfe", capture_output=True)
    assert result.returncode == 1 and b"stdin is not UTF-8" in result.stderr and b"Traceback" not in result.stderr
    closed = subprocess.run(f"{sys.executable} -m sterna run <&-", shell=True, capture_output=True)
    assert closed.returncode == 2 and b"Traceback" not in closed.stderr
    plain = sterna("run", "-p", "“Quoted”", "-n", "8", "--json", "--seed", "1", PYTHONIOENCODING="ascii")
    assert plain.returncode == 0 and plain.stdout.isascii() and json.loads(plain.stdout)["completion_tokens"] == 8


def test_a_prompt_without_end_is_not_read_for_ever() -> None:
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run([sys.executable, "-m", "sterna", "run"], stdin=endless, capture_output=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith(b"Error: stdin is longer than any context")
    assert sterna("run", "-f", "/dev/zero").stderr.startswith("Error: /dev/zero is longer than any context")


def test_bench_json_has_the_documented_fields() -> None:
    fields = json.loads(sterna("bench", "-p", "16", "-n", "8", "-r", "1", "--head", "q4_0", "--json").stdout)
    assert fields["head"] == "q4_0" and 0 < fields["head_error"] < 0.2 and 0 <= fields["head_top1"] <= 1
    assert fields["prefill_tps"]["16"] > 0 and fields["decode_tps"] > 0
    assert fields["threads"] >= 1 and fields["isa"] in ("scalar", "avx2", "avxvnni", "avx512vnni", "amx", "neon")
    assert fields["bound_by"]["decode"] in ("bytes", "instructions", "barriers", "python")
    assert fields["step"]["prefill"]["gbs"]["matrices"] > 0 and fields["machine"]["cores"] >= 1
    for key in ("memory_gbs", "memory_gbs_one_thread", "int8_gmacs", "prefill_roofline", "load_s", "peak_rss_mb"):
        assert fields[key] > 0
    assert fields["decode_roofline"] == pytest.approx(
        fields["decode_tps"] * fields["bytes_per_token"] / fields["memory_gbs"] / 1e9
    )


@pytest.mark.parametrize("name", ["STERNA_ISA", "STERNA_TABLES", "STERNA_THREADS"])
def test_a_wrong_environment_is_one_sentence(name: str) -> None:
    result = sterna("run", "-p", "x", **{name: "vax"})
    assert result.returncode == 2 and name in result.stderr and "Traceback" not in result.stderr


def test_ctrl_c_stops_cleanly() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sterna", "run", "-p", "Once", "-n", "100000", "--ignore-eos", "--ctx", "512"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "STERNA_ISA": "scalar", "STERNA_THREADS": "1"},
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and b"Traceback" not in stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    result = subprocess.run(
        f"{sys.executable} -m sterna run -p Once -n 60 --ignore-eos | head -c 1",
        shell=True,
        capture_output=True,
        timeout=60,
    )
    assert result.stderr == b""


def test_import_is_quick_and_light() -> None:
    code = "import sys, sterna; print('torch' in sys.modules, 'transformers' in sys.modules)"
    times = []
    for _ in range(3):
        started = time.perf_counter()
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        times.append(time.perf_counter() - started)
        assert output == "False False\n"
    bare = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    assert min(times) - (time.perf_counter() - bare) < 0.3


def test_running_a_model_needs_no_torch() -> None:
    hide = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None"
    code = f"{hide}; from sterna import LLM; print(LLM().generate('Once', max_tokens=4))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
