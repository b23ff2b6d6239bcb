"""Claims about ternary models that are often repeated, each beside what follows from shapes and rooflines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sterna.bench.energy.arithmetic import NODES, matmul_ratio, pass_of, wide_ratio
from sterna.bench.sizing.cost import per_million, speed_for
from sterna.bench.sizing.machines import MachineFacts, machine
from sterna.bench.sizing.memory import kv_bytes
from sterna.bench.sizing.shapes import sized
from sterna.bench.sizing.speed import step_seconds
from sterna.bench.sizing.weights import ENTROPY, Weights, bits, planned
from sterna.model.config import ModelConfig
from sterna.tensor.encodings import Encoding

GB = 1e9


@dataclass(frozen=True)
class Claim:
    """What is said, the formula, what it gives, and the verdict: `right`, `wrong`, `plausible`, or in which sense."""

    said: str
    formula: str
    gives: str
    verdict: str


def claims() -> Iterator[Claim]:
    """All claims, each computed when it is asked for."""
    yield from _sizes()
    yield from _memory_of_gpus()
    yield from _speeds()
    yield from _energy()
    yield from _costs()
    yield from _quality()


def _model(name: str, body: str, head: str = "f16") -> tuple[ModelConfig, Weights]:
    config = sized(name).config
    return config, planned(config, Encoding[body.upper()], Encoding[head.upper()])


def _gb(name: str, body: str, head: str = "f16") -> float:
    return _model(name, body, head)[1].bytes / GB


def _layers_gb(name: str, bits_each: float) -> float:
    return _model(name, "i2_s")[1].layer_parameters * bits_each / 8 / GB


def _sizes() -> Iterator[Claim]:
    full, seventy = _gb("100B", "f16"), _gb("70B", "f16")
    yield Claim(
        "100B in float16 takes 140 GB (or 200 GB)",
        "parameters · 2 bytes",
        f"{full:.1f} GB; 70B: {seventy:.1f} GB",
        "200 is right, 140 belongs to 70B",
    )
    tq1, i2s = _gb("100B", "tq1_0", "q6_k"), _gb("100B", "i2_s", "q6_k")
    yield Claim(
        "100B ternary takes 19.75 GB",
        "weights · log2(3) / 8",
        f"{_layers_gb('100B', ENTROPY):.1f} GB by entropy; files {tq1:.1f} (TQ1_0) to {i2s:.1f} GB (I2_S), and the KV",
        "the entropy bound, not a file",
    )
    layers = _layers_gb("100B", 1) * GB
    yield Claim(
        "100B ternary takes 12 to 15 GB",
        "12 GB · 8 / weights",
        f"{12 * GB / layers:.2f} to {15 * GB / layers:.2f} bits a weight; "
        f"70B takes {_layers_gb('70B', ENTROPY):.1f} to {_layers_gb('70B', 2):.1f} GB",
        "wrong for 100B (below log2(3) bits), right for 70B",
    )
    three, two = _model("3B", "i2_s", "q6_k"), _model("2B4T", "i2_s")
    kv = kv_bytes(three[0], 1024) / GB
    yield Claim(
        "3B takes 0.4 to 0.5 GB (or 0.8 GB)",
        "I2_S layers + head + KV",
        f"{three[1].layers / GB:.2f} + {three[1].head / GB:.2f} to {_model('3B', 'i2_s')[1].head / GB:.2f} GB, and "
        f"{kv:.2f} GB of KV for 1,024 positions; the layers of 2B-4T: {two[1].layers / GB:.2f} GB",
        "0.4 to 0.5 is 2B-4T without its head; 0.8 is 3B without its head and KV",
    )
    yield Claim(
        "compression of about 11 times against float16",
        "16 / bits a weight",
        f"at most {16 / ENTROPY:.1f}; TQ1_0 {16 / bits(Encoding.TQ1_0):.1f}, I2_S {16 / bits(Encoding.I2_S):.1f}",
        "wrong: 11 is the ratio of batches below",
    )
    config, weights = _model("1.3B", "tq1_0")
    mib = [_layers_gb("1.3B", bits(Encoding.TQ1_0)) * GB / 2**20, weights.head / 2**20, kv_bytes(config, 512) / 2**20]
    yield Claim(
        "1B in TQ1_0 takes about 614 MiB",
        "layers + F16 embedding + KV of 512 + buffers",
        " + ".join(f"{size:.0f}" for size in mib)
        + f" MiB + buffers; with rows of 5,460, which fill no blocks of TQ1_0, "
        f"in F16 the layers are {weights.layers / 2**20:.0f}",
        "plausible with other rows; the context is not stated",
    )


def _memory_of_gpus() -> Iterator[Claim]:
    def memory(name: str, body_bits: float) -> float:
        """Layers at so many bits, an embedding and a head in float16."""
        weights = _model(name, "i2_s")[1]
        return (weights.layer_parameters * body_bits / 8 + 2 * weights.head_parameters * 2) / GB

    rest = [7.89 - memory("3B", 16), 2.22 - memory("3B", 2)]
    ratio = (memory("3B", 16) + 1) / (memory("3B", 2) + 1)
    yield Claim(
        "3B takes 2.22 GB of a GPU against 7.89 GB, 3.55 times less",
        "layers · bits / 8 + two F16 embeddings + c",
        f"c = {rest[0]:.2f} and {rest[1]:.2f} GB; with c = 1 GB the ratio is {ratio:.2f}",
        "right: it follows with one constant c",
    )
    ratio = (memory("70B", 16) + 1.2) / (memory("70B", 2) + 1.2)
    yield Claim("70B takes 7.16 times less memory", "the same, c = 1.2 GB", f"{ratio:.2f}", "right")
    yield Claim(
        "70B: 11 times the batch, 8.9 times the throughput",
        "176 / 16 · steps a second (16.9 / 20.8)",
        f"{176 / 16:.0f} times the batch, {176 / 16 * 16.9 / 20.8:.2f} times the throughput",
        f"the arithmetic is right; two GPUs of 80 GB hold {_streams('i2_s', 'f16')} sequences of 512 (f16) or "
        f"{_streams('i2_s', 'int8')} (int8), and {_streams('f16', 'f16')} of the model in float16, so 176 "
        "and 16 depend on a runtime that is not named",
    )


def _streams(body: str, kv: str) -> int:
    """Sequences of 512 positions of 70B that 160 GB hold."""
    config, weights = _model("70B", body)
    return int((160 * GB - weights.bytes) / kv_bytes(config, 512, kv))


def _ceiling(name: str, body: str, head: str, facts: MachineFacts) -> float:
    """Tokens a second that the bandwidth allows."""
    config, weights = _model(name, body, head)
    return 1 / step_seconds(weights, config, 0, 1, "f16", MachineFacts(facts.name, facts.memory_gbs), ideal=True)[0]


def _speeds() -> Iterator[Claim]:
    desktop, ultra, pi = machine("i9-13900K"), machine("M2 Ultra"), machine("Raspberry Pi 5")
    at = {body: _ceiling("100B", body, "q6_k", desktop) for body in ("i2_s", "tq1_0")}
    read = _gb("100B", "i2_s", "q6_k") * 6.6
    yield Claim(
        "100B runs at 5 to 7 tokens/s on one consumer CPU",
        "bandwidth / bytes a token",
        f"an i9 cannot pass {at['i2_s']:.1f} (I2_S) or {at['tq1_0']:.1f} (TQ1_0); 6.6/s read {read:.0f} GB/s, "
        f"{read / ultra.memory_gbs:.0%} of an M2 Ultra",
        "wrong for a desktop; measured on an M2 Ultra, with random weights",
    )
    three = _gb("3B", "i2_s", "q6_k")
    macs = _model("3B", "i2_s")[1].layer_parameters / 1e9
    yield Claim(
        "3B: 45 to 55 tokens/s on one thread of an M2 Pro, with TL2",
        "tokens/s · bytes and · weights",
        f"{45 * three:.0f} to {55 * three:.0f} GB/s and {45 * macs:.0f} to {55 * macs:.0f} G multiply-adds/s",
        "implausible: all cores of an M2 Ultra reach 71; and TL2 is for x86, TL1 for ARM",
    )
    ceilings = _ceiling("3B", "i2_s", "f16", desktop), _ceiling("3B", "i2_s", "f16", pi)
    yield Claim(
        "3B: 28 to 38 tokens/s on an i9, 5 to 8 on a Raspberry Pi 5",
        "share of the ceiling",
        f"ceilings {ceilings[0]:.0f} and {ceilings[1]:.0f}: {28 / ceilings[0]:.0%} to {38 / ceilings[0]:.0%} and "
        f"{5 / ceilings[1]:.0%} to {8 / ceilings[1]:.0%}",
        "plausible for bitnet.cpp",
    )


def _energy() -> Iterator[Claim]:
    seven, forty_five = NODES["7nm"], NODES["45nm"]
    yield Claim(
        "71.4 times less energy for matrix products at 7 nm (50 at 45 nm)",
        "(pJ of FP16 mul + add) / pJ of INT8 add",
        f"{matmul_ratio(seven):.1f} and {matmul_ratio(forty_five):.1f}; with 32-bit sums {wide_ratio(seven):.1f}",
        "right by its count of operations, which has no memory in it",
    )
    yield Claim(
        "41.2 times less energy end to end at 70B",
        "layers / 71.4 + attention over 512 in FP16",
        f"{pass_of(sized('70B').config).ratio(seven):.1f}",
        "right within 1 %, without head and causal half",
    )
    config, weights = _model("2B4T", "i2_s", "q6_k")
    joules = pass_of(config).joules(seven, ternary=True)
    yield Claim(
        "2B-4T takes 0.028 J",
        "the same model, for a pass of 512 tokens",
        f"{joules:.4f} J a pass, {joules / 512 * 1e6:.0f} µJ a token; 45 W for 50 ms are {45 * 0.05:.2f} J",
        "an estimate of arithmetic for 512 tokens; a laptop takes some 40,000 times that a token",
    )
    full = _gb("2B4T", "f16")
    yield Claim(
        "energy falls by 71 % (or 71 times)",
        "bytes of F16 / bytes of I2_S",
        f"{full * GB / weights.bytes:.1f} times fewer bytes",
        "two figures mixed: bitnet.cpp measured 55 to 82 % less, and 71.4 times is the count above",
    )


def _costs() -> Iterator[Claim]:
    facts, price = machine("c7g.16xlarge"), 2.31
    assert facts.int8_gmacs is not None
    rate = facts.int8_gmacs * 1e9 / 2
    prices = {
        name: per_million(price, rate / _model(name, "i2_s")[1].layer_parameters)
        for name in ("2B4T", "3B", "7B", "70B", "100B")
    }
    yield Claim(
        "$0.20 to 0.40 a million tokens on a CPU, against $2 to 4",
        "price / (3600 · tokens/s), half of the int8 rate",
        ", ".join(f"{name} ${value:.2f}" for name, value in prices.items())
        + f" at ${price}/h; $0.30 needs {speed_for(price, 0.3):,.0f} tokens/s",
        "right for 2B and 3B in full batches, 20 to 40 times too low for 100B",
    )


def _quality() -> Iterator[Claim]:
    yield Claim(
        "perplexity 5.09 in float16, 6.7 in 4 bits, 6.5 to 7.5 in 2 bits, 9.18 in 1 bit",
        "6.7 / 5.09",
        f"4 bits would cost {6.7 / 5.09 - 1:.0%}, as much as 2 bits ({6.5 / 5.09 - 1:.0%})",
        "it contradicts itself; 5.09 and 9.19 are LLaMA-13B and OneBit",
    )
    yield Claim(
        "ternary beats float16 at 7B, 9.17 against 9.34",
        "the paper's table",
        "3B: 9.91 against 10.04",
        "not in the paper",
    )
    yield Claim(
        "there is a 100B model that matches LLaMA-3 70B",
        "bitnet.cpp's script",
        "random numbers in that shape, to measure speed",
        "wrong: no such model exists",
    )
    yield Claim(
        "30 to 50 % of the weights are zero",
        "entropy at 50 % zeros",
        "1.50 bits a weight",
        "typical; sterna info counts them",
    )
