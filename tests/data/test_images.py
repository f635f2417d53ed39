"""Image files as network inputs: a photographed digit is prepared as MNIST's were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bpcore.data import images, load_image, read_idx
from bpcore.errors import InputError
from support.repository import mnist_folder

SHAPE = (28, 28)


def photograph(
    digit: np.ndarray, *, noise: float = 4, shadow: bool = False, specks: int = 0, size: int = 180
) -> Image.Image:
    """A digit (28, 28) in dark ink on unevenly lit paper, 300 x 400 pixels."""
    rng = np.random.default_rng(5)
    ink = np.asarray(Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC), float) / 255
    rows, columns = np.mgrid[:400, :300]
    paper = 230 - 70 * columns / 300 - 40 * (rows / 400) ** 2
    if shadow:
        paper = np.where(columns + 0.3 * rows > 210, 0.75 * paper, paper)
    mask = np.zeros(paper.shape)
    mask[130 : 130 + size, 60 : 60 + size] = ink
    picture = paper * (1 - mask) + 60 * mask + rng.normal(0, noise, paper.shape)
    for row, column in rng.integers(0, 290, (specks, 2)):
        picture[row : row + 4, column : column + 4] -= 80
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def drawn() -> np.ndarray:
    """A 4 in white on black, prepared as in MNIST: within 20 x 20, its centre of mass in the middle."""
    picture = Image.new("L", (200, 200))
    pen = ImageDraw.Draw(picture)
    pen.line([(70, 0), (0, 110), (140, 110)], 255, 18, joint="curve")
    pen.line([(100, 50), (100, 199)], 255, 18)
    crop = picture.crop(picture.getbbox())
    height, width = 20, round(20 * crop.width / crop.height)
    small = np.asarray(crop.resize((width, height), Image.Resampling.BILINEAR))
    digit = np.zeros(SHAPE, np.uint8)
    mass = small / small.sum()
    top, left = round(14 - mass.sum(1) @ np.arange(height)), round(14 - mass.sum(0) @ np.arange(width))
    digit[top : top + height, left : left + width] = small
    return digit


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The largest cosine of two images over shifts by up to one pixel, because centres of mass are rounded."""
    a, b = a.reshape(SHAPE).astype(float), b.reshape(SHAPE).astype(float)
    moved = [np.roll(a, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return max(float((m * b).sum()) for m in moved) / float(np.linalg.norm(a) * np.linalg.norm(b))


def load(tmp_path: Path, picture: Image.Image, name: str = "photo.png", **options: Any) -> np.ndarray:
    picture.save(tmp_path / name)
    return load_image(tmp_path / name, SHAPE, **options)


@pytest.mark.parametrize(
    "options", [{}, {"shadow": True}, {"specks": 12, "noise": 10}, {"size": 90, "noise": 8}, {"noise": 0}]
)
def test_a_photographed_digit(tmp_path: Path, options: dict[str, Any]) -> None:
    digit = drawn()
    row = load(tmp_path, photograph(digit, **options))
    assert row.shape == (1, 784)
    assert row.dtype == np.uint8
    image = row.reshape(SHAPE)
    assert likeness(image, digit) > 0.93
    assert not image[[0, 1, -1, -2]].any(), "the paper's noise is gone"
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    centre = image.sum(1) @ np.arange(28) / image.sum(), image.sum(0) @ np.arange(28) / image.sum()
    assert np.abs(np.array(centre) - 14).max() <= 0.5 + 1e-9
    assert image.max() == 255


def test_real_digits(tmp_path: Path) -> None:
    folder = mnist_folder()
    if folder is None:
        pytest.skip("no real MNIST: set BPCORE_DATA_DIR to the folder that holds mnist/")
    digits = read_idx(folder / "mnist" / "t10k-images-idx3-ubyte.gz")[:20]
    found = [likeness(load(tmp_path, photograph(digit)), digit) for digit in digits]
    assert np.median(found) > 0.96
    assert min(found) > 0.85
    for digit in digits[:5]:
        assert np.array_equal(load(tmp_path, Image.fromarray(digit)), digit.reshape(1, 784)), "it stays as it is"
        assert likeness(load(tmp_path, Image.fromarray(255 - digit)), digit) > 0.95


def test_components_of_a_mask() -> None:
    rows = ["##...#.#", "..#..#.#", ".....###", "#.......", "#.#####.", "#.#...#.", "#.###.#.", "#.....#.", "#######."]
    mask = np.array([[cell == "#" for cell in row] for row in rows])
    labels = images._components(mask)
    assert (labels[~mask] == 0).all()
    assert labels[0, 0] == labels[1, 2]
    assert labels[0, 5] == labels[0, 7]
    assert labels[3, 0] == labels[6, 3]
    assert len({labels[0, 0], labels[0, 5], labels[3, 0], 0}) == 4
    assert len(np.unique(labels)) == 4


def test_modes_of_a_picture_give_the_same(tmp_path: Path) -> None:
    picture = photograph(drawn(), noise=0)
    plain = load(tmp_path, picture)
    inverted = load(tmp_path, Image.fromarray(255 - np.asarray(picture)))
    assert likeness(plain, inverted) > 0.999
    wide = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    for other in (picture.convert("RGB"), picture.convert("RGBA"), wide, picture.convert("P"), picture.convert("CMYK")):
        name = "photo.tif" if other.mode == "CMYK" else "photo.png"
        assert likeness(plain, load(tmp_path, other, name)) > 0.99
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    assert likeness(plain, load_image(tmp_path / "turned.png", SHAPE)) > 0.999


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_on_a_transparent_background(tmp_path: Path, ink: int) -> None:
    digit = np.kron(drawn(), np.ones((5, 5), np.uint8))
    layers = np.full((*digit.shape, 4), ink, np.uint8)
    layers[..., 3] = digit
    assert likeness(load(tmp_path, Image.fromarray(layers)), drawn()) > 0.95


def test_a_thin_pen_and_a_small_picture(tmp_path: Path) -> None:
    picture = Image.new("L", (500, 400), 240)
    ImageDraw.Draw(picture).line([(200, 100), (300, 100), (240, 300)], 40, 3)
    seven = load(tmp_path, picture).reshape(SHAPE)
    assert seven.sum() / 255 > 40, "MNIST's strokes are two pixels wide"
    small = Image.fromarray(255 - drawn()[3:25, 3:25])
    assert likeness(load(tmp_path, small), drawn()) > 0.95
    large = photograph(drawn()).resize((1500, 2000))
    assert likeness(load(tmp_path, large), drawn()) > 0.93


def test_other_sizes_and_other_ranges(tmp_path: Path) -> None:
    row = load(tmp_path, photograph(drawn()), top=16)
    assert row.max() == 16
    eight = load_image(tmp_path / "photo.png", (8, 8), top=16)
    assert eight.shape == (1, 64)
    assert np.flatnonzero(eight.reshape(8, 8).any(1)).tolist() == list(range(8))
    wide = load_image(tmp_path / "photo.png", (20, 40))
    assert wide.shape == (1, 800)


@pytest.mark.parametrize("level", [0, 130, 255])
@pytest.mark.parametrize("noise", [0, 6])
def test_a_blank_page_is_one_clear_line(tmp_path: Path, level: int, noise: float) -> None:
    page = np.random.default_rng(1).normal(level, noise, (300, 200)) - np.linspace(0, 30 * (noise > 0), 200)
    with pytest.raises(InputError, match=r"photo.png is blank: "):
        load(tmp_path, Image.fromarray(page.clip(0, 255).astype(np.uint8)))
    with pytest.raises(InputError, match=r"photo.png is blank: "):
        load(tmp_path, Image.fromarray(np.full(SHAPE, level, np.uint8)))


def test_files_that_are_not_images(tmp_path: Path) -> None:
    photograph(drawn()).save(tmp_path / "whole.jpg")
    raw = (tmp_path / "whole.jpg").read_bytes()
    for content in (b"", b"hello", raw[:1000], b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(InputError, match=r"broken.png is not a readable image"):
            load_image(tmp_path / "broken.png", SHAPE)
    with pytest.raises(InputError, match="no such file"):
        load_image(tmp_path / "nowhere.png", SHAPE)
    with pytest.raises(InputError, match="is a folder"):
        load_image(tmp_path, SHAPE)


def save(tmp_path: Path, array: np.ndarray) -> Path:
    np.save(tmp_path / "a.npy", array)
    return tmp_path / "a.npy"


@pytest.mark.parametrize("shape", [(28, 28), (784,), (3, 28, 28), (3, 784)])
@pytest.mark.parametrize("kind", ["uint8", "unit", "float", "bool"])
def test_arrays_in_every_accepted_form(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    rows = np.stack([drawn(), drawn().T, 255 - drawn()])[: 3 if shape[0] == 3 else 1].reshape(shape)
    wanted = rows.reshape(-1, 784)
    if kind == "bool":
        wanted = (wanted > 100) * np.uint8(255)
    given = {"uint8": rows, "unit": rows.astype(np.float32) / 255, "float": rows.astype(float), "bool": rows > 100}[
        kind
    ]
    result = load_image(save(tmp_path, given), SHAPE)
    assert result.dtype == np.uint8
    assert np.array_equal(result, wanted)


def test_arrays_with_another_range(tmp_path: Path) -> None:
    sixteen = np.arange(64, dtype=np.uint8) % 17
    assert np.array_equal(load_image(save(tmp_path, sixteen), (8, 8), top=16), sixteen[None])
    assert np.array_equal(load_image(save(tmp_path, sixteen / 16), (8, 8), top=16), sixteen[None])
    assert load_image(save(tmp_path, np.arange(64, dtype=np.uint8) * 4), (8, 8), top=16).max() == 16


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((28, 27)), r"has shape \(28, 27\); accepted: \(28, 28\), \(784,\), \(n, 28, 28\), \(n, 784\)"),
        (np.zeros((0, 784)), "has shape"),
        (np.zeros(()), "has shape"),
        (np.zeros((2, 1, 28, 28)), "has shape"),
        (np.full((28, 28), "a"), "has dtype <U1"),
        (np.linspace(-1, 1, 784), "holds -1 to 1"),
        (np.linspace(0, 256, 784), "holds 0 to 256"),
        (np.full(784, np.nan), "holds nan"),
        (np.zeros(784), "is blank: every"),
        (np.vstack([np.arange(784) % 9, np.zeros(784)]), "is blank in image 1"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, array: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=rf"a.npy {said}"):
        load_image(save(tmp_path, array), SHAPE)


def test_broken_npy_files(tmp_path: Path) -> None:
    path = save(tmp_path, drawn())
    raw = path.read_bytes()
    np.savez(tmp_path / "b.npz", drawn())
    for content, said in [
        (raw[:-9], "is not a .npy file of numbers"),
        (b"", "is not a .npy file of numbers"),
        (b"hello", "is not a .npy file of numbers"),
        ((tmp_path / "b.npz").read_bytes(), "is an .npz archive"),
    ]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            load_image(path, SHAPE)
