"""Triton kernels of training: in Triton's interpreter they give torch's numbers; they compile without spills."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def test_kernels_give_torchs_numbers_in_the_interpreter() -> None:
    """Triton decides when it is imported whether it interprets, so the tests below run in another process."""
    if INTERPRETED:
        pytest.skip("This is that process.")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__, "-k", "interpreted"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and re.search(r"[1-9]\d* passed", done.stdout), done.stdout + done.stderr


interpreted = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1; another test sees to it")


@interpreted
@pytest.mark.parametrize(("tokens", "columns"), [(3, 128), (5, 200), (2, 1024)])
def test_interpreted_norm_absmax(tokens: int, columns: int) -> None:
    from sterna.train.kernels.quantize import norm_absmax
    from sterna.train.quantizers import absmax

    torch.manual_seed(tokens)
    x, weight = torch.randn(tokens, columns) * 3, torch.rand(columns) + 0.5
    x[0] = 0
    codes, scales, roots = norm_absmax(x, weight, 1e-5)
    normed = x * roots[:, None] * weight
    torch.testing.assert_close(normed, torch.nn.functional.rms_norm(x, (columns,), weight, 1e-5))
    expected, scale = absmax(normed)
    assert torch.equal(codes.float(), expected) and torch.equal(scales, scale[:, 0])


@interpreted
@pytest.mark.parametrize("shape", [(48, 128), (96, 200), (128, 64)])
def test_interpreted_absmean(shape: tuple[int, int]) -> None:
    from sterna.train.kernels.quantize import absmean

    torch.manual_seed(0)
    weight = torch.randn(shape) / 8
    codes, scale = absmean(weight)
    torch.testing.assert_close(scale, weight.abs().mean())
    weight[0, :2] = torch.tensor([0.5, 1.5]) * scale  # halves are rounded to even: to 0 and, clipped, to 1
    again, scale = absmean(weight)
    assert torch.equal(again.float(), (weight / scale).round().clamp(-1, 1))


@interpreted
@pytest.mark.parametrize(("tokens", "inputs", "outputs"), [(1, 128, 64), (70, 200, 96), (33, 64, 130)])
def test_interpreted_products(tokens: int, inputs: int, outputs: int) -> None:
    from sterna.train.kernels.products import input_gradient, multiply_codes, weight_gradient

    torch.manual_seed(outputs)
    x = torch.randint(-128, 128, (tokens, inputs), dtype=torch.int8)
    weight = torch.randint(-1, 2, (outputs, inputs), dtype=torch.int8)
    # bfloat16 can hold these numbers, also divided by the scales: the interpreter does not round to it, but truncates.
    scales, beta = 2.0 ** torch.randint(0, 4, (tokens,)), torch.tensor(0.37)
    upstream = torch.randn(tokens, outputs).bfloat16().float()
    expected = (x.int() @ weight.int().T).float() * (beta / scales)[:, None]
    assert torch.equal(multiply_codes(x, scales, weight, beta), expected)
    assert torch.equal(multiply_codes(x, torch.ones(tokens), weight, torch.tensor(1.0)).int(), x.int() @ weight.int().T)
    torch.testing.assert_close(input_gradient(upstream, weight, beta), upstream @ weight.float() * beta)
    divided = upstream / scales[:, None]
    torch.testing.assert_close(weight_gradient(upstream, x, scales), divided.T @ x.float(), rtol=1e-4, atol=1e-3)


@interpreted
def test_interpreted_layers_have_bitlinears_values_and_gradients() -> None:
    from sterna.train.bitlinear import BitLinear
    from sterna.train.kernels.linear import norm_linears
    from sterna.train.model import RMSNorm

    torch.manual_seed(5)
    layers, norm = [BitLinear(128, size, 0.1) for size in (64, 96)], RMSNorm(128, 1e-5)
    norm.weight.data.uniform_(0.5, 1.5)
    parameters = [norm.weight, *(layer.weight for layer in layers)]
    x = torch.randn(2, 5, 128, requires_grad=True)
    upstream = [torch.randn(2, 5, size) for size in (64, 96)]
    expected = [layer(norm(x)) for layer in layers]
    gradients = torch.autograd.grad(expected, [x, *parameters], upstream)
    own = norm_linears(x, norm.weight, norm.eps, [layer.weight for layer in layers])
    own_gradients = torch.autograd.grad(own, [x, *parameters], upstream)
    for found, wanted in zip(own, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
    for found, wanted in zip(own_gradients, gradients, strict=True):  # bfloat16 operands: 8 bits
        torch.testing.assert_close(found, wanted, rtol=0, atol=4e-3 * wanted.abs().max().item())


@interpreted
def test_interpreted_training_has_the_losses_of_torch(tmp_path: Path) -> None:
    from sterna.train.trainer import run_training
    from sterna.train.watch.records import read_records

    from .test_train_run import CONFIG, write_corpus

    write_corpus(tmp_path)
    (tmp_path / "short.txt").write_text("abc deaf.")
    losses = []
    for name, triton_key in (("torch", "false"), ("triton", "true")):
        config = tmp_path / f"{name}.toml"
        text = CONFIG.format(output=name, steps=2, optimizer="adamw").replace("batch_size = 4", "batch_size = 1")
        config.write_text(text + f"triton = {triton_key}\n")
        keys = ["training.log_steps=1", "watch.sample_tokens=0", "model.num_layers=1", 'data.valid=["short.txt"]']
        run_training(config, lambda line: None, keys)
        records = read_records(tmp_path / name / "log.jsonl")
        losses.append([record["loss"] for record in records if record["kind"] == "step"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.skipif(INTERPRETED, reason="interpreted kernels cannot be compiled")
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_without_spills(capability: int, tmp_path: Path) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from sterna.train.kernels import products, quantize

    rows = {"rows": "i32", "columns": "i32", "depth": "i32"}
    pointers = {"x": "*i8", "weight": "*i8", "scales": "*fp32", "beta": "*fp32", "y": "*fp32"}
    gradient = {"a": "*fp32", "a_row": "i64", "a_k": "i64", "b": "*i8", "divisors": "*fp32", "factor": "*fp32"}
    tiles = {"TILE": products.TILE, "DEPTH": products.DEPTH}
    native = tiles | {"INTERPRETED": False}
    norm = {"x": "*fp32", "weight": "*fp32", "codes": "*i8", "scales": "*fp32", "roots": "*fp32"}
    block = {"BLOCK": quantize.BLOCK}
    for kernel, signature, constants, warps, instruction in (
        (quantize.norm_absmax_kernel, norm | {"columns": "i32", "eps": "fp32"}, {"WIDTH": 8192}, 16, None),
        (quantize.magnitude_kernel, {"values": "*fp32", "sums": "*fp32", "size": "i32"}, block, 4, None),
        (
            quantize.ternary_kernel,
            {"values": "*fp32", "scale": "*fp32", "codes": "*i8", "size": "i32"},
            block,
            4,
            None,
        ),
        (products.codes_kernel, pointers | rows, tiles, 4, "s32.s8.s8"),
        (products.gradient_kernel, gradient | {"out": "*fp32"} | rows, native | {"DIVIDES": True}, 4, "bf16"),
        (products.gradient_kernel, gradient | {"out": "*fp32"} | rows, native | {"DIVIDES": False}, 4, "bf16"),
    ):
        types = signature | dict.fromkeys(constants, "constexpr")
        source = ASTSource(kernel, types, constants)
        target = GPUTarget("cuda", capability, 32)
        compiled = triton.compile(source, target=target, options={"num_warps": warps, "enable_fp_fusion": False})
        if instruction is not None:
            products_of_tensor_cores = re.findall(r"mma[\w.:]*", compiled.asm["ptx"])
            assert any(instruction in each for each in products_of_tensor_cores), products_of_tensor_cores
        cubin = tmp_path / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        usage = subprocess.run([tool, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True)
        assert "STACK:0" in usage.stdout and "LOCAL:0" in usage.stdout, usage.stdout
