"""Binding kernels to a dtype, and the disk cache of compiled kernels."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from bpcore.data import search_folders
from bpcore.kernels import build, cpu, spec
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.optimizers import UPDATE_RULES
from bpcore.kernels.table import named

# Arithmetic in float64; the wrapper that unpacks a Python float does none.
WIDE = re.compile(r"= (fadd|fsub|fmul|fdiv|fcmp|fpext|sitofp|uitofp)\b.*\bdouble\b")


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is no LLVM code without the compiler")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_kernels_hold_no_float64(name: str) -> None:
    """One constant of the wrong type would widen the whole expression."""
    z, row = np.zeros((2, 3), np.float32), np.zeros(3, np.float32)
    for kernel, arguments in (
        (spec.activate(ACTIVATIONS[name], z.dtype), (z, row, row, z.copy())),
        (spec.delta(ACTIVATIONS[name], z.dtype), (z, z.copy(), row, row.copy(), row.copy())),
    ):
        assert not WIDE.search(llvm_of(kernel, arguments))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is no LLVM code without the compiler")
def test_float32_heads_and_updates_hold_no_float64() -> None:
    z, row, ints = np.zeros((2, 3), np.float32), np.zeros(3, np.float32), np.zeros(8, np.int64)
    for loss in LOSSES.values():
        kernel = spec.loss_head(loss, z.dtype, labels=True, weighted=True)
        settings = tuple(map(np.float32, loss.defaults))
        arguments = (z, row, ints, row, row, z.copy(), row.copy(), row, row, ints, ints, settings)
        assert not WIDE.search(llvm_of(kernel, arguments))
    for rule in UPDATE_RULES.values():
        arguments = (row, row, np.zeros((rule.states, 3), np.float32), np.zeros((1, 3), np.int64))
        numbers = (np.zeros(8, np.float32), np.ones((1, 3), np.float32), row, row, ints, 0)
        assert not WIDE.search(llvm_of(spec.update(rule, z.dtype), (*arguments, *numbers)))
    assert not WIDE.search(llvm_of(spec.plain("limit_columns", z.dtype), (z, np.float32(1), row.copy(), 0)))


def llvm_of(kernel: spec.Spec, arguments: tuple[object, ...]) -> str:
    """The LLVM code of a newly compiled kernel; one loaded from the cache has none."""
    compiled = cpu.compiled(kernel)
    fresh = numba.njit(fastmath=compiled.targetoptions["fastmath"], error_model="numpy")(compiled.py_func)
    fresh.compile(tuple(numba.typeof(argument) for argument in arguments))
    return "\n".join(fresh.inspect_llvm().values())


def test_binding_converts_constants_defaults_and_callees() -> None:
    inner = 0.5

    def helper(z: float, scale: float = 3.0) -> float:
        return z * scale * math.pi * inner

    def function(z: float, p: float) -> float:
        return helper(z) + 1.5

    bound = build.bind(function, np.dtype(np.float32), compile_callee=lambda callee: callee)
    assert type(bound(np.float32(1), np.float32(0))) is np.float32
    assert bound(np.float32(2), np.float32(0)) == pytest.approx(function(2.0, 0.0), rel=1e-6)


# --- the disk cache -----------------------------------------------------------------------------------------

PROGRAM = """
    import sys, numpy as np, bpcore
    from bpcore.kernels import cpu, spec
    sys.path.insert(0, {folder!r})
    import {module} as mine
    entry = bpcore.register_activation("mine", mine.f, mine.derivative)
    z = np.full((1, 4), 2.0, np.float32)
    backend = bpcore.get_backend("numpy")
    out = backend.activate(z, np.zeros(4, np.float32), entry)
    stats = cpu.compiled(spec.activate(entry, z.dtype)).stats
    print(out[0, 0], sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled or cached")
def test_cache_hits_unedited_and_misses_edited(tmp_path: Path) -> None:
    """Also if the edit is in a helper that the activation calls."""
    source = textwrap.dedent("""
        def helper(z):
            return z * {factor}
        def f(z, p):
            return helper(z)
        def derivative(z, p):
            return 1.0
    """)

    def run(module: str = "mine") -> list[str]:
        program = textwrap.dedent(PROGRAM).format(folder=str(tmp_path), module=module)
        environment = {
            **os.environ,
            "BPCORE_CACHE_DIR": str(tmp_path / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
        )
        return result.stdout.split()

    (tmp_path / "mine.py").write_text(source.format(factor="3.0"))
    assert run() == ["6.0", "0", "1"]
    assert run() == ["6.0", "1", "0"]
    (tmp_path / "mine.py").write_text(source.format(factor="5.0"))
    assert run() == ["10.0", "0", "1"]
    (tmp_path / "mine.py").write_text(source.format(factor="3.0"))
    assert run() == ["6.0", "1", "0"]
    (tmp_path / "mine.py").rename(tmp_path / "other.py")
    assert run("other") == ["6.0", "1", "0"], "the module that first compiled it is not needed"


def processes(tmp_path: Path, program: str, *arguments: str) -> list[list[str]]:
    """Run the program once per argument, each in a new process with the same cache; returns the outputs."""
    environment = {**os.environ, "BPCORE_CACHE_DIR": str(tmp_path)}
    commands = [[sys.executable, "-c", textwrap.dedent(program), *one.split()] for one in arguments]
    results = [subprocess.run(one, capture_output=True, text=True, env=environment, check=True) for one in commands]
    return [result.stdout.split() for result in results]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled or cached")
def test_kernels_cached_by_several_processes_stay_distinct(tmp_path: Path) -> None:
    """Each process numbers its functions from the start, so equal names and numbers need different symbols."""
    program = """
        import sys, numba, numpy as np
        from bpcore.kernels import cpu, spec, tape
        from bpcore.kernels.activations import ACTIVATIONS
        for name in sys.argv[1:]:
            z, line, out = np.full((1, 1), -1.0), np.zeros(1), np.zeros((1, 1))
            kernel = spec.activate(ACTIVATIONS[name], np.dtype(np.float64))
            arguments = [z, line, line, out]
            kinds = tuple(map(numba.typeof, arguments))
            adapter = tape.adapter(kernel, kinds)
            tape.run_once(adapter.address, np.array(tape.words_of(kinds, arguments), np.int64))
            print(f"{out[0, 0]:.3f}")
            cpu.compiled(kernel)(*arguments)
            print(f"{out[0, 0]:.3f}")
    """
    found = processes(tmp_path, program, "relu", "tanh", "sigmoid", "relu tanh sigmoid")
    assert found[3] == ["0.000"] * 2 + ["-0.762"] * 2 + ["0.269"] * 2
    assert found[:3] == [found[3][:2], found[3][2:4], found[3][4:]]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled or cached")
def test_two_processes_that_cache_at_once_do_not_mix_their_files(tmp_path: Path) -> None:
    """As in a race, neither sees the other's index entry; their machine code is for different argument types."""
    program = """
        import sys, numpy as np
        from numba.core import caching
        from bpcore.kernels import cpu, spec
        if sys.argv[2:]:
            caching.IndexDataCacheFile._load_index = lambda self: {}
        x = np.array([[7.0, 2.0]]).astype(sys.argv[1])
        out = np.zeros((1, 2))
        counters = np.array([0, 0, 0, 1, 0, 0, -1, 0])
        gather = spec.gather(np.dtype(np.float64), labels=True, weighted=False)
        labels = np.zeros(1, np.int64)
        cpu.compiled(gather)(x, labels, out[0], 1.0, 0.0, out, labels.copy(), out[0], 0, counters)
        print(*out[0])
    """
    found = processes(tmp_path, program, "uint8 race", "float32 race", "uint8", "float32", "uint8")
    assert found == [["7.0", "2.0"]] * 5
    assert len(list(tmp_path.rglob("gather*.nbc"))) >= 2


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled or cached")
def test_a_training_run_compiles_nothing_the_second_time(tmp_path: Path) -> None:
    """Also if Python orders sets differently: these hash seeds give a set of flags in two orders."""
    program = """
        import numpy as np, bpcore
        rng = np.random.default_rng(0)
        net = bpcore.Network([bpcore.Dense(8, "gelu"), bpcore.Dropout(0.5), bpcore.Dense(3)], backend="numpy")
        net.fit(rng.standard_normal((50, 4)), rng.integers(0, 3, 50), epochs=3, batch_size=8)
    """
    files = []
    for hash_seed in ("1", "4", "5"):
        environment = {**os.environ, "BPCORE_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, check=True)
        files.append(sorted(path.name for path in (tmp_path / "kernels").rglob("*")))
    assert len(files[0]) > 20
    assert files[0] == files[1] == files[2]


def test_the_names_of_settings_are_part_of_what_a_kernel_depends_on() -> None:
    """They say which value a row function reads, and are in no bytecode but its own."""

    def content(*names: str) -> list[str]:
        def scaled(z: float, settings: Any) -> float:
            return z * settings.second  # type: ignore[no-any-return]

        def kernel(z: float, settings: Any) -> float:
            return row(z, named_settings(*settings))  # type: ignore[name-defined,no-any-return]  # noqa: F821

        holes = {"row": scaled, "named_settings": named(*names)}
        bound = build.bind(kernel, np.dtype(np.float32), holes, compile_callee=lambda callee: callee)
        return list(build._content(bound, set()))

    assert content("first", "second") == content("first", "second")
    assert content("first", "second") != content("second", "first")


def test_both_caches_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels and downloads, also if ~ was not expanded by a shell."""
    monkeypatch.setenv("BPCORE_CACHE_DIR", "~/somewhere")
    assert build.cache_folder.__wrapped__().parent == search_folders.cache_folder().parent == Path.home() / "somewhere"


def test_an_unwritable_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setattr(build, "cache_folder", lambda: blocked / "kernels")
    bound = build.bind(ACTIVATIONS["relu"].f, np.dtype(np.float32), compile_callee=numba.njit)
    assert build.cached(bound, "cpu") == (bound, False)
