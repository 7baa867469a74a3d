"""Bytes or a path in, an upright RGB picture out, or BadImage with the reason.

Every picture of the project passes here: features, sampling, fine-tuning and the demo page see the
same pixels. Handles what neuraltalk2 and its heirs died of: grey, CMYK, 16-bit, palette and alpha
pictures, EXIF orientation, truncated files, pages of HTML called .jpg, and decompression bombs.
"""

import io
import struct
import warnings
from pathlib import Path

from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000  # from the header, before a single pixel is decoded
MAX_SIDE = 20_000
MAX_BYTES = 100 << 20
UNREADABLE = (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    EOFError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)


class BadImage(ValueError):
    """A picture that cannot be read; the text says why, in a few words."""


def open_rgb(source: str | Path | bytes, target: int = 0) -> Image.Image:
    """The picture as upright RGB.

    `target`: the side in pixels that it will be shrunk to, if known; a JPEG at least twice as
    large is then decoded at 1/2, 1/4 or 1/8 of its size, which saves most of the time.
    Raises BadImage.
    """
    data = source if isinstance(source, bytes) else _read(Path(source))
    if len(data) > MAX_BYTES:
        raise BadImage(f"{len(data):,} bytes, more than {MAX_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's talk about bombs, EXIF and palettes
            with Image.open(io.BytesIO(data)) as picture:
                _check_size(*picture.size)
                if target:
                    picture.draft("RGB", (target, target))
                return _to_rgb(_upright(picture))
    except BadImage:
        raise
    except UNREADABLE as error:
        raise BadImage(_reason(data, error)) from None


def inside(root: str | Path, name: str) -> Path:
    """`root`/`name`; ValueError when the name is absolute or leads out of `root`."""
    root = Path(root)
    if "\0" in name or "\\" in name or not name:
        raise ValueError(f"{name!r}: not a file name inside {root}")
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{name!r}: leads out of the image folder {root}")
    return path


def _read(path: Path) -> bytes:
    """The file's bytes; a folder, a pipe or a dangling link is named for what it is."""
    if path.is_dir():
        raise BadImage("a folder, not a picture")
    if not path.exists():
        raise BadImage("a dangling link" if path.is_symlink() else "no such file")
    if not path.is_file():
        raise BadImage("not a regular file")
    if path.stat().st_size > MAX_BYTES:
        raise BadImage(f"{path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read ({error.strerror})") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadImage(f"{width} x {height} pixels, more than {MAX_PIXELS:,} or {MAX_SIDE:,} a side")
    if min(width, height) < 1:
        raise BadImage(f"{width} x {height} pixels")


def _upright(picture: Image.Image) -> Image.Image:
    """Decode, and turn by the EXIF orientation; an unreadable EXIF block turns nothing."""
    picture.load()
    try:
        return ImageOps.exif_transpose(picture)
    except UNREADABLE:
        return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode to RGB: 16 bits are scaled, not clipped, and what is transparent turns white."""
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
    full = 255 if 0 <= low and high <= 255 and picture.mode != "I;16" else 65535
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
    if "truncated" in str(error).lower():
        return "truncated"
    if "cannot identify" in str(error):
        return "not a picture in a format that Pillow knows"
    return f"cannot be decoded ({str(error) or type(error).__name__})"
