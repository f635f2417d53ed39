"""Compiles the CUDA kernels to PTX, NVIDIA's assembly, and inspects it; needs the compiler but no GPU.

Every kernel is compiled for compute capability 9.0 in both dtypes and with bfloat16, and each template for the others.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from bpcore.kernels.cpu import TEMPLATES
from support import kernel_cases
from support.repository import PYTHONPATH

cuda = pytest.importorskip("bpcore.kernels.cuda", reason="numba-cuda is not installed")
numba_cuda = pytest.importorskip("numba.cuda")

if numba.config.DISABLE_JIT or cuda.compiler_problem():  # type: ignore[attr-defined]
    pytest.skip(f"there is no CUDA compiler: {cuda.compiler_problem()}", allow_module_level=True)

HOPPER = (9, 0)
INTEGER_SUMS = {"confusion"}  # integer sums do not depend on their order
OTHERS = [(7, 0), (7, 5), (8, 0), (10, 0)]  # 7.0 with CUDA 12 alone


def every_kernel() -> list[kernel_cases.Case]:
    """Each kernel in both dtypes, and once more with 32 threads per row if threads share a row."""
    kernels: dict[Any, kernel_cases.Case] = {}
    for case in (*kernel_cases.every_case(np.float32, 5, 7), *kernel_cases.every_case(np.float64, 5, 7)):
        kernels.setdefault((case.spec, signature(case.arguments)), case)
    for case in kernel_cases.bfloat16_cases(5, 7):  # the template reads and writes, whatever fills its holes
        kernels.setdefault((case.spec.template, signature(case.arguments)), case)
    wide = kernel_cases.every_case(np.float32, 5, 150)
    return [
        *kernels.values(),
        *(
            case
            for case in wide
            if case.name.startswith(("softmax", "log_softmax", "argmax")) or "labels weighted" in case.name
        ),
    ]


def one_of_each_template() -> list[kernel_cases.Case]:
    """In float32 and with bfloat16; softmax cross-entropy stands for the losses, because it computes most."""
    cases = kernel_cases.every_case(np.float32, 5, 7)
    wanted = (case for case in cases if case.spec.template != "loss_head" or "softmax" in case.name)
    rounded = {f"{case.spec.template} bfloat16": case for case in kernel_cases.bfloat16_cases(5, 7)}
    return list(({case.spec.template: case for case in wanted} | rounded).values())


def signature(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(numba.typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives Numba a current device, whose capability it asks for when a kernel calls a device function."""

    class Hopper:
        compute_capability = HOPPER

    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", Hopper)


def ptx_of(case: kernel_cases.Case, capability: tuple[int, int]) -> str:
    kernel = cuda.compiled(case.spec, cuda.PLANS[case.spec.template].launch(case.arguments).lanes)
    bounds = kernel.targetoptions["launch_bounds"]
    text, _ = numba_cuda.compile_ptx(
        kernel.py_func, signature(case.arguments), cc=capability, fastmath=False, launch_bounds=bounds
    )
    return str(text)


def test_every_cpu_template_has_a_cuda_twin() -> None:
    # For a batch that is divided between threads, and for rows that are copied to a GPU.
    cpu_alone = {"add_slots", "gather_rows"}
    assert cuda.PLANS.keys() == TEMPLATES.keys() - cpu_alone
    assert {case.spec.template for case in every_kernel()} == cuda.PLANS.keys()


@pytest.mark.parametrize("case", every_kernel(), ids=lambda case: case.name)
def test_kernel_compiles_for_hopper(case: kernel_cases.Case, tmp_path: Path) -> None:
    text = ptx_of(case, HOPPER)
    assert ".target sm_90" in text
    check(text, case)
    assemble(text, tmp_path)


@pytest.mark.parametrize("capability", OTHERS, ids=lambda capability: "{}.{}".format(*capability))
def test_templates_compile_for_the_other_gpus(capability: tuple[int, int]) -> None:
    if capability not in numba_cuda.cudadrv.nvrtc.get_supported_ccs():
        pytest.skip(f"this version of CUDA does not compile for {capability[0]}.{capability[1]}")
    cases = list(one_of_each_template())
    assert {case.spec.template for case in cases} == cuda.PLANS.keys()
    for case in cases:
        text = ptx_of(case, capability)
        assert ".target sm_{}{}".format(*capability) in text
        check(text, case)


