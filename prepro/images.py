"""Read an image file or bytes to an upright RGB image; BadImage with the reason otherwise.

All images of the project are read here, so that features, sampling, fine-tuning and the demo page
get the same pixels. Handles grey, CMYK, 16-bit, palette and alpha images, EXIF orientation,
truncated files, HTML pages named .jpg, and decompression bombs.
"""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePath

import numpy as np
from PIL import ExifTags, Image

from prepro.remote import RemotePath, read_range
from prepro.tar_images import BadTar, read_member, split_path

MAX_PIXELS = 50_000_000  # checked in the header, before decoding
MAX_SIDE = 20_000
MAX_ASPECT = 200  # the long side when the short one is resized to 256: 51,200 pixels
MAX_BYTES = 100 << 20
MAX_SCANS = 100  # of a progressive JPEG; libjpeg decodes the whole image for each
MAX_SCANNED = 1_000_000_000  # pixels times scans
# Pillow reads more formats, some of them (EPS) by starting other programs.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".jp2", ".avif",
)  # fmt: skip
"""file names in a folder with one of these suffixes are images"""
TURNS = {  # EXIF orientation -> the operation that makes it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(ValueError):
    """An image that cannot be read; the message is the reason in a few words."""


def open_rgb(source: str | Path | bytes, target: int = 0) -> Image.Image:
    """Read an image as upright RGB; the first frame of an animation.

    target: the side in pixels to which the caller shrinks it, 0 if unknown; a JPEG at least twice
    as large is decoded at 1/2, 1/4 or 1/8 of its size, which saves most of the time.
    Raises BadImage.
    """
    with _opened(source, target) as picture:
        return _to_rgb(_upright(picture))


def to_rgb(source: str | Path | bytes | Image.Image | np.ndarray, target: int = 0) -> Image.Image:
    """What open_rgb returns, also of a PIL image of any mode or of an array.

    An array is (H, W), (H, W, 3) or (H, W, 4): uint8, or floats from 0 to 1. Raises BadImage, and
    TypeError for anything else.
    """
    if not isinstance(source, str | PurePath | bytes | Image.Image | np.ndarray):
        raise TypeError(f"a picture is a path, bytes, a PIL image or an array, not {source!r:.80}")
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if not isinstance(source, Image.Image):
        return open_rgb(source, target)
    _check_size(*source.size)
    try:
        return _to_rgb(_upright(source))
    except OSError as error:  # a file that Pillow opened, but cannot decode
        raise BadImage(_reason(b"?", error)) from None


def _from_array(values: np.ndarray) -> Image.Image:
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,), (4,)):
        raise BadImage(f"an array of shape {values.shape}; expected (H, W), (H, W, 3) or (H, W, 4)")
    if values.dtype.kind == "f" and values.size and values.min() >= 0 and values.max() <= 1:
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise BadImage(f"an array of {values.dtype}; expected uint8, or floats from 0 to 1")
    return Image.fromarray(np.ascontiguousarray(values))


def upright_size(source: str | Path | bytes, target: int = 0) -> tuple[int, int]:
    """(width, height) of open_rgb's result, from the header alone. Raises BadImage."""
    with _opened(source, target) as picture:
        turned = picture.format != "TIFF" and _orientation(picture) in (5, 6, 7, 8)
        return picture.size[::-1] if turned else picture.size


