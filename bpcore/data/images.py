"""Convert an image file to an input row: a photographed digit is prepared as MNIST's digits were.

MNIST's digits were scaled to fit 20 x 20 pixels, keeping their aspect ratio, and placed in 28 x 28 pixels with the
centre of mass in the middle (LeCun, Bottou, Bengio, Haffner 1998, section III.A).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bpcore.data.files import as_path, check_file, read_npy, readable
from bpcore.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Grey = NDArray[np.float64]

_WORKING = 400  # pixels on the longer side of the working copy: enough for any digit, and fast
_BACKGROUND = 64  # pixels on the longer side of the copy in which the paper's brightness is estimated
_FEWEST_LEVELS = 12.0  # ink differs from paper by at least this many of 255 levels,
_FEWEST_SIGMAS = 6.0  # and by at least this many standard deviations of the paper's noise,
_FEWEST_PIXELS = 4  # in at least this many pixels
_SPECK = 0.04  # a component with less than this share of the largest one's ink is dirt
_STROKE = 0.08  # the least width of a stroke, relative to the digit's longer side; MNIST's have 0.1


def load_image(path: str | Path, image_shape: tuple[int, int], *, top: int = 255) -> NDArray[np.uint8]:
    """Load an image file as uint8 rows (n, height * width) in 0 (paper) to top (ink), for image_shape (height, width).

    An image file gives one row. An image of that size, white on black, is kept as it is. Any other is treated as a
    photographed character: converted to grey, inverted if its border is light, cleared of uneven light, noise and
    specks, cropped, scaled to fit 20/28 of the image, and placed with its centre of mass in the middle.

    A .npy file holds one image (h, w) or (d,), or several (n, h, w) or (n, d): uint8 up to top or 255, or floats in
    0..1 or 0..255. Only their range is changed.

    top: the value of full ink in the network's data: 255 for MNIST, 16 for digits

    InputError for a file that is missing or not an image, a wrong shape or range, and a blank image.
    """
    file = check_file(as_path(path))
    if file.suffix.lower() == ".npy":
        return _from_array(file, read_npy(file), image_shape, top)
    grey = _open(file)
    if np.ptp(grey) == 0:
        raise InputError(f"{file} is blank: every pixel is the same")
    if grey.shape != image_shape or _is_light(grey):
        grey = _placed(_ink(file, _reduced(grey, _WORKING)), image_shape)
    return np.rint(grey * (top / 255)).astype(np.uint8).reshape(1, -1)


def _from_array(file: Path, array: NDArray[Any], shape: tuple[int, int], top: int) -> NDArray[np.uint8]:
    size = shape[0] * shape[1]
    single = array.shape in (shape, (size,))
    if not single and (array.ndim not in (2, 3) or array.shape[1:] not in (shape, (size,)) or len(array) == 0):
        raise InputError(
            f"{file} has shape {array.shape}; accepted: {shape}, ({size},), (n, {shape[0]}, {shape[1]}), (n, {size})"
        )
    if array.dtype.kind not in "buif":
        raise InputError(f"{file} has dtype {array.dtype}; accepted: uint8, or real numbers in 0..1 or 0..255")
    rows = array.reshape(-1, size).astype(np.float64)
    if not np.isfinite(rows).all() or rows.min() < 0 or rows.max() > 255:
        raise InputError(f"{file} holds {rows.min():g} to {rows.max():g}; accepted: 0..1 or 0..255, nothing missing")
    blank = np.flatnonzero(np.ptp(rows, axis=1) == 0)
    if len(blank):
        raise InputError(f"{file} is blank{'' if single else f' in image {blank[0]}'}: every pixel is the same")
    largest = rows.max()
    if array.dtype.kind in "bf" and largest <= 1:
        rows *= top
    elif largest > top:
        rows *= top / 255
    return np.rint(rows).astype(np.uint8)


def _open(file: Path) -> Grey:
    """Read an image file, upright, as grey values (h, w) in 0..255."""
    from PIL import Image, ImageOps

    with readable(file):
        content = io.BytesIO(file.read_bytes())
    try:
        with Image.open(content) as picture:
            return _to_grey(ImageOps.exif_transpose(picture))
    except Exception as error:  # broken files make the decoders raise nearly anything
        raise InputError(f"{file} is not a readable image; accepted: PNG, JPEG and the like, or .npy") from error


def _to_grey(picture: Image.Image) -> Grey:
    """Convert to grey values (h, w) in 0..255; transparent pixels become paper."""
    if picture.mode.startswith(("I", "F")):
        values = np.array(picture, np.float64)
        values *= 255 / max(values.max(), 65535.0 if picture.mode.startswith("I") else 1.0)
        return values
    if "A" in picture.getbands() or "transparency" in picture.info:
        layers = np.asarray(picture.convert("RGBA"), np.float64)
        alpha = layers[..., 3] / 255
        grey: Grey = layers[..., :3] @ np.array([0.299, 0.587, 0.114])
        ink_is_dark = (grey * alpha).sum() < 128 * alpha.sum()
        paper = 255.0 if ink_is_dark else 0.0
        return paper + alpha * (grey - paper)
    return np.asarray(picture.convert("RGB").convert("L"), np.float64)


def _resize(grey: Grey, height: int, width: int) -> Grey:
    """Resize an image (h, w); when it shrinks, pixels are averaged."""
    from PIL import Image

    picture = Image.fromarray(grey.astype(np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float64)


def _reduced(grey: Grey, longest: int = _BACKGROUND) -> Grey:
    """Shrink an image whose longer side has more than `longest` pixels to that many."""
    factor = min(1.0, longest / max(grey.shape))
    height, width = (max(1, round(side * factor)) for side in grey.shape)
    return grey if factor == 1.0 else _resize(grey, height, width)


def _border(grey: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _is_light(grey: Grey) -> bool:
    """Whether the paper, judged by the border, is lighter than the ink."""
    brightness = (np.median(_border(grey)) - grey.min()) / np.ptp(grey)
    if abs(brightness - 0.5) > 0.2:
        return bool(brightness > 0.5)
    small = _reduced(grey)  # undecided: the differences from the paper's surface are skewed towards the ink
    return float(((small - _surface(small)) ** 3).sum()) < 0


def _ink(file: Path, grey: Grey) -> Grey:
    """The amount of ink at each pixel, 0 to 255, without the paper's uneven light, noise and specks."""
    grey = _smooth(255 - grey if _is_light(grey) else grey)  # from here on, ink is bright
    excess = grey - _paper(grey)
    paper = float(np.median(excess))
    sigma = 1.4826 * float(np.median(np.abs(excess - paper)))
    level = threshold = paper + max(_FEWEST_LEVELS, _FEWEST_SIGMAS * sigma)
    for _ in range(3):  # move the threshold halfway between paper and the ink found so far
        strokes = excess[excess > threshold]
        if len(strokes) < _FEWEST_PIXELS:
            raise InputError(f"{file} is blank: no ink stands out from the paper")
        level = float(np.median(strokes))
        threshold = max(threshold, (paper + level) / 2)
    low = paper + max(4 * sigma, 0.35 * (level - paper))
    high = max(paper + 0.75 * (level - paper), low + 1)
    return _without_specks(np.clip((excess - low) / (high - low), 0, 1) * 255)


