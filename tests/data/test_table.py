"""User tables: encoding, the codec's round trip, and one clear line for each defect."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpcore.data import TableCodec, load_dataset, load_table
from bpcore.errors import InputError, InputTypeError


def write(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def flowers(rows: int = 40) -> str:
    """Two classes, and columns of numbers, of text and of a constant."""
    lines = ["width,colour,one,kind"]
    lines += [f"{i % 7 + 0.5},{('red', 'blue', 'white')[i % 3]},5,{('rose', 'lily')[i % 2]}" for i in range(rows)]
    return "\n".join(lines) + "\n"


def test_classification(tmp_path: Path) -> None:
    data = load_table(write(tmp_path, flowers()), "kind", seed=1)
    assert (data.name, data.classes, data.inputs, data.outputs) == ("table", ("lily", "rose"), 5, 2)
    assert (data.x_train.shape, data.x_test.shape) == ((32, 5), (8, 5))
    assert (data.x_train.dtype, data.y_train.dtype) == (np.float32, np.int64)
    assert np.bincount(data.y_test).tolist() == [4, 4]
    width, colours, constant = data.x_train[:, 0], data.x_train[:, 1:4], data.x_train[:, 4]
    assert abs(width.mean()) < 1e-6
    assert width.std() == pytest.approx(1, abs=1e-6)
    assert (colours.sum(axis=1) == 1).all()
    assert not constant.any()
    assert "32 rows to train, 8 held out with seed 1" in data.source
    assert data.codec is not None
    assert [feature.levels for feature in data.codec.features] == [None, ("blue", "red", "white"), None]
    assert data.codec.features[2].deviation == 1
    assert data.codec.decode_targets(np.array([[0.1, 0.9], [2, 1]])).tolist() == ["rose", "lily"]
    assert data.codec.decode_targets(np.array([1, 0])).tolist() == ["rose", "lily"]


def test_regression_is_standardised_and_decoded(tmp_path: Path) -> None:
    text = "x,price\n" + "".join(f"{i},{i * 1000.5}\n" for i in range(50))
    data = load_dataset(write(tmp_path, text), target="price")
    assert (data.classes, data.outputs) == (None, 1)
    assert data.y_train.dtype == np.float32
    assert data.y_train.shape == (40, 1)
    assert data.y_train.std() == pytest.approx(1, abs=1e-5)
    assert data.codec is not None
    decoded = data.codec.decode_targets(data.y_test)
    assert np.allclose(np.sort(decoded[:, 0]) / 1000.5, np.sort(np.rint(decoded[:, 0] / 1000.5)), atol=1e-4)
    assert np.array_equal(data.codec.decode_targets(data.y_test[:, 0]), decoded)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["1", "0"] * 5, "auto", ("0", "1")),
        (["1.0", "2.0"] * 5, "auto", ("1", "2")),
        (["-1", "10", "9"] * 4, "auto", ("-1", "9", "10")),
        ([str(i) for i in range(20)] * 2, "auto", tuple(map(str, range(20)))),
        ([str(i) for i in range(21)] * 2, "auto", None),
        ([str(i) for i in range(10)], "auto", None),
        (["1.5", "2.5"] * 5, "auto", None),
        (["1.5", "2.5"] * 5, "classification", ("1.5", "2.5")),
        (["1", "0"] * 5, "regression", None),
        (["True", "False"] * 5, "auto", ("False", "True")),
    ],
)
def test_which_targets_are_classes(
    tmp_path: Path, values: list[str], task: str, classes: tuple[str, ...] | None
) -> None:
    text = "x,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))
    assert load_table(write(tmp_path, text), "y", task=task).classes == classes


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_dialects(tmp_path: Path, delimiter: str, mark: str, end: str) -> None:
    rows = ["name of x,kind", *(f'{i}, "a, b; c\td{i % 2}"' for i in range(10)), "", ""]
    text = mark + end.join(rows)
    if delimiter != ",":
        text = mark + end.join(["name of x,kind", *(f'{i},"a, b; c\td{i % 2}"' for i in range(10)), ""])
        head, *body = text.split(end)
        text = end.join([head.replace(",", delimiter), *(line.replace(",", delimiter, 1) for line in body)])
    data = load_table(write(tmp_path, text), "kind")
    assert data.classes == ("a, b; c\td0", "a, b; c\td1")
    assert data.inputs == 1


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("", "y", "is empty"),
        ("x,y\n", "y", "has a header but no rows"),
        ("x,y\n1,a\n2\n", "y", ", row 3: 1 cells, but the header names 2 columns"),
        ("x,y\n1,a\n\n2,b,c\n", "y", ", row 4: 3 cells"),
        ("x,y\n1,a\n,b\n", "y", ", row 3, column 'x': the cell is empty"),
        ("x,y\n1,a\nNaN,b\n", "y", ", row 3, column 'x': the cell holds 'NaN'"),
        ("x,y\n1,a\nNA,b\n", "y", ", row 3, column 'x': 'NA' is not a finite number"),
        ("x,y\n1,a\n1e999,b\n", "y", ", row 3, column 'x': '1e999' is not a finite number"),
        ("x,y\n1,a\n2,\n", "y", ", row 3, column 'y': the cell is empty"),
        ("x,y\n1,a\n2,nan\n", "y", ", row 3, column 'y': the cell holds 'nan'"),
        ("x,y\nred,a\n,b\n", "y", ", row 3, column 'x': the cell is empty"),
        ("x,kind\n1,a\n2,b\n", "kin", "unknown target column 'kin' (did you mean 'kind'?); accepted: kind, x"),
        ("x,y\n1,a\n2,b\n", None, "name the column to learn as the target (--target); the columns are x, y"),
        ("1,2\n3,4\n", "y", ", row 1: numbers, where a header"),
        ("y\na\nb\n", "y", "has no column besides the target 'y'"),
        (",y\n1,a\n2,b\n", "y", ", row 1: column 1 has no name"),
        ("x,x,y\n1,2,a\n2,3,b\n", "y", ", row 1: columns 1 and 2 are both named 'x'"),
        ("x,y\n1,a\n2,a\n", "y", "the only class is 'a'"),
        ('x,y\n1,"a\n2,b\n', "y", ", row 2: broken CSV"),
        ("x;y\n1,5;a\n2,5;b\n", "y", ", row 2, column 'x': '1,5' is a number with a comma in it"),
        ("x,y\n" + "".join(f"name {i},{i % 2}\n" for i in range(30)), "y", "30 different texts in 30 rows"),
        (
            "x,y\n" + "".join(f"{i if i != 7 else '7l'},{i % 2}\n" for i in range(30)),
            "y",
            ", row 9, column 'x': '7l' is not",
        ),
    ],
)
def test_each_defect_is_one_line_with_file_row_and_column(
    tmp_path: Path, text: str, target: str | None, said: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_dataset(path, target=target)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_more_defects(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("x,y\n1,a\n2,caf\xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"row 3: not UTF-8 text"):
        load_table(tmp_path / "latin.csv", "y")
    with pytest.raises(InputError, match="no such file"):
        load_table(tmp_path / "nowhere.csv", "y")
    with pytest.raises(InputError, match="'a' is not a finite number"):
        load_table(write(tmp_path, "x,y\n1,a\n2,b\n"), "y", task="regression")
    with pytest.raises(InputError, match="unknown task"):
        load_table(write(tmp_path, "x,y\n1,a\n2,b\n"), "y", task="ranking")
    wide = ",".join(f"pixel{i}" for i in range(500)) + "\n" + ",".join("1" * 500) + "\n"
    with pytest.raises(InputError) as error:
        load_table(write(tmp_path, wide), "pixl7")
    assert "there are 500, among them" in str(error.value)
    assert len(str(error.value)) < 300


def test_a_level_only_in_the_test_part_is_all_zeros(tmp_path: Path) -> None:
    lines = [f"{('red', 'blue')[i % 2]},{i % 3 == 0:d}" for i in range(30)]
    for rare in range(30):
        text = "colour,y\n" + "\n".join(["green,0" if i == rare else line for i, line in enumerate(lines)])
        data = load_table(write(tmp_path, text), "y")
        if data.inputs == 2:
            assert (data.x_test.sum(axis=1) == 0).sum() == 1
            break
    else:
        pytest.fail("no row was held out")


def test_new_rows(tmp_path: Path) -> None:
    path = write(tmp_path, flowers())
    codec = load_table(path, "kind").codec
    assert codec is not None
    rows = [{"width": 3.5, "colour": "red", "one": 5, "more": "?"}, {"width": "1.5", "colour": "blue", "one": "5"}]
    encoded = codec.encode_rows(rows)
    assert encoded.dtype == np.float32
    assert np.array_equal(encoded[:, 1:4], [[0, 1, 0], [1, 0, 0]])
    new = write(tmp_path, "one;more;colour;width\n5;x;red;3.5\n5;y;blue;1.5\n", "new.csv")
    assert np.array_equal(codec.encode_rows(str(new)), encoded)
    for bad, said in [
        ({"width": 1, "colour": "rde", "one": 5}, r"row 1, column 'colour': unknown level 'rde' .did you mean 'red'"),
        ({"width": None, "colour": "red", "one": 5}, "row 1, column 'width': the cell is empty"),
        ({"width": float("nan"), "colour": "red", "one": 5}, "row 1, column 'width': the cell holds 'nan'"),
        ({"width": 1, "colour": None, "one": 5}, "row 1, column 'colour': the cell is empty"),
        ({"width": "wide", "colour": "red", "one": 5}, "row 1, column 'width': 'wide' is not a finite number"),
        ({"width": 1e300, "colour": "red", "one": 5}, "row 1, column 'width': 1e.300 is too far from the values"),
        (
            {"Width": 1, "colour": "red", "one": 5},
            r"row 1: there is no column 'width', which the model needs .did you mean 'Width'",
        ),
    ]:
        with pytest.raises(InputError, match=said):
            codec.encode_rows([bad])
    with pytest.raises(InputError, match=r"new.csv, row 3, column 'colour': unknown level 'pink'"):
        codec.encode_rows(write(tmp_path, "one,colour,width\n5,red,3.5\n5,pink,1.5\n", "new.csv"))
    with pytest.raises(
        InputError, match=r"new.csv: there is no column 'width', which the model needs; the columns are one, colour$"
    ):
        codec.encode_rows(write(tmp_path, "one,colour\n5,red\n", "new.csv"))
    with pytest.raises(InputError, match="no rows"):
        codec.encode_rows([])
    with pytest.raises(InputTypeError, match="row 1 is 3"):
        codec.encode_rows([3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="column 'colour' holds texts"):
        codec.encode_rows(np.zeros((2, 3)))
    for outputs in (np.zeros((2, 3)), np.array([0, 2]), np.array([0.5, 1.0])):
        with pytest.raises(InputError):
            codec.decode_targets(outputs)


cells = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers(-(10**6), 10**6).map(str)
words = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=5).map(
    lambda t: "t" + t
)


@given(
    numbers=st.lists(cells, min_size=6, max_size=6),
    texts=st.lists(words, min_size=6, max_size=6),
    targets=st.lists(st.floats(-1e9, 1e9).map(repr), min_size=6, max_size=6, unique=True),
    delimiter=st.sampled_from(",;\t"),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_codec_survives_json_and_encodes_the_file_as_it_was(
    tmp_path: Path, numbers: list[str], texts: list[str], targets: list[str], delimiter: str
) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerow(["number", "text", "target"])
        writer.writerows(zip(numbers, texts, targets, strict=True))
    data = load_table(path, "target", task="regression", test_fraction=0.0)
    assert data.codec is not None
    codec = TableCodec.from_json(json.loads(json.dumps(data.codec.to_json())))
    assert codec == data.codec
    assert data.x_test.shape == (0, data.inputs)
    rows = [dict(zip(["number", "text"], pair, strict=True)) for pair in zip(numbers, texts, strict=True)]
    for given_rows in (path, rows):
        encoded = codec.encode_rows(given_rows)
        assert sorted(map(bytes, encoded)) == sorted(map(bytes, data.x_train))
    assert np.isfinite(data.x_train).all()
    assert np.abs(data.x_train[:, 0].mean(dtype=np.float64)) < 1e-5
    decoded = codec.decode_targets(data.y_train)[:, 0]
    scale = max(abs(float(target)) for target in targets)
    assert np.allclose(sorted(decoded), sorted(map(float, targets)), rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize(
    "damage", [lambda d: d.pop("features"), lambda d: d["features"].append(3), lambda d: d.update(classes=4)]
)
def test_a_damaged_codec(tmp_path: Path, damage: Any) -> None:
    codec = load_table(write(tmp_path, flowers()), "kind").codec
    assert codec is not None
    data = codec.to_json()
    damage(data)
    with pytest.raises(InputError, match="codec is damaged"):
        TableCodec.from_json(data)


IMAGES = np.arange(40 * 12, dtype=np.uint16).reshape(40, 3, 4).astype(np.uint8)
FLOATS = np.linspace(-3, 9, 80, dtype=np.float32).reshape(40, 2)
LABELS = np.arange(40) % 4


def save(tmp_path: Path, **arrays: np.ndarray) -> Path:
    np.savez(tmp_path / "arrays.npz", **arrays)
    return tmp_path / "arrays.npz"


def test_npz_of_images(tmp_path: Path) -> None:
    data = load_dataset(save(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:5], y_test=LABELS[:5]))
    assert (data.image_shape, data.scale, data.codec, data.classes) == ((3, 4), 1 / 255, None, ("0", "1", "2", "3"))
    assert np.array_equal(data.x_train, IMAGES.reshape(40, 12))
    assert data.x_train.dtype == np.uint8
    assert np.array_equal(data.y_test, LABELS[:5])
    many = load_dataset(save(tmp_path, x=IMAGES, y=np.arange(40)))
    assert many.outputs == 40, "labels of images are classes, however many"
    regression = load_dataset(save(tmp_path, x=IMAGES, y=np.linspace(0, 1, 40)))
    assert regression.codec is not None
    assert regression.classes is None
    assert np.array_equal(regression.codec.encode_rows(IMAGES.reshape(40, 12)), IMAGES.reshape(40, 12))


def test_npz_of_numbers(tmp_path: Path) -> None:
    data = load_dataset(save(tmp_path, X=FLOATS, Y=np.array(["b", "a"] * 20)))
    assert (data.x_train.shape, data.x_test.shape, data.classes) == ((32, 2), (8, 2), ("a", "b"))
    assert np.abs(data.x_train.mean(axis=0)).max() < 1e-6
    assert data.codec is not None
    np.save(tmp_path / "new.npy", FLOATS)
    new = data.codec.encode_rows(tmp_path / "new.npy")
    assert {bytes(row) for row in data.x_test} <= {bytes(row) for row in new}
    assert np.array_equal(data.codec.encode_rows(FLOATS[3]), new[3:4])
    with pytest.raises(InputError, match=r"the array has shape \(2, 3\) and dtype float64; needed: numbers \(n, 2\)"):
        data.codec.encode_rows(np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"the array, row 2, column 'x1': nan is not a finite number"):
        data.codec.encode_rows(np.array([[0, 0], [0, np.nan]]))


def test_npz_targets(tmp_path: Path) -> None:
    one_hot = load_dataset(save(tmp_path, x=FLOATS, y=np.eye(4)[LABELS]))
    assert one_hot.classes == ("0", "1", "2", "3")
    two = load_dataset(save(tmp_path, x=FLOATS, y=FLOATS * 2 + 1))
    assert two.codec is not None
    assert (two.outputs, two.y_train.shape) == (2, (32, 2))
    decoded = np.concatenate([two.codec.decode_targets(part) for part in (two.y_train, two.y_test)])
    assert np.allclose(np.sort(decoded, axis=0), FLOATS * 2 + 1, atol=1e-5)
    column = load_dataset(save(tmp_path, x=FLOATS, y=LABELS[:, None]))
    assert column.outputs == 4
    forced = load_dataset(save(tmp_path, x=FLOATS, y=LABELS), task="regression")
    assert forced.outputs == 1


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"x": FLOATS}, {}, "holds x, but no y"),
        ({"z": FLOATS}, {}, "holds no arrays of these names; needed: x and y, or"),
        ({"x_train": FLOATS, "y_train": LABELS, "x_test": FLOATS}, {}, "but no y_test"),
        ({"x": FLOATS, "y": LABELS[:3]}, {}, "x has 40 samples, but y has 3"),
        ({"x": FLOATS[:0], "y": LABELS[:0]}, {}, "x has shape (0, 2)"),
        ({"x": FLOATS[:, 0], "y": LABELS}, {}, "x has shape (40,) and dtype float32; needed"),
        ({"x": FLOATS.astype(str), "y": LABELS}, {}, "x has shape (40, 2) and dtype <U"),
        ({"x": np.full((40, 2), np.nan), "y": LABELS}, {}, "x[0, 0] is nan"),
        ({"x": FLOATS, "y": np.array([0.0] * 39 + [np.inf])}, {}, "y[39] is inf"),
        ({"x": FLOATS, "y": np.array(["a"] * 39 + [""])}, {}, "y[39]: the cell is empty"),
        ({"x": FLOATS, "y": LABELS * 0}, {"task": "classification"}, "the only class is '0'"),
        ({"x": FLOATS, "y": FLOATS}, {"task": "classification"}, "y[0] is [-3.0, "),
        (
            {"x": FLOATS, "y": np.array(["a", "b"] * 20)},
            {"task": "regression"},
            "y[0] is 'a'; regression needs numbers",
        ),
        ({"x": FLOATS, "y": LABELS}, {"target": "y"}, "in an .npz file the target is y"),
        (
            {"x_train": FLOATS, "y_train": LABELS, "x_test": FLOATS[:2], "y_test": np.array([1, 9])},
            {},
            "y_test[1]: the class '9' is in the test part only",
        ),
        (
            {"x_train": FLOATS, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS},
            {},
            "x_train has shape (40, 2) and dtype float32, but x_test (40, 3, 4) and uint8",
        ),
        ({"x": np.array([[{}]]), "y": LABELS[:1]}, {}, "is not a valid .npz file"),
    ],
)
def test_npz_defects(tmp_path: Path, arrays: dict[str, np.ndarray], options: dict[str, Any], said: str) -> None:
    path = save(tmp_path, **arrays)
    with pytest.raises(InputError) as error:
        load_dataset(path, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_npz_files(tmp_path: Path) -> None:
    raw = save(tmp_path, x=FLOATS, y=LABELS).read_bytes()
    path = tmp_path / "broken.npz"
    for content in (b"", b"hello", raw[:100], raw[:-30], raw[:200] + b"\xff" * 50 + raw[250:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"broken.npz is not a valid .npz file"):
            load_dataset(path)
    np.save(tmp_path / "one.npy", FLOATS)
    path.write_bytes((tmp_path / "one.npy").read_bytes())
    with pytest.raises(InputError, match="is a single array"):
        load_dataset(path)