@contextmanager
def _opened(source: str | Path | bytes, target: int) -> Iterator[Image.Image]:
    """The image, not yet decoded, within the size limits. Every failure raises BadImage."""
    data = source if isinstance(source, bytes) else read_file(source)
    if len(data) > MAX_BYTES:
        raise BadImage(f"{len(data):,} bytes, more than {MAX_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs, EXIF and palettes
            with Image.open(io.BytesIO(data), formats=_formats()) as picture:
                _check_size(*picture.size)
                _check_scans(data, picture)
                if target:
                    picture.draft("RGB", (target, target))
                yield picture
    except BadImage:
        raise
    except Exception as error:  # decoders fail in a dozen ways: SyntaxError, RuntimeError, ...
        raise BadImage(_reason(data, error)) from None


@cache
def _formats() -> list[str]:
    """The FORMATS that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def inside(root: str | Path, name: str) -> Path:
    """`root`/`name`; ValueError when the name is absolute or outside `root`."""
    root = root if isinstance(root, PurePath) else Path(root)
    if "\0" in name or "\\" in name or not name:
        raise ValueError(f"{name!r}: not a file name inside {root}")
    path = root / name
    if isinstance(root, RemotePath):
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name!r}: leads out of the image folder {root}")
        return path
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: circular links
        raise ValueError(f"{name!r}: not a file name inside {root} ({error})") from None
    if not resolved.is_relative_to(root.resolve()):
        raise ValueError(f"{name!r}: leads out of the image folder {root}")
    return path


def read_file(path: str | Path) -> bytes:
    """The file's bytes. BadImage for a folder, a pipe, a dangling link, or a large file."""
    if isinstance(path, RemotePath):
        return _read_remote(path)
    path = Path(path)
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise BadImage("a folder, not a picture")
        if not stat.S_ISREG(found.st_mode):
            raise BadImage("not a regular file")
        if found.st_size > MAX_BYTES:
            raise BadImage(f"{found.st_size:,} bytes, more than {MAX_BYTES:,}")
        return path.read_bytes()
    except NotADirectoryError:  # a part of the path is a file: a tar file?
        return _read_member(path)
    except FileNotFoundError:
        raise BadImage("a dangling link" if path.is_symlink() else "no such file") from None
    except OSError as error:
        raise BadImage(f"cannot be read ({error.strerror})") from None
    except BadImage:
        raise
    except ValueError:  # a NUL in the name
        raise BadImage("no file can have this name") from None


def _read_remote(path: RemotePath) -> bytes:
    """A picture in object storage, of whose tar file only its own bytes are read. BadImage."""
    if split_path(path):
        return _read_member(path)
    try:
        data = read_range(path, 0, MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadImage("no such object, or no answer") from None
    except ValueError as error:
        raise BadImage(str(error)) from None
    if len(data) > MAX_BYTES:
        raise BadImage(f"more than {MAX_BYTES:,} bytes")
    return data


def _read_member(path: Path) -> bytes:
    """A picture in a tar file. BadImage."""
    try:
        return read_member(path, MAX_BYTES)
    except FileNotFoundError:
        raise BadImage("no such file") from None
    except OSError as error:
        raise BadImage(f"cannot be read ({error.strerror})") from None
    except BadTar as error:
        raise BadImage(f"its tar file is unfit: {error}") from None
    except ValueError as error:  # of object storage
        raise BadImage(str(error)) from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        limit = f"{MAX_PIXELS:,} or {MAX_SIDE:,} a side"
        raise BadImage(f"{width} x {height} pixels, more than {limit}")
    if min(width, height) < 1:
        raise BadImage(f"{width} x {height} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(
            f"{width} x {height} pixels, one side more than {MAX_ASPECT} times the other"
        )


def _check_scans(data: bytes, picture: Image.Image) -> None:
    """Refuse a progressive JPEG whose many scans take minutes to decode."""
    scans = data.count(b"\xff\xda") if picture.format in ("JPEG", "MPO") else 0
    if scans > MAX_SCANS or scans * picture.width * picture.height > MAX_SCANNED:
        raise BadImage(f"{scans:,} scans of {picture.width} x {picture.height} pixels")


def _orientation(picture: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 for an unreadable EXIF block."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as above
        return 1
    return value if isinstance(value, int) else 1


def _upright(picture: Image.Image) -> Image.Image:
    """Decode and apply the EXIF orientation."""
    picture.load()  # first: load() turns a TIFF itself and resets its EXIF orientation
    orientation = _orientation(picture)
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB: 16 bits are scaled, not clipped; transparent pixels become white."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith(("I", "F")):
        return _deep_grey(picture).convert("RGB")
    if picture.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _deep_grey(picture: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point grey to 8 bits. Pillow's own convert clips at 255."""
    low, high = picture.convert("F").getextrema()
    full = 255 if low >= 0 and high <= 255 and picture.mode != "I;16" else 65535
    if picture.mode == "F" and high <= 1:
        full = 1
    return picture.convert("F").point(lambda value: value * (255 / full)).convert("L")


def _reason(data: bytes, error: BaseException) -> str:
    head = data[:256].lstrip().lower()
    if not data:
        return "an empty file"
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "a page of HTML or XML, not a picture"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not a picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    if "truncated" in str(error).lower():
        return "truncated"
    if "cannot identify" in str(error):
        return "not a picture, or none in JPEG, PNG, WebP, GIF, TIFF, BMP or the like"
    return f"cannot be decoded ({str(error) or type(error).__name__})"
