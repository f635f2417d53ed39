"""One more kernel is five additions: this adds one, `negate`, to a copy of the repository, and tests it there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numba
import pytest

from support.repository import REPOSITORY

# Each file, the text that the addition goes before, and the addition.
ADDITIONS = {
    "kernels/cpu/layer.py": (
        "def duplicate(",
        '''def negate(x: Any, out: Any) -> None:
    """out <- -x."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = -x[i, j]


''',
    ),
    "kernels/cuda/layer.py": (
        "def duplicate(",
        '''def negate(x: Any, out: Any) -> None:
    """out <- -x."""
    i, j = own_element()
    if i < x.shape[0] and j < x.shape[1]:
        out[i, j] = fitted(-number(x[i, j]), out)


''',
    ),
    "kernels/signatures.py": (
        '    "duplicate": ',
        '    "negate": _each_element(x=_FLOW, out=_FLOW_WRITTEN),\n',
    ),
    "bpcore/backends/contract/layer.py": (
        "    def duplicate(",
        '''    def negate(self, x: Array, out: Array) -> Array:
        """out (B, M) <- -x (B, M)."""
        self.require(x, out)
        self.run(spec.plain("negate", number_dtype(x.dtype)), x, out)
        return out

''',
    ),
    "bpcore/testing/references.py": (
        '    "duplicate": ',
        '    "negate": lambda x: -x,\n',
    ),
}

ON_BOTH_DEVICES = """
import numpy as np
from bpcore.kernels import bfloat16, cpu, cuda
from bpcore.kernels.bfloat16 import BFLOAT16
from support import kernel_cases
from support.stand_in import widened

assert cuda.IN_SIMULATOR
cases = [*kernel_cases.every_case(np.float32, 3, 5), *kernel_cases.bfloat16_cases(3, 5)]
cases = [case for case in cases if case.spec.template == "negate"]
for case in cases:
    x, out = map(np.copy, case.arguments)
    cuda.launch(case.spec, case.arguments)
    with widened(case.spec, (x, out)) as numbers:
        cpu.compiled(case.spec)(*numbers)
    np.testing.assert_array_equal(case.arguments[1], out)
print([case.name for case in cases])
"""

RECORDED = """
import numpy as np
from bpcore import get_backend
from bpcore.backends.cpu_tape import Cutter
from bpcore.backends.operations import Kernel
from bpcore.errors import InputError
from bpcore.kernels import spec

x, out = np.ones((6, 4)), np.ones((6, 4))
kernel = Kernel.named(spec.plain("negate", x.dtype), x=x, out=out)
(entry,) = Cutter(2).entries(kernel)
print([part.writes[0][1] - part.writes[0][0] for part in entry])
try:
    get_backend("numpy").negate(x, out[:5])
except InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(REPOSITORY / "bpcore", folder / "bpcore", symlinks=True)
    for name in ("kernels", "tests"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    for name, (before, addition) in ADDITIONS.items():
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(before) == 1
        (folder / name).write_text(text.replace(before, addition + before), encoding="utf-8")
    return folder


def run(copy: Path, *arguments: str, **environment: str) -> str:
    paths = os.pathsep.join([str(copy), str(copy / "tests")])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_suites_take_it_in(copy: Path) -> None:
    """The backend's method against the reference, and the table against the templates."""
    files = ["tests/backends/test_conformance.py", "tests/kernels/test_signatures.py"]
    said = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "elementwise or table", *files)
    assert " passed" in said
    assert "failed" not in said


def test_it_is_checked_and_divided_between_threads(copy: Path) -> None:
    assert run(copy, "-c", RECORDED).splitlines() == [
        "[96, 96]",
        "negate: out has shape (5, 4), but (6, 4) is needed beside x (6, 4)",
    ]


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="the simulator is held against compiled code")  # type: ignore[attr-defined]
def test_its_twin_agrees_in_float32_and_bfloat16(copy: Path) -> None:
    names = run(copy, "-W", "ignore", "-c", ON_BOTH_DEVICES, NUMBA_ENABLE_CUDASIM="1").strip()
    assert names == str([f"negate float32 3x5{' bfloat16' * bool(which)}{which}" for which in ("", " 0 1", " 0", " 1")])
