"""Which device a model gets, and what it says where there is none; nothing here needs a GPU or an interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sterna import LLM
from sterna.engine import devices
from sterna.errors import OptionError, UnsupportedError


def test_the_cpu_is_the_default_and_imports_no_torch() -> None:
    program = "import sys; from sterna import LLM; print(LLM(ctx=8).device, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "cpu False\n"


def test_what_a_gpu_needs_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"torch and triton; pip install 'sterna\[gpu\]'\.$"):
        LLM(device="cuda")
    assert devices.choose_device("auto") == "cpu"


def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, gpu = pytest.importorskip("torch"), pytest.importorskip("sterna.gpu.device")
    if gpu.interpreted():
        pytest.skip("the interpreter takes any device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="There is no GPU to use: torch .*; use the device cpu.$"):
        LLM(device="cuda")
    assert LLM(device="auto", ctx=8).device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UnsupportedError, match="is built without CUDA"):  # as for AMD
        LLM(device="cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UnsupportedError, match="no GPU cuda:5: there are 2 GPUs, cuda:0 to cuda:1"):
        LLM(device="cuda:5")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (7, 5))
    with pytest.raises(UnsupportedError, match="compute capability 7.5"):
        LLM(device="cuda:1")


class Driver:
    """Builds a module in C when it is asked for anything, as Triton's drivers do."""

    def get_current_device(self) -> int:
        from triton.runtime.build import compile_module_from_src

        compile_module_from_src("#include <Python.h>\nPyMODINIT_FUNC PyInit_probe(void) { return 0; }", "probe")
        return 0


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        (None, "Failed to find C compiler"),
        ("/no/such/cc", "No such file or directory"),
        ("false", "its C compiler failed"),
    ],
)
def test_without_a_c_compiler_what_to_install_is_one_sentence(
    compiler: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch, triton = pytest.importorskip("torch"), pytest.importorskip("triton")
    from sterna.gpu.device import interpreted

    if interpreted():
        pytest.skip("the interpreter needs no compiler")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    if compiler is None:
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setenv("CC", compiler)
    build = triton.runtime.build
    monkeypatch.setattr(build, "_find_compiler", build._find_compiler.__wrapped__)  # which remembers none
    monkeypatch.setattr(triton.runtime.driver, "_active", Driver())
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (9, 0))
    with pytest.raises(UnsupportedError, match=rf"{reason}.*; it needs a C compiler .*python3-dev\.$"):
        LLM(device="cuda")
    assert LLM(device="auto", ctx=8).device == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "cuda:-1", 0, None, "cuda:1234"])
def test_other_names_of_devices_are_refused(device: object) -> None:
    with pytest.raises(OptionError, match="auto, cpu, cuda or cuda:N"):
        LLM(device=device)
