"""The ground floor: random integers, binding to a dtype, the cache, user-registered activations."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import textwrap
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bpcore
from bpcore.data import places
from bpcore.errors import InputError
from bpcore.kernels import build, counter, cpu, spec
from bpcore.kernels.activations import ACTIVATIONS, ActivationRule
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.optimizers import UPDATE_RULES
from bpcore.testing import references
from bpcore.training.optimizers import OPTIMIZERS, get_optimizer

# Arithmetic in float64; the wrapper that takes a Python float apart does none.
WIDE = re.compile(r"= (fadd|fsub|fmul|fdiv|fcmp|fpext|sitofp|uitofp)\b.*\bdouble\b")
WORDS = st.integers(0, 2**32 - 1)


def test_philox_gives_the_published_numbers() -> None:
    """The known answers that its authors ship for philox4x32-10."""
    ones = 0xFFFFFFFF
    assert [hex(word) for word in counter.philox(0, 0, 0, 0, 0, 0)] == [
        "0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8",
    ]  # fmt: skip
    assert [hex(word) for word in counter.philox(ones, ones, ones, ones, ones, ones)] == [
        "0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd",
    ]  # fmt: skip
    assert [
        hex(word) for word in counter.philox(0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
    ] == ["0xd16cfe09", "0x94fdcceb", "0x5001e420", "0x24126ea1"]


@given(st.lists(WORDS, min_size=6, max_size=6))
@settings(max_examples=50)
def test_philox_compiled_is_philox(words: list[int]) -> None:
    assert list(numba.njit(counter.philox)(*words)) == references.philox4x32(words[:4], words[4:])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_are_gathered_as_they_are_stored(shuffle: bool, dtype: type, rng: np.random.Generator) -> None:
    """The third batch of 50 and what follows, in two parts; what is wider than the kernel's numbers is converted."""
    epoch, seed, samples = 2**35 + 3, 2**50 + 9, 400
    x = rng.integers(0, 100, (samples, 7)).astype(dtype) if dtype != np.float64 else rng.standard_normal((samples, 7))
    x.flags.writeable = False  # as a file may be
    targets, weights = rng.standard_normal((samples, 2)).astype(np.float32), rng.random(samples).astype(np.float32)
    counters = np.zeros(counter.COUNTERS, np.int64)
    counters[counter.EPOCH], counters[counter.SEED], counters[counter.SHUFFLE] = epoch, seed, shuffle
    counters[counter.BATCH], counters[counter.BATCH_SIZE] = 2, 50
    kind = np.float32 if dtype == np.float64 else dtype
    out = np.zeros((200, 7), kind), np.zeros((200, 2), np.float32), np.zeros(200, np.float32)
    kernel = cpu.compiled(spec.gather_rows(np.dtype(np.float32), labels=False, weighted=True))
    for rows in (slice(0, 70), slice(70, 200)):
        kernel(x, targets, weights, *(array[rows] for array in out), rows.start, counters)
    order = references.epoch_order(samples, epoch, seed) if shuffle else list(range(samples))
    for found, source in zip(out, (x, targets, weights), strict=True):
        np.testing.assert_array_equal(found, source[order[100:300]].astype(found.dtype))


@given(st.integers(1, 300), st.integers(0, 2**40), st.integers(0, 2**63 - 1))
@settings(max_examples=60)
def test_every_shuffle_is_a_permutation(samples: int, epoch: int, seed: int) -> None:
    bits, keys = counter.bits_for(samples), counter.shuffle_keys(epoch, seed)
    order = [counter.shuffled(position, samples, bits, keys) for position in range(samples)]
    assert sorted(order) == list(range(samples))
    assert order == references.epoch_order(samples, epoch, seed)


