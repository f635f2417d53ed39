"""CIFAR-10: found as files or as the archive, downloaded from a local server, and its errors."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from bpcore.cli.app import main
from bpcore.data import DataUnavailable, cifar, load_cifar10, load_dataset
from bpcore.data.cifar import ARCHIVE, FILES, FOLDER
from bpcore.errors import InputError
from support.cifar import RECORDS, write_cifar
from support.local_server import Server


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary cache with small files, no other data folder, and no proxy before the local server."""
    monkeypatch.setattr(cifar, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar, "MIRRORS", ())
    monkeypatch.setenv("BPCORE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("BPCORE_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache" / "data" / "cifar10"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an archive whose checksum replaces CIFAR-10's."""
    folder = tmp_path / "published"
    write_cifar(folder, packed=True)
    monkeypatch.setattr(cifar, "SHA256", hashlib.sha256((folder / ARCHIVE).read_bytes()).hexdigest())
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["", "cifar10", FOLDER, f"cifar10/{FOLDER}"])
def test_found_in_data_dir_as_files_and_as_the_archive(tmp_path: Path, place: str, packed: bool) -> None:
    labels, images = write_cifar(tmp_path / "d" / place, packed=packed)
    data = load_dataset("CIFAR10", data_dir=tmp_path / "d")
    assert np.array_equal(np.concatenate([data.x_train, data.x_test]), images)
    assert np.array_equal(np.concatenate([data.y_train, data.y_test]), labels)
    assert (data.x_train.shape, data.x_test.shape) == ((100, 3072), (20, 3072))
    assert (data.x_train.dtype, data.y_train.dtype, data.scale) == (np.uint8, np.int64, 1 / 255)
    assert data.x_train.flags.c_contiguous
    assert (data.inputs, data.outputs, data.image_shape) == (3072, 10, None)
    assert data.classes is not None
    assert data.classes[9] == "truck"
    assert str(tmp_path / "d" / place) in data.source


def test_download_with_progress_then_from_the_cache(published: Path, own_cache: Path, serve: type[Server]) -> None:
    server = serve(published)
    calls: list[tuple[str, int, int]] = []
    data = load_cifar10(mirrors=[server.url], progress=lambda *call: calls.append(call))
    size = (published / ARCHIVE).stat().st_size
    assert calls[-1] == (ARCHIVE, size, size)
    assert data.source == f"downloaded to {own_cache}"
    assert server.asked == [ARCHIVE]
    again = load_cifar10()
    assert again.source == f"from the cache, {own_cache}"
    assert np.array_equal(again.x_test, data.x_test)


def test_a_broken_cache_is_repaired(published: Path, own_cache: Path, serve: type[Server]) -> None:
    own_cache.mkdir(parents=True)
    (own_cache / ARCHIVE).write_bytes((published / ARCHIVE).read_bytes()[:5000])
    server = serve(published)
    assert len(load_cifar10(mirrors=[server.url]).x_train) == 100
    assert server.asked == [ARCHIVE]


def test_a_forged_archive_and_a_server_that_refuses_are_one_line(
    tmp_path: Path, published: Path, own_cache: Path, serve: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar, "SHA256", "0" * 64)
    monkeypatch.setenv("BPCORE_DATA_DIR", str(tmp_path / "nowhere"))
    mirrors = [serve(published).url, serve(published, status=404).url]
    with pytest.raises(DataUnavailable) as error:
        load_cifar10(mirrors=mirrors)
    said = str(error.value)
    assert "\n" not in said
    assert "nowhere (no such folder)" in said
    assert "the file there has the wrong checksum" in said
    assert "the server says 404" in said
    assert f"Put {ARCHIVE}, or the six files" in said
    assert list(own_cache.iterdir()) == []


def test_defective_files_are_named(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    whole = (tmp_path / FILES[3]).read_bytes()
    for content, message in (
        (
            whole[:-1],
            r"data_batch_4.bin is truncated at 61,459 bytes: 20 records of 1 label and 3072 pixels take 61,460",
        ),
        (whole[:-3073], r"data_batch_4.bin is truncated at 58,387 bytes"),
        (whole + b"\0", r"data_batch_4.bin is too long"),
        (
            whole[:3073] + b"\x0a" + whole[3074:],
            r"data_batch_4.bin: label 10 of record 1 is out of range; accepted: 0 to 9",
        ),
    ):
        (tmp_path / FILES[3]).write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_cifar10(data_dir=tmp_path)
    (tmp_path / FILES[3]).unlink()
    with pytest.raises(InputError, match=r"holds data_batch_1.bin but lacks data_batch_4.bin"):
        load_cifar10(data_dir=tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_a_truncated_archive(tmp_path: Path, share: float) -> None:
    write_cifar(tmp_path, packed=True)
    content = (tmp_path / ARCHIVE).read_bytes()
    (tmp_path / ARCHIVE).write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"{ARCHIVE} is truncated or damaged"):
        load_cifar10(data_dir=tmp_path)


def test_a_damaged_archive_and_a_wrong_one(tmp_path: Path) -> None:
    write_cifar(tmp_path, packed=True)
    content = bytearray((tmp_path / ARCHIVE).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(InputError, match=rf"{ARCHIVE} is truncated or damaged"):
        load_cifar10(data_dir=tmp_path)
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as archive:
        archive.add(__file__, FOLDER + "/data_batch_1")
    with pytest.raises(InputError, match=r"lacks data_batch_1.bin: it is not the binary version"):
        load_cifar10(data_dir=tmp_path)


def test_a_cifar_model_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model trains and evaluates; `predict` turns image files into grey rows, so it refuses this model."""
    write_cifar(tmp_path / "data")
    monkeypatch.setenv("BPCORE_DATA_DIR", str(tmp_path / "data"))
    run = str(tmp_path / "run")
    assert main(["train", "cifar10", "--network", "8", "--epochs", "1", "--output", run]) == 0
    assert capsys.readouterr().out.endswith(f"saved in {run}\n")
    assert main(["evaluate", run]) == 0
    assert main(["info"]) == 0
    assert f"cifar10        available in {tmp_path / 'data'}" in capsys.readouterr().out
    assert main(["predict", run, str(tmp_path / "data" / FILES[0])]) == 2
    assert "does not say what its 3072 inputs are; use it from Python" in capsys.readouterr().err
