"""The benchmark's reports: summary, tables, Markdown, cliffs, the chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bpcore.bench import measure, plot, report
from bpcore.plots import style
from support.fake_contenders import job_of, measured, pretenders


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Two networks and three batches; in every cell bpcore takes 40, products 20, JAX 60 and PyTorch 90 us."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "PAUSE", 0.0)
        found, _, _ = measured(job_of("784-512-512-10,784-30-10", "10,32,128"), pretenders())
    for cell in found["cells"]:
        for name, us in (("bpcore", 40.0), ("products", 20.0), ("jax", 60.0), ("torch", 90.0)):
            cell["results"][name] |= {"us_per_step": us, "share_of_products": 20.0 / us, "quartiles_us": [us, us]}
    return found


def test_the_summary(results: dict[str, Any]) -> None:
    assert report.summary(results) == [
        "numpy: best peer / bpcore, geometric mean of 6 cells: 1.50",
        "numpy: bpcore is at least as fast as the best peer in 6 of 6 cells",
        "numpy: PyTorch eager / bpcore, geometric mean of 6 cells: 2.25",
        "numpy: share of the products' speed, geometric mean of 6 cells: 50 %",
    ]


def test_the_summary_counts_what_was_measured(results: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(results))
    changed["cells"][0]["results"]["jax"]["us_per_step"] = 20.0
    changed["cells"][1]["results"]["bpcore"] = {"error": "no memory"}
    lines = report.summary(changed)
    mean = (0.5 * 1.5**4) ** 0.2
    assert lines[0] == f"numpy: best peer / bpcore, geometric mean of 5 cells: {mean:.2f}"
    assert lines[1].endswith("in 4 of 5 cells")
    _, rows = report.table(changed, "numpy")
    assert sum("failed" in row for row in rows) == 1
    assert report.failures(changed, "numpy") == ["784-512-512-10 batch 32, bpcore: no memory"]


def test_the_table(results: dict[str, Any]) -> None:
    header, rows = report.table(results, "numpy")
    assert header == [
        "network",
        "batch",
        "us/step",
        "quartiles",
        "samples/s",
        "GFLOP/s",
        "roofline",
        "products",
        "torch",
        "jax",
    ]
    assert [row[:2] for row in rows[:4]] == [
        ["784-30-10", "10"],
        ["784-30-10", "32"],
        ["784-30-10", "128"],
        ["784-512-512-10", "10"],
    ]
    first = dict(zip(header, rows[0], strict=True))
    assert (first["us/step"], first["torch"], first["jax"], first["products"]) == (
        "40.0",
        "90.0 (2.25)",
        "60.0 (1.50)",
        "50 %",
    )


def test_markdown(results: dict[str, Any]) -> None:
    page = report.markdown(results)
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 6
    assert len({line.count("|") for line in lines}) == 1
    for part in ("CPU: a processor, 2 cores, 2 threads", "medians of 2 rounds", "geometric mean of 6 cells: 1.50"):
        assert part in page


def test_a_cliff_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAUSE", 0.0)
    found, _, _ = measured(job_of("784-64-10", "16,32,64,128"), pretenders())
    for cell in found["cells"]:
        cell["results"]["bpcore"]["gflops"] = 10.0 if cell["batch"] < 64 else 2.0
    (line,) = report.cliffs(found)
    assert line == "numpy: batch, 784-64-10: from 32 to 64 the time per operation grows by a factor of 5.0"
    for cell in found["cells"]:
        cell["results"]["bpcore"]["gflops"] = 10.0
    assert "no cliff" in report.cliffs(found)[0]


def test_numbers() -> None:
    assert [report.number(one) for one in (0, 0.12345, 9.876, 34.56, 345.6, 34567.8)] == [
        "0",
        "0.123",
        "9.88",
        "34.6",
        "346",
        "34,568",
    ]
    assert report.share(None) == "-"
    assert report.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)


@pytest.mark.parametrize("suffix", style.SUFFIXES)
def test_the_picture(results: dict[str, Any], tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    both = json.loads(json.dumps(results))
    both["cells"] += [cell | {"device": "cupy"} for cell in both["cells"]]
    both["contenders"]["cupy"] = {"bpcore": {"device": "GPU: one"}}
    for number, found in enumerate((results, both)):
        path = tmp_path / f"{number}{suffix}"
        plot.draw(found, path)
        assert path.stat().st_size > 1000
    if suffix == ".svg":
        drawn = (tmp_path / "1.svg").read_text(encoding="utf-8")
        assert drawn.count('id="axes_') == 9  # three panels per device, and a row for both


def panels(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch, path: Path) -> list[Any]:
    """The axes of a chart."""
    pytest.importorskip("matplotlib")
    made: list[Any] = []
    new_figure = plot.new_figure

    def noted(*size: float) -> Any:
        made.append(new_figure(*size))
        return made[-1]

    monkeypatch.setattr(plot, "new_figure", noted)
    plot.draw(results, path)
    return next(list(figure.axes) for figure in made if figure.get_suptitle())


def test_a_picture_has_no_empty_places(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bpcore alone, as `--scaling` measures it, without peers and products."""
    alone = json.loads(json.dumps(results))
    for cell in alone["cells"]:
        own = cell["results"]["bpcore"]
        del own["share_of_products"]
        cell["results"] = {"bpcore": own | {"share_of_roofline": 0.5}}
    axes = panels(alone, monkeypatch, tmp_path / "alone.svg")
    assert [axis.get_title() for axis in axes] == ["us per step against the batch", "share of the roofline"]


def test_lines_of_two_networks_are_distinguishable(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks have markers and batches have colours; no two lines share both."""
    several = json.loads(json.dumps(results))
    networks = [[784, 30, 10], [784, 128, 10], [784, 512, 512, 10], [784, 2048, 2048, 10]]
    several["cells"] = [cell | {"network": network} for network in networks for cell in several["cells"][:3]]
    _, _, widths, _ = panels(several, monkeypatch, tmp_path / "widths.svg")
    assert widths.get_title() == "us per step against the width (dashed: the best peer)"
    handles, labels = widths.get_legend_handles_labels()
    looks = {label: (line.get_color(), line.get_marker()) for line, label in zip(handles, labels, strict=True)}
    assert len(set(looks.values())) == len(looks) == 6
    for batch in (10, 32, 128):
        (colour, marker), (same, another) = (looks[f"784-{form}-10 at batch {batch}"] for form in ("W", "W-W"))
        assert colour == same
        assert marker != another
