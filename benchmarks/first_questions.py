"""Measurements to make first on a real GPU, because they decide between designs.

    python benchmarks/first_questions.py [--out FILE.json] [--only QUESTION] [--look]

1  What do a node of a CUDA graph, and the launch of a graph, cost?     -> how many steps a graph should have
2  Are products with an epilogue faster than product and kernel?        -> CupyBackend(epilogues=...)
3  Does NaN come out of cuBLASLt's ReLU?                                -> whether the epilogue may be used at all
4  What does a step cost as a graph of 1, 16 and 64 steps?              -> cuda_graphs.STEPS_IN_A_GRAPH
5  From which size on is a folded update faster?                        -> cuda_graphs.BYTES_WORTH_FOLDING
6  What does a barrier of the whole grid cost?                          -> whether one kernel for a whole step would pay
7  What does a step cost in float32, tf32 and bfloat16?                 -> from which size on precision= pays
8  Which products and epilogues does cuBLASLt support, at odd widths?   -> which shapes a precision can support

It fails without a GPU. Times are medians, in microseconds, of many repetitions between two synchronisations. Each
question runs in its own process, so that one that breaks the GPU's context, or hangs, does not affect the others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bpcore import SGD, Adam, Constant, Dense, Loss, Network
from bpcore.backends import cuda_graphs, get_backend
from bpcore.backends.base import Backend, Samples
from bpcore.backends.cuda_graphs import GraphMaker
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.backends.operations import Kernel, Operation, Product, Relu, ReluBackward
from bpcore.errors import BpcoreError
from bpcore.kernels import spec
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.cublas import mask_bytes
from bpcore.training.run import Run
from bpcore.training.samples import to_device
from bpcore.training.settings import Settings

FLOAT32 = np.dtype(np.float32)
SHAPES = [(10, 784, 128), (128, 784, 128), (128, 512, 512), (512, 784, 256), (2048, 512, 512), (2048, 2048, 2048)]
ODD_SHAPES = [(1, 1, 1), (7, 5, 3), (33, 31, 17), (128, 784, 30)]
PRECISION_SHAPES = [(128, 128), (512, 512), (2048, 2048), (4096, 16384)]
PATIENCE = 240
"""The most seconds that a question may take."""
Answers = dict[str, Any]


def microseconds(backend: Backend, run: Callable[[], object], repeats: int, rounds: int = 7) -> float:
    """The median time of one run, over rounds of `repeats` runs each."""
    run()
    times = []
    for _ in range(rounds):
        backend.synchronize()
        began = time.perf_counter()
        for _ in range(repeats):
            run()
        backend.synchronize()
        times.append((time.perf_counter() - began) / repeats * 1e6)
    return statistics.median(times)


def captured(backend: CupyBackend, operations: Sequence[Operation]) -> Callable[[int], None]:
    """Record the operations as a CUDA graph; the result replays it a number of times."""
    return GraphMaker(backend, backend._xp, folds=False).make(operations)


def filled(backend: Backend, *shape: int) -> Any:
    """An array of random numbers, since zeros would be faster than real data."""
    return backend.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


# --- the questions ------------------------------------------------------------------------------------------------


def nodes_and_launches(backend: CupyBackend, repeats: int) -> Answers:
    """Time graphs of kernels that do next to nothing: the slope is the cost of a node, the rest that of the launch."""
    counters = backend.asarray(np.zeros(8, np.int64))
    advance = Kernel(spec.plain("advance", FLOAT32), (counters,))
    times = {}
    for nodes in (1, 10, 100):
        times[nodes] = microseconds(backend, partial(captured(backend, [advance] * nodes), 1), repeats)
    eager = microseconds(backend, partial(backend.execute, advance), repeats)
    node = (times[100] - times[10]) / 90
    return {"graphs_us": times, "node_us": node, "launch_us": times[1] - node, "eager_kernel_us": eager}


def epilogues(backend: CupyBackend, repeats: int) -> Answers:
    """Time relu(x @ W + b) as a product and a kernel, and as one product with an epilogue, each in a graph."""
    found = {}
    for rows, inner, columns in SHAPES:
        x, w, bias = filled(backend, rows, inner), filled(backend, inner, columns), filled(backend, columns)
        out, slope = backend.empty((rows, columns), FLOAT32), backend.full((columns,), 0.0, FLOAT32)
        product = Product(x, w, out)
        kernel = Kernel(spec.activate(ACTIVATIONS["relu"], FLOAT32), (out, bias, slope, out))
        fused = Product(x, w, out, epilogue=Relu(bias))
        ways: dict[str, list[Operation]] = {"product": [product], "two": [product, kernel]}
        if backend.can_multiply(fused):
            ways["one"] = [fused]
        replays = {name: captured(backend, way) for name, way in ways.items()}
        found[f"{rows}x{inner}x{columns}"] = {
            name: microseconds(backend, partial(replay, 1), repeats) for name, replay in replays.items()
        }
    return found


def nan_through_relu(backend: CupyBackend, repeats: int) -> Answers:
    """Test whether the ReLU epilogue passes NaN on."""
    x, w, bias = filled(backend, 8, 16), backend.full((16, 32), np.nan, FLOAT32), filled(backend, 32)
    product = Product(x, w, backend.empty((8, 32), FLOAT32), epilogue=Relu(bias))
    if not backend.can_multiply(product):
        return {"epilogue": "none"}
    backend.execute(product)
    return {"nan_stays": bool(np.isnan(backend.to_numpy(product.out)).all())}


def training_run(
    backend: Backend, sizes: Sequence[int], batch: int, optimizer: Any, steps: int, precision: str = "float32"
) -> Run:
    """A run over random images with a given number of steps in an epoch."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (batch * steps, 784), np.uint8), rng.integers(0, 10, batch * steps)
    layers = [*(Dense(size, "relu") for size in sizes), Dense(10)]
    network = Network(layers, inputs=784, backend=backend, precision=precision)
    settings = Settings(Loss("softmax_cross_entropy"), optimizer, Constant(), 1000, batch, 0)
    run = Run(network, to_device(network.backend, Samples(x, y, scale=1 / 255)), settings)
    run.begin_epoch(0)
    run.run_steps(2)
    return run