def _smooth(grey: Grey) -> Grey:
    """The mean of 3 x 3 pixels, if the image is large enough that no stroke is lost."""
    return grey if min(grey.shape) < 100 else _windows(grey, 3).mean(axis=(2, 3))


def _paper(grey: Grey) -> Grey:
    """The paper's brightness under bright ink: a smooth surface for the light, less the shadows.

    Shadows are found by a morphological opening in a window wider than strokes and narrower than shadows.
    """
    small = _reduced(grey)
    light = _surface(small)
    size = max(small.shape) * 2 // 5 | 1
    shadows = _spread(-_spread(light - small, size), size)
    return _resize(light + _windows(shadows, 3).mean(axis=(2, 3)), *grey.shape)


def _surface(grey: Grey) -> Grey:
    """A quadratic surface fitted to the paper, repeatedly, without the pixels that stand out from it."""
    rows, columns = (np.linspace(-1, 1, side) for side in grey.shape)
    y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    values = grey.ravel()
    fitted = np.full(values.shape, np.median(_border(grey)))
    for _ in range(8):
        off = np.abs(values - fitted)
        paper = off <= max(2.5 * 1.4826 * float(np.median(off)), 1.0)
        fitted = terms @ np.linalg.lstsq(terms[paper], values[paper], rcond=None)[0]
    surface: Grey = fitted.reshape(grey.shape)
    return surface


