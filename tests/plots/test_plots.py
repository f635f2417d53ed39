"""Plots in general: imports, names, and files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bpcore import InputError, MissingExtraError

pytest.importorskip("matplotlib")


from bpcore import plots
from bpcore.plots import style


def test_no_picture_touches_pyplot() -> None:
    program = (
        "import sys, numpy as np\nfrom bpcore import plots\nassert 'matplotlib' not in sys.modules\n"
        "plots.confusion_matrix(np.eye(3, dtype=int)).savefig(sys.argv[1])\n"
        "plots.learning_curves({'loss': [1.0]}).savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, "/dev/null"], check=True, env={"PATH": ""})


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "bpcore\[plot\]"'):
        plots.learning_curves({"loss": [1.0]})


@pytest.mark.parametrize(("text", "said"), [("a" * 30, "a" * 23 + "…"), (" a\n b", "a b"), (3, "3")])
def test_names(text: Any, said: str) -> None:
    assert style.plain(text) == said


def test_files_of_every_kind(tmp_path: Path) -> None:
    for suffix in style.SUFFIXES:
        style.check_picture(tmp_path / f"a{suffix}")
    with pytest.raises(InputError, match=r"accepted: a name that ends in \.svg, \.png, \.pdf"):
        style.check_picture(tmp_path / "a.gif")
    with pytest.raises(InputError, match=r"a\.png cannot be written: there is no folder"):
        style.check_picture(tmp_path / "nowhere" / "a.png")