def step_microseconds(run: Run, steps: int, rounds: int = 7) -> float:
    """The median time of a step, over epochs of `steps` steps."""
    times = []
    for epoch in range(rounds):
        run.begin_epoch(epoch)
        run.backend.synchronize()
        began = time.perf_counter()
        run.run_steps(steps)
        run.backend.synchronize()
        times.append((time.perf_counter() - began) / steps * 1e6)
    return statistics.median(times)


def steps_in_a_graph(backend: CupyBackend, repeats: int) -> Answers:
    """Time a step of 784-128-10 at batch 128 with Adam, in graphs of 1, 16 and 64 steps."""
    found, before, steps = {}, cuda_graphs.STEPS_IN_A_GRAPH, 64 * max(1, repeats // 64)
    try:
        for many in (1, 16, 64):
            cuda_graphs.STEPS_IN_A_GRAPH = many
            run = training_run(backend, [128], 128, Adam(), steps)
            run.run_steps(steps - 2)
            found[many] = step_microseconds(run, steps)
    finally:
        cuda_graphs.STEPS_IN_A_GRAPH = before
    return {"us_per_step": found}


def folding(backend: CupyBackend, repeats: int) -> Answers:
    """Time SGD at batch 128 with the update folded into the weight gradient, and with a separate update."""
    found, before, steps = {}, cuda_graphs.BYTES_WORTH_FOLDING, min(repeats, 100)
    try:
        for width in (128, 512, 2048, 4096):
            row = {}
            for name, worth in (("folded", 0), ("apart", 2**62)):
                cuda_graphs.BYTES_WORTH_FOLDING = worth
                row[name] = step_microseconds(training_run(backend, [width, width], 128, SGD(), steps), steps)
            found[width] = row
    finally:
        cuda_graphs.BYTES_WORTH_FOLDING = before
    return {"us_per_step": found}


def grid_barrier(backend: CupyBackend, repeats: int) -> Answers:
    """Time a kernel of one block per multiprocessor that does nothing but wait at barriers."""
    from numba import cuda

    @cuda.jit  # type: ignore[untyped-decorator]
    def meet(times: int) -> None:
        grid = cuda.cg.this_grid()
        for _ in range(times):
            grid.sync()

    blocks = cuda.get_current_device().MULTIPROCESSOR_COUNT
    took = {}
    for barriers in (10, 1010):
        took[barriers] = microseconds(backend, partial(meet[blocks, 256], barriers), 10)
    return {"blocks": blocks, "barrier_us": (took[1010] - took[10]) / 1000}


def algorithms(backend: CupyBackend, repeats: int) -> Answers:
    """List the products and epilogues of a layer for which cuBLASLt has an algorithm; none is run."""
    found = {}
    for precision in ("float32", "tf32", "bfloat16"):
        chosen, _ = backend.at_precision(precision)
        assert isinstance(chosen, CupyBackend)
        between = chosen.between_layers(FLOAT32)
        for rows, inner, columns in [*SHAPES, *ODD_SHAPES]:
            x, w, z = (chosen.empty(shape, between) for shape in ((rows, inner), (inner, columns), (rows, columns)))
            gradient, below = chosen.empty((inner, columns), FLOAT32), chosen.empty((rows, inner), between)
            bias, bias_below = chosen.empty((columns,), FLOAT32), chosen.empty((inner,), FLOAT32)
            mask, mask_below = (chosen.empty((rows, mask_bytes(width)), np.uint8) for width in (columns, inner))
            products = {
                "forward": Product(x, w, z),
                "gradient": Product(x.T, z, gradient),
                "delta": Product(z, w.T, below),
                "relu": Product(x, w, z, epilogue=Relu(bias)),
                "relu and mask": Product(x, w, z, epilogue=Relu(bias, mask)),
                "relu backward": Product(z, w.T, below, epilogue=ReluBackward(bias_below, mask_below)),
            }
            has = [name for name, product in products.items() if chosen.can_multiply(product)]
            found[f"{precision} {rows}x{inner}x{columns}"] = has
    return found


def precisions(backend: CupyBackend, repeats: int) -> Answers:
    """Time a step of two hidden layers with Adam, small and large, in each precision."""
    found = {}
    for width, batch in PRECISION_SHAPES:
        steps = min(repeats, 100, 2**19 // batch)  # at most 400 MB of images
        found[f"{width} batch {batch}"] = {
            precision: step_microseconds(training_run(backend, [width, width], batch, Adam(), steps, precision), steps)
            for precision in ("float32", "tf32", "bfloat16")
        }
    return {"us_per_step": found}


QUESTIONS = (
    algorithms,
    nodes_and_launches,
    epilogues,
    nan_through_relu,
    steps_in_a_graph,
    folding,
    grid_barrier,
    precisions,
)


def ask(backend: CupyBackend, repeats: int, questions: Sequence[Any] = QUESTIONS) -> Answers:
    """The answers by question; a question that fails gets its error as the answer."""
    answers: Answers = {"date": date.today().isoformat(), **backend.describe()}
    for question in questions:
        try:
            answers[question.__name__] = question(backend, repeats)
        except Exception as error:
            answers[question.__name__] = {"failed": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
        print(question.__name__, json.dumps(answers[question.__name__], indent=1), flush=True)
    return answers


def in_own_process(name: str) -> Answers:
    """The answer to one question from a separate process, or the reason why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.json"
        command = [sys.executable, "-P", __file__, "--only", name, "--out", str(path)]
        try:
            ended = subprocess.run(command, timeout=PATIENCE, check=False).returncode
        except subprocess.TimeoutExpired:
            return {"failed": f"no answer after {PATIENCE} s"}
        if not path.exists():
            return {"failed": f"its process ended with code {ended}"}
        answer: Answers = json.loads(path.read_text(encoding="utf-8"))[name]
        return answer


def main() -> int:
    """Ask the questions, print the answers, and write them to the file after each one."""
    names = {question.__name__: question for question in QUESTIONS}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the answers to this file, as JSON")
    parser.add_argument("--only", choices=names, help="ask one question, in this process")
    parser.add_argument("--look", action="store_true", help="only describe the GPU, and try a product and a kernel")
    options = parser.parse_args()
    try:
        backend = get_backend("cupy")
    except BpcoreError as error:
        print(f"first_questions.py needs a GPU: {error}", file=sys.stderr)
        return 1
    assert isinstance(backend, CupyBackend)
    described = backend.describe()
    if options.look:
        print(", ".join(f"{name}: {value}" for name, value in described.items()))
        ones = backend.full((16, 16), 1.0, FLOAT32)
        found = backend.to_numpy(backend.add(ones, backend.matmul(ones, ones)))
        if (found == 17).all():
            return 0
        print(f"a product and a sum on this GPU gave {found[0, 0]} instead of 17", file=sys.stderr)
        return 1
    answers: Answers = {"date": date.today().isoformat(), **described}
    for name, question in names.items() if options.only is None else [(options.only, names[options.only])]:
        answers[name] = in_own_process(name) if options.only is None else ask(backend, 200, [question])[name]
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    failed = [name for name in names if "failed" in answers.get(name, {})]
    if failed:
        print(f"no answer to {', '.join(failed)}", file=sys.stderr)
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