def _spread(grey: Grey, size: int) -> Grey:
    """The maximum of the size x size pixels around each pixel (grey dilation); size is odd."""
    down: Grey = _windows(grey, size, 1).max(axis=(2, 3))
    across: Grey = _windows(down, 1, size).max(axis=(2, 3))
    return across


def _windows(grey: Grey, height: int, width: int | None = None) -> Grey:
    """The height x width pixels around each pixel, as two more axes; the border is extended outwards."""
    width = height if width is None else width
    padded = np.pad(grey, ((height // 2,) * 2, (width // 2,) * 2), mode="edge")
    windows: Grey = np.lib.stride_tricks.sliding_window_view(padded, (height, width))
    return windows


def _without_specks(ink: Grey) -> Grey:
    """Keep the strokes: remove small components and, if enough ink remains, those that touch the border."""
    labels = _components(ink > 64)
    amounts = np.bincount(labels.ravel(), ink.ravel())
    amounts[0] = 0.0
    inside = amounts.copy()
    inside[np.unique(_border(labels))] = 0.0
    if inside.max() > 0.1 * amounts.max():
        amounts = inside
    kept = amounts >= max(_SPECK * amounts.max(), 1.0)
    # The soft edge of a stroke lies outside its component, up to two pixels away.
    return np.where(_spread(kept[labels].astype(np.float64), 5) > 0, ink, 0.0)


def _components(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Label the connected components (8 neighbours) of a mask; 0 is outside.

    Pixels are numbered; neighbours with different numbers take the lower one, until nothing changes.
    """
    numbers = np.cumsum(mask).reshape(mask.shape) * mask
    pairs = []
    for one, other in (
        (numbers[:, 1:], numbers[:, :-1]),
        (numbers[1:], numbers[:-1]),
        (numbers[1:, 1:], numbers[:-1, :-1]),
        (numbers[1:, :-1], numbers[:-1, 1:]),
    ):
        touching = (one > 0) & (other > 0)
        pairs.append(np.stack([one[touching], other[touching]]))
    edges = np.concatenate(pairs, axis=1)
    lowest = np.arange(numbers.max() + 1)
    while len(different := np.flatnonzero(np.ptp(lowest[edges], axis=0))):
        ends = np.sort(lowest[edges[:, different]], axis=0)
        np.minimum.at(lowest, ends[1], ends[0])
        while (lowest != lowest[lowest]).any():
            lowest = lowest[lowest]
    components: NDArray[np.int64] = lowest[numbers]
    return components


def _placed(ink: Grey, shape: tuple[int, int]) -> Grey:
    """Crop to the ink, thicken thin strokes, scale to fit, and put the centre of mass in the middle."""
    ink = _thickened(_cropped(ink))
    box = [round(side * 20 / 28) if side >= 20 else side for side in shape]
    factor = min(room / side for room, side in zip(box, ink.shape, strict=True))
    height, width = (min(room, max(1, round(side * factor))) for room, side in zip(box, ink.shape, strict=True))
    small = _resize(ink, height, width).clip(0, 255)
    small *= 255 / small.max()
    placed = np.zeros(shape)
    top = _offset(small.sum(axis=1), shape[0])
    left = _offset(small.sum(axis=0), shape[1])
    placed[top : top + height, left : left + width] = small
    return placed


def _offset(profile: Grey, room: int) -> int:
    """The start of a profile, within room, that brings its centre of mass to the middle."""
    centre = float(profile @ np.arange(len(profile)) / profile.sum())
    return min(max(0, round(room / 2 - centre)), room - len(profile))


def _cropped(ink: Grey) -> Grey:
    rows, columns = (np.flatnonzero((ink > 64).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _thickened(ink: Grey) -> Grey:
    """Widen thin strokes, such as a pen's, which would nearly vanish when scaled down."""
    side = max(ink.shape)
    framed = np.pad(ink, 1)
    edge = sum(float(np.abs(np.diff(framed, axis=axis)).sum()) for axis in (0, 1))
    lacking = _STROKE * side - 2 * float(ink.sum()) / edge  # a stroke's area is its width times half its edge
    radius = round(lacking / 2)
    return ink if radius < 1 else _spread(np.pad(ink, radius), 2 * radius + 1)
