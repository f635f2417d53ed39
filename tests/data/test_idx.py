"""IDX files: round trips, and one clear line for each defect."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bpcore.data.idx import CODES, find_pair, read_idx, read_images, read_labels, read_pair, write_idx
from bpcore.errors import InputError, InputTypeError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([1, 0], np.uint8)
arrays = st.sampled_from(list(CODES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


@given(array=arrays, packed=st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_files_are_read_back(tmp_path: Path, array: np.ndarray, packed: bool) -> None:
    path = tmp_path / ("a.gz" if packed else "a")
    write_idx(path, array)
    again = read_idx(path)
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()
    assert again.flags.c_contiguous
    assert again.flags.writeable
    assert [file.name for file in tmp_path.iterdir() if "part" in file.name] == []
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == packed


def test_the_bytes_follow_the_format(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", IMAGES)
    assert (tmp_path / "a").read_bytes() == b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + bytes(range(24))
    write_idx(tmp_path / "b", np.array([-2, 258], np.int16))
    assert (tmp_path / "b").read_bytes() == b"\0\0\x0b\x01\0\0\0\x02\xff\xfe\x01\x02"


def test_gzip_is_detected_by_content_not_name(tmp_path: Path) -> None:
    write_idx(tmp_path / "plain", IMAGES)
    (tmp_path / "named.gz").write_bytes((tmp_path / "plain").read_bytes())
    (tmp_path / "packed").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    assert np.array_equal(read_idx(tmp_path / "named.gz"), IMAGES)
    assert np.array_equal(read_idx(tmp_path / "packed"), IMAGES)


def content(array: np.ndarray, tmp_path: Path) -> bytes:
    write_idx(tmp_path / "whole", array)
    return (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw[:-5], "truncated: shape (2, 3, 4) needs 24 bytes after the header, but there are 19"),
        (lambda raw: raw[:10], "truncated: its header needs 16 bytes, but it has 10"),
        (lambda raw: raw[:3], "truncated: 3 bytes"),
        (lambda raw: b"", "truncated: 0 bytes"),
        (lambda raw: raw + b"xyz", "has 3 extra bytes: shape (2, 3, 4) needs 24"),
        (lambda raw: b"<!DOCTYPE html>", "is not an IDX file: it begins with 3c 21 44 4f"),
        (lambda raw: b"\0\0\x07" + raw[3:], "is not an IDX file: it begins with 00 00 07 03"),
        (lambda raw: b"\0\0\x08\xc8" + raw[4:], "is not an IDX file"),
        (lambda raw: raw[:4] + b"\xff" * 12 + raw[16:], "truncated: shape (4294967295, 4294967295, 4294967295) needs"),
    ],
)
def test_each_defect_is_one_line_with_the_file(tmp_path: Path, packed: bool, change, said: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    raw = change(content(IMAGES, tmp_path))
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(InputError) as error:
        read_idx(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw[:-12], "truncated: its gzip data ends early"),
        (lambda raw: raw[:-8] + b"\0\0\0\0" + raw[-4:], "broken gzip data"),
        (lambda raw: raw[:12] + b"\xff\xff\xff" + raw[15:], "broken gzip data"),
        (lambda raw: raw[:2] + b"\x63" + raw[3:], "broken gzip data"),
    ],
)
def test_broken_gzip(tmp_path: Path, change, said: str) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(change(gzip.compress(content(IMAGES, tmp_path))))
    with pytest.raises(InputError, match=said):
        read_idx(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file: .*nowhere"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a folder, not a file"):
        read_idx(tmp_path)
    with pytest.raises(InputTypeError, match="is not a path"):
        read_idx(3)  # type: ignore[arg-type]


def test_swapped_files_are_named(tmp_path: Path) -> None:
    write_idx(tmp_path / "images", IMAGES)
    write_idx(tmp_path / "labels", LABELS)
    with pytest.raises(InputError, match=r"labels holds 2 labels where images are expected"):
        read_images(tmp_path / "labels")
    with pytest.raises(InputError, match=r"images holds 2 images where labels are expected"):
        read_labels(tmp_path / "images")


def test_other_kinds_of_array_are_neither_images_nor_labels(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", np.zeros((2, 3, 4), np.float32))
    write_idx(tmp_path / "b", np.zeros((2, 3), np.uint8))
    write_idx(tmp_path / "c", np.zeros((0, 3, 4), np.uint8))
    for name, said in (("a", "holds float32"), ("b", "expected: uint8 images"), ("c", "holds no images")):
        with pytest.raises(InputError, match=said):
            read_images(tmp_path / name)
    with pytest.raises(InputError, match="expected: integer labels"):
        read_labels(tmp_path / "b")


def test_labels_out_of_range_and_counts_that_differ(tmp_path: Path) -> None:
    write_idx(tmp_path / "images", IMAGES)
    write_idx(tmp_path / "labels", np.array([3, 10], np.uint8))
    write_idx(tmp_path / "three", np.array([1, 2, 3], np.uint8))
    write_idx(tmp_path / "signed", np.array([0, -1], np.int32))
    with pytest.raises(InputError, match=r"labels: label 10 of sample 1 is out of range; accepted: 0 to 9"):
        read_labels(tmp_path / "labels", 10)
    with pytest.raises(InputError, match="label -1"):
        read_labels(tmp_path / "signed", 10)
    with pytest.raises(InputError, match=r"images holds 2 images, but .*three holds 3 labels"):
        read_pair(tmp_path / "images", tmp_path / "three")
    x, y = read_pair(tmp_path / "images", tmp_path / "labels")
    assert x.shape == (2, 3, 4)
    assert y.dtype == np.int64


def test_writing_what_idx_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputTypeError, match="IDX has no type for int64"):
        write_idx(tmp_path / "a", np.zeros(3, np.int64))
    with pytest.raises(InputError, match="cannot be written"):
        write_idx(tmp_path / "no" / "a", IMAGES)
    assert list(tmp_path.iterdir()) == []


def test_both_spellings_plain_and_packed(tmp_path: Path) -> None:
    assert find_pair(tmp_path, "train") is None
    write_idx(tmp_path / "train-images.idx3-ubyte.gz", IMAGES)
    with pytest.raises(InputError, match=r"lacks train-labels-idx1-ubyte .*but has train-images.idx3-ubyte.gz"):
        find_pair(tmp_path, "train")
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    found = find_pair(tmp_path, "t10k", "train")
    assert found is not None
    assert [path.name for path in found] == ["train-images.idx3-ubyte.gz", "train-labels-idx1-ubyte"]