def test_shuffles_look_random() -> None:
    """Over many epochs each row stands at each place about equally often (chi-square), in a new order each time."""
    samples, epochs = 20, 2000
    counts = np.zeros((samples, samples))
    orders = set()
    for epoch in range(epochs):
        keys = counter.shuffle_keys(epoch, 7)
        order = [counter.shuffled(p, samples, counter.bits_for(samples), keys) for p in range(samples)]
        counts[np.arange(samples), order] += 1
        orders.add(tuple(order))
    chi_square = ((counts - epochs / samples) ** 2 / (epochs / samples)).sum()
    assert 250 < chi_square < 500  # 19^2 = 361 degrees of freedom: mean 361, deviation 27
    assert len(orders) == epochs


def test_dropout_words_are_spread_evenly() -> None:
    words = [word for block in range(5000) for word in counter.dropout_words(block, 1, 2, 3)]
    assert abs(np.mean(np.array(words) >= 0.3 * 2**32) - 0.7) < 0.01
    assert max(Counter(words).values()) <= 2


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is no LLVM code without the compiler")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_float32_kernels_hold_no_float64(name: str) -> None:
    """A single constant of the wrong type would widen the whole expression."""
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
        arguments = (
            z,
            row,
            ints,
            row,
            row,
            z.copy(),
            row.copy(),
            row,
            row,
            ints,
            ints,
            tuple(map(np.float32, loss.defaults)),
        )
        assert not WIDE.search(llvm_of(kernel, arguments))
    for rule in UPDATE_RULES.values():
        arguments = (row, row, np.zeros((rule.states, 3), np.float32), np.zeros((1, 3), np.int64))
        numbers = (np.zeros(8, np.float32), np.ones((1, 3), np.float32), row, row, ints, 0)
        assert not WIDE.search(llvm_of(spec.update(rule, z.dtype), (*arguments, *numbers)))
    assert not WIDE.search(llvm_of(spec.plain("limit_columns", z.dtype), (z, np.float32(1), row.copy(), 0)))


def llvm_of(kernel: spec.Spec, arguments: tuple[object, ...]) -> str:
    """The LLVM code of a kernel, compiled afresh: a kernel from the cache has none."""
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
    """Also where the edit is in a helper that the activation calls, in another function of its module."""
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
    """What the program prints in a process of its own for each of the arguments, all with one cache."""
    environment = {**os.environ, "BPCORE_CACHE_DIR": str(tmp_path)}
    commands = [[sys.executable, "-c", textwrap.dedent(program), *one.split()] for one in arguments]
    results = [subprocess.run(one, capture_output=True, text=True, env=environment, check=True) for one in commands]
    return [result.stdout.split() for result in results]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled or cached")
def test_kernels_cached_by_several_processes_are_told_apart(tmp_path: Path) -> None:
    """Each process begins to count its functions anew: of one name and number, they must differ in their symbols."""
    program = """
        import sys, numba, numpy as np
        from bpcore.kernels import cpu, spec, tape
        from bpcore.kernels.activations import ACTIVATIONS, ActivationRule
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
    """Neither sees the other's entry in the index, as in a race; the machine code is for other types of arguments."""
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
    """Whatever the order of Python's sets: these hash seeds give a set of flags in two orders."""
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