@pytest.mark.parametrize("template", ["activate", "delta", "gather", "dropout", "max_pieces", "duplicate"])
def test_float32_kernels_do_not_pay_for_bfloat16(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A float32 kernel has the same instructions as without `number` and `fitted`."""
    case = next(case for case in kernel_cases.every_case(np.float32, 5, 7) if case.spec.template == template)
    found = instructions(ptx_of(case, HOPPER))
    for family in (cuda.batch, cuda.layer):
        monkeypatch.setattr(family, "number", lambda element: element, raising=False)
        monkeypatch.setattr(family, "fitted", lambda value, out: value)
    monkeypatch.setattr(cuda, "compiled", cuda.compiled.__wrapped__)  # past what is kept
    assert instructions(ptx_of(case, HOPPER)) == found


def instructions(text: str) -> list[str]:
    """The kernel's instructions without symbol names, which contain a hash or a number."""
    return [
        re.sub(r"_ZN\w+|_cudapy_smem_\d+", "symbol", line)
        for line in text.splitlines()
        if line.startswith(("\t", "$", "@"))
    ]


def check(text: str, case: kernel_cases.Case) -> None:
    """No float64 in a float32 kernel, not even a register, and no operation whose order may change between runs."""
    if case.spec.dtype == np.float32:
        assert ".f64" not in text
    if "bfloat16" in case.name and case.spec.template != "gather":  # whose data set may be integers
        assert not re.search(r"cvt\.rn\.f32\.[us]16", text), "bits of a bfloat16 were taken for an integer"
        assert ".u16" in text or case.name.startswith("delta identity"), (
            "whose derivative does not look at its argument"
        )
    atomics = re.findall(r"^\s*(?:@%p\d+ )?((?:atom|red)\.\S+)", text, re.MULTILINE)
    if case.spec.template in INTEGER_SUMS:
        atomics = [atomic for atomic in atomics if not re.search(r"\.add\.[us](32|64)$", atomic)]
    assert not atomics
    threads = cuda.PLANS[case.spec.template].threads
    assert f".maxntid {threads}" in text


def assemble(text: str, folder: Path) -> None:
    """Check that ptxas accepts the kernel and keeps all its variables in registers."""
    program = ptxas()
    if program is None:
        return
    source = folder / "kernel.ptx"
    source.write_text(text)
    command = [program, "-v", "-arch=sm_90", "-o", str(folder / "kernel.cubin"), str(source)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    registers = re.search(r"Used (\d+) registers", result.stderr)
    assert registers, result.stderr
    threads = re.search(r"\.maxntid (\d+)", text)
    assert threads
    assert int(registers[1]) * int(threads[1]) <= 65536
    assert re.search(r"\b0 bytes spill stores, 0 bytes spill loads", result.stderr), result.stderr


def ptxas() -> str | None:
    """The assembler from the compiler's wheels, else the one on the path."""
    nvidia = importlib.util.find_spec("nvidia")
    for folder in (nvidia and nvidia.submodule_search_locations) or ():
        for program in Path(folder).glob("*/bin/ptxas"):
            return str(program)
    return shutil.which("ptxas")


@pytest.mark.parametrize("path", [None, "/nowhere/libdevice.10.bc"])
def test_without_libdevice_the_compiler_is_reported_missing(path: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba looks for libdevice only at its first compilation."""
    assert cuda.compiler_problem() == ""
    monkeypatch.setattr(numba_cuda.cudadrv.libs, "get_libdevice", lambda: path)
    assert cuda.compiler_problem().startswith("libdevice, NVIDIA's library of functions, cannot be found")


WITHOUT_ROW_STACK = """
    import numpy

    if hasattr(numpy, "row_stack"):
        del numpy.row_stack
        numpy.__all__ = [name for name in numpy.__all__ if name != "row_stack"]

    import numba
    from bpcore.kernels import cuda, spec

    kernel = cuda.compiled(spec.plain("advance", numpy.dtype("float32")))
    numba.cuda.compile_ptx(kernel.py_func, (numba.int64[::1],), cc=(9, 0))
    assert not hasattr(numpy, "row_stack")
"""


def test_kernels_compile_where_numpy_has_no_row_stack() -> None:
    """NumPy 2.5 removed row_stack, which numba-cuda 0.30 uses."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(WITHOUT_ROW_STACK)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# --- the disk cache -------------------------------------------------------------------------------------------

PROGRAM = """
    import sys
    import numba, numpy as np
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv import devices

    class Device:
        compute_capability = (9, 0)

    class Context:
        device = Device

    # Everything but the last step, which loads the kernel on the GPU.
    dispatcher.get_current_device = Device
    devices.get_context = Context
    dispatcher._Kernel.bind = lambda kernel: None

    from support import kernel_cases
    from bpcore.kernels import cuda

    for case in kernel_cases.every_case(np.float32, 3, 6):
        if case.name.startswith(("activate gelu", "loss_head hinge labels float32")):
            kernel = cuda.compiled(case.spec, cuda.PLANS[case.spec.template].launch(case.arguments).lanes)
            kernel.compile(tuple(numba.typeof(argument) for argument in case.arguments))
            print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def test_compiled_kernels_are_kept_on_disk(tmp_path: Path) -> None:
    """The first process compiles, the second loads; only the device's name is a stand-in."""
    environment = {**os.environ, "BPCORE_CACHE_DIR": str(tmp_path), "PYTHONPATH": PYTHONPATH}
    for expected in (["0 1", "0 1"], ["1 0", "1 0"]):
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
        result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines() == expected
