"""`bpcore gradcheck`: what it checks, what it prints, and its exit codes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import bpcore
from bpcore.cli import app
from bpcore.cli import gradcheck as command
from bpcore.kernels.activations import ACTIVATIONS, ActivationRule
from bpcore.kernels.losses import LOSSES

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BPCORE_BACKEND", raising=False)
    monkeypatch.setenv("COLUMNS", "120")

    def call(arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = app.main(["gradcheck", *arguments.split()])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def unregister() -> Iterator[None]:
    before = dict(ACTIVATIONS)
    yield
    ACTIVATIONS.clear()
    ACTIVATIONS.update(before)


def test_default_options(run: Run) -> None:
    code, out, err = run("")
    assert (code, err) == (0, "")
    shapes = {"0.W": "6 x 8", "0.b": "8", "1.W": "8 x 6", "1.b": "6", "2.W": "6 x 4", "2.b": "4", "x": "16 x 6"}
    for name, shape in shapes.items():
        row = rf"│ {re.escape(name)} +│ {shape} +│ \d+ (element|direction)s +│ \d\.\d+e-\d+ +│ ok "
        assert re.search(row, out), name
    assert re.search(r"all 7 gradients agree within 1e-06, at worst \d\.\de-\d+; \d+ differences", out)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(run: Run, loss: str) -> None:
    one = LOSSES[loss].predicts != "label"
    for options in ("--outputs 3", "--outputs 1" if one else "--dropout 0.3"):
        code, out, _ = run(f"--network 8,6,4 --activation tanh --output-activation sigmoid --loss {loss} {options} -q")
        assert code == 0, out


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(run: Run, activation: str) -> None:
    code, out, _ = run(f"--network 8,6,4 --activation {activation} --samples 32 --quiet")
    assert code == 0, out
    assert len(out.splitlines()) == 1


@pytest.mark.usefixtures("unregister")
@pytest.mark.parametrize("where", ["--activation", "--output-activation"])
def test_a_broken_derivative_fails(run: Run, where: str) -> None:
    """The derivative of x^3 is not 2.9 x^2."""

    def cube(z: float, p: float) -> float:
        return z * z * z

    def derivative(z: float, p: float) -> float:
        return 2.9 * z * z

    bpcore.register_activation("cube", cube, derivative)
    code, out, _ = run(f"--network 5 {where} cube --json r.json")
    assert code == 1
    assert "FAILS" in out
    assert "gradients cannot be trusted: 0.W FAILS" in out
    found = json.loads(Path("r.json").read_text())
    assert found["ok"] is False
    verdicts = {array["name"]: array["verdict"] for array in found["arrays"]}
    assert verdicts["0.W"] == verdicts["0.b"] == verdicts["x"] == "FAILS"
    assert verdicts["1.W"] == ("ok" if where == "--activation" else "FAILS")
    bpcore.register_activation("cube", cube, lambda z, p: 3.0 * z * z)
    assert run(f"--network 5 {where} cube")[0] == 0


@pytest.mark.usefixtures("unregister")
def test_a_check_that_skips_everything_does_not_pass(run: Run) -> None:
    """A sawtooth with kinks 2 epsilon apart: moving a bias always crosses one."""

    def saw(z: float, p: float) -> float:
        teeth = z * 25000.0
        return abs(teeth - math.floor(teeth) - 0.5)

    def derivative(z: float, p: float) -> float:
        teeth = z * 25000.0
        return 25000.0 if teeth - math.floor(teeth) > 0.5 else -25000.0

    ACTIVATIONS["saw"] = ActivationRule("saw", saw, derivative, saves="input")  # floor is not for float32
    code, out, _ = run("--network 3 --activation saw --samples 1 --inputs 2")
    assert code == 1
    assert "0 elements, 3 skipped at kinks" in out
    assert "0.b NOT CHECKED" in out
    assert re.search(r"and \d+ more skipped because they cross a kink of the loss", out)


def test_named_data(run: Run) -> None:
    code, out, err = run("digits --network 12 --samples 9 --loss hinge")
    assert code == 0, err
    assert "9 samples of digits" in out
    assert "9 x 64" in out
    rows = ["a,b,price", *(f"{i * 7 % 11},{i * 5 % 13},{i * i % 17 + 0.5}" for i in range(30))]
    Path("houses.csv").write_text("\n".join(rows))
    code, out, err = run("houses.csv --target price --network none --json -")
    assert code == 0, err
    found = json.loads(out)
    assert [array["name"] for array in found["arrays"]] == ["0.W", "0.b", "x"]
    assert found["settings"]["data"] == "houses.csv"
    assert "squared_error" in err, "words go to the standard error where JSON takes the standard output"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--activation rleu", "unknown activation 'rleu'"),
        ("--output-activation rleu", "unknown activation 'rleu'"),
        ("--network 8x6", "network '8x6'"),
        ("--loss hinges", "unknown loss 'hinges'"),
        ("--epsilon 0.5", "epsilon=0.5"),
        ("--tolerance 0", "tolerance=0.0"),
        ("--directions 0", "directions"),
        ("--samples 0", "samples"),
        ("--outputs 1", "softmax_cross_entropy of one output"),
        ("--target price", "--target is for a file"),
        ("digits --inputs 3", "--inputs and --outputs are for random data"),
        ("digitz", "digitz"),
        ("--device gpuu", "unknown device"),
        ("--dropout 1", "dropout rate 1"),
        ("--json no/such/folder.json", "no folder"),
    ],
)
def test_bad_input(run: Run, arguments: str, said: str) -> None:
    code, out, err = run(arguments)
    assert code == 2
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1


def test_biases_do_not_start_on_a_kink() -> None:
    """A unit without bias whose inputs are all dead would sum to exactly zero."""
    net = bpcore.Network([bpcore.Dense(5), bpcore.Dense(2)], inputs=3, precision="float64", backend="numpy")
    command._draw_biases(net, 0)
    found = net.parameters_by_name()
    assert all((found[name] != 0).all() for name in ("0.b", "1.b"))
    assert np.abs(found["0.b"]).max() < 1