def test_both_caches_stand_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels and downloads, also where no shell has made the home folder of ~."""
    monkeypatch.setenv("BPCORE_CACHE_DIR", "~/somewhere")
    assert build.cache_folder.__wrapped__().parent == places.cache_folder().parent == Path.home() / "somewhere"


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setattr(build, "cache_folder", lambda: blocked / "kernels")
    bound = build.bind(ACTIVATIONS["relu"].f, np.dtype(np.float32), compile_callee=numba.njit)
    assert build.cached(bound, "cpu") == (bound, False)


# --- activations of one's own -------------------------------------------------------------------------------


@pytest.fixture
def unregister() -> object:
    before = dict(ACTIVATIONS)
    yield
    ACTIVATIONS.clear()
    ACTIVATIONS.update(before)


@pytest.mark.usefixtures("unregister")
def test_a_registered_activation_runs_and_passes_the_gradient_check(rng: np.random.Generator) -> None:
    def swish(z: float, p: float) -> float:
        return z / (1.0 + math.exp(-p * z))

    def swish_derivative(z: float, p: float) -> float:
        s = 1.0 / (1.0 + math.exp(-p * z))
        return s * (1.0 + p * z * (1.0 - s))

    def swish_by_p(z: float, p: float) -> float:
        s = 1.0 / (1.0 + math.exp(-p * z))
        return z * z * s * (1.0 - s)

    entry = bpcore.register_activation("swish", swish, swish_derivative, parameter=1.5, parameter_derivative=swish_by_p)
    assert isinstance(entry, ActivationRule)
    network = bpcore.Network([bpcore.Dense(5, "swish"), bpcore.Dense(3)], precision="float64", backend="numpy")
    check = bpcore.gradcheck(network, rng.standard_normal((6, 4)), rng.integers(0, 3, 6))
    assert check.ok, str(check)
    assert "0.p" in check.errors


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="widening shows in the compiler's types")
@pytest.mark.usefixtures("unregister")
def test_widening_to_float64_is_refused_by_name() -> None:
    def widens(z: float, p: float) -> float:
        doubled = 2 * z
        return doubled + 1.0

    def good(z: float, p: float) -> float:
        return z

    def nameless(z: float, p: float) -> float:
        return z * (1 - z)

    def whole(z: float, p: float) -> float:
        return 1

    def broken(z: float, p: float) -> float:
        return z + "x"  # type: ignore[operator]

    for functions, message in (
        ((widens, good), r"f would widen to float64: variable 'doubled'.*1\.0, not 1"),
        ((good, nameless), "derivative would widen to float64: an expression on line"),
        ((good, whole), "derivative returns int64"),
        ((broken, good), "f cannot be compiled"),
    ):
        with pytest.raises(InputError, match=message):
            bpcore.register_activation("mine", *functions)
        assert "mine" not in ACTIVATIONS


def by_numpy(z: float, p: float) -> float:
    return float(np.tanh(z))


def by_a_callee(z: float, p: float) -> float:
    return by_numpy(z, p)


def endless(z: float, p: float) -> float:
    return endless(z, p)


def raises(z: float, p: float) -> float:
    if z < 0.0:
        raise ValueError
    return z


compiled = numba.vectorize(lambda z: z)


def by_a_compiled_one(z: float, p: float) -> float:
    return float(compiled(z))


class Callable:
    def __call__(self, z: float, p: float) -> float:
        return z

    def method(self, z: float, p: float) -> float:
        return z


@pytest.mark.usefixtures("unregister")
@pytest.mark.parametrize(
    ("f", "message"),
    [
        (np.tanh, "f is <ufunc 'tanh'>, not a Python function"),
        (math.exp, "f is <built-in function exp>, not a Python function"),
        (partial(raises, p=1.0), "f is .*, not a Python function"),
        (np.vectorize(by_numpy), "f is .*, not a Python function"),
        (Callable(), "f is .*, not a Python function"),
        (Callable().method, "f is .*, not a Python function"),
        ("tanh", "f is 'tanh', not a Python function"),
        (lambda z: z, r"f takes \(z\);"),
        (lambda *both: both[0], r"f takes \(\*both\);"),
        (lambda z, *, p: z, r"f takes \(z, \*, p\);"),
        (by_numpy, "f uses the module np;"),
        (by_a_callee, "f uses the module np;"),
        (lambda z, p, numpys=np.tanh: z, r"f takes \(z, p, numpys="),
        (by_a_compiled_one, "f uses compiled, "),
        (raises, "f raises an exception in raises"),
        (endless, "f calls itself"),
    ],
)
def test_what_is_no_scalar_function_for_both_devices_is_refused(f: Any, message: str) -> None:
    """Some of these the CPU would run; a GPU would not, and a tape cannot raise."""
    accepted = r"accepted: a Python function of two scalars \(value, p\), written in arithmetic and `math`$"
    with pytest.raises(InputError, match=f"activation 'mine': {message}.*{accepted}"):
        bpcore.register_activation("mine", f, lambda z, p: 1.0)
    assert "mine" not in ACTIVATIONS


@pytest.mark.usefixtures("unregister")
def test_a_scalar_function_may_call_another_and_take_numbers_from_around_it() -> None:
    slope = 2.0

    def helper(z: float) -> float:
        return math.exp(-slope * z)

    def f(z: float, p: float) -> float:
        return max(abs(z), 1.0) / (1.0 + helper(z))

    assert bpcore.register_activation("mine", f, f).f is f


@pytest.mark.usefixtures("unregister")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "relu"}, "built in"),
        ({"name": "two words"}, "cannot be used"),
        ({"saves": "both"}, "accepted: 'output'"),
        ({"parameter": math.nan}, "finite"),
    ],
)
def test_bad_registrations_are_refused(arguments: dict[str, object], message: str) -> None:
    def f(z: float, p: float) -> float:
        return z

    with pytest.raises(InputError, match=message):
        bpcore.register_activation(**{"name": "mine", "f": f, "derivative": f, **arguments})


# --- every template, also as plain Python (make coverage runs this file with the compiler off) ---------------


def test_every_template_runs(rng: np.random.Generator) -> None:
    """One small training step through each kernel; the conformance suite checks the values."""
    x = rng.standard_normal((5, 4))
    y = rng.integers(0, 3, 5)
    for activation in ACTIVATIONS:
        for loss in LOSSES:
            network = bpcore.Network(
                [bpcore.Dense(6, activation), bpcore.Dropout(0.5), bpcore.Dense(3)], backend="numpy"
            )
            history = network.fit(x, y, loss=loss, epochs=1, batch_size=2, sample_weight=np.ones(5))
            assert math.isfinite(history["loss"][0])
    for rule in OPTIMIZERS:
        optimizer = get_optimizer(rule, l2=0.1, max_norm=0.1)
        network = bpcore.Network([bpcore.Dense(3)], backend="numpy")
        network.fit(x, np.eye(3)[y], loss="softmax_cross_entropy", optimizer=optimizer, epochs=1, batch_size=5)
    backend = network.backend
    out, winner = backend.empty((5, 2), np.float32), backend.empty((5, 2), np.int32)
    pieces = backend.asarray(x, np.float32)
    backend.max_pieces(pieces, backend.full((4,), 0.0, np.float32), out, winner)
    backend.max_pieces_backward(out, winner, pieces, backend.empty((4,), np.float32))
    backend.duplicate(out, backend.empty((5, 2), np.float32))
    backend.hadamard(out, out)
    backend.add(out, out)
    backend.softmax(out)
    labels = backend.argmax(out)
    backend.above_zero(out)
    backend.confusion(labels, labels, backend.asarray(np.zeros((2, 2), np.int64)))
    backend.scatter(out, backend.control(1, np.float32), backend.empty((5, 2), np.float32))
    backend.scatter(labels, backend.control(1, np.float32), backend.empty((5,), np.int64))
    backend.column_sums(out, backend.empty((2,), np.float32))
    backend.limit_columns(out, 0.1)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_an_activation_in_place_is_computed_in_vectors(name: str) -> None:
    """A loop that might write where it reads would take eight times as long."""
    kernel = cpu.compiled(spec.activate(ACTIVATIONS[name], np.dtype(np.float32)))
    z, row = np.ones((64, 512), np.float32), np.zeros(512, np.float32)

    def fastest(out: np.ndarray) -> float:
        kernel(z, row, row, out)
        times = []
        for _ in range(50):
            began = time.perf_counter()
            kernel(z, row, row, out)
            times.append(time.perf_counter() - began)
        return min(times)

    assert fastest(z) < 3 * fastest(np.empty_like(z))
