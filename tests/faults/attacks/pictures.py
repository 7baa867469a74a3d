"""caption.sample with damaged pictures of every format beside a good one."""

import io
import os
import random
from pathlib import Path

from PIL import Image, features

from caption import sample
from eval import command
from tests.caption import tiny_runs
from tests.faults.attacks.outcome import Outcome, run
from tests.faults.attacks.values import damage

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MODES = ("RGB", "L", "RGBA", "CMYK", "P", "1", "I;16", "LA", "F")


def prepare(folder: Path) -> dict:
    tiny = tiny_runs.make(folder / "tiny", ("newfc",))
    good = folder / "good.png"
    Image.effect_noise((40, 30), 60).convert("RGB").save(good)
    expected = run(lambda: _sample([good], tiny.runs["newfc"])).out
    return {"run": tiny.runs["newfc"], "good": good, "expected": expected, "files": _files()}


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    kind = rng.choice(list(made["files"]))
    data = made["files"][kind]
    for _ in range(rng.choice((1, 1, 2, 5))):
        data = damage(rng, data)
    bad = folder / rng.choice(("bad.jpg", "a b.png", "n\new.gif", "\x1b[2J.jpg", "\udcff.jpg"))
    if rng.random() < 0.1:
        kind = _special(rng, bad)
    else:
        bad.write_bytes(data)
    found = run(lambda: _sample([bad, made["good"]], made["run"]))
    last = found.out.strip().split("\n")[-1].split("\t")[-1] if found.out.strip() else ""
    if found.status in (0, 1) and last != made["expected"].strip():
        found = found._replace(status=98)  # the good picture has another caption, or none
    bad.rmdir() if bad.is_dir() else bad.unlink()
    return f"{kind} {bad.name!r}", found


def _special(rng: random.Random, path: Path) -> str:
    """Something at `path` that is no file, or is one only by its name."""
    kind = rng.choice(("folder", "pipe", "dangling", "loop", "device"))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"dangling": "nowhere", "loop": path.name, "device": "/dev/zero"}[kind])
    return kind


def _sample(files: list[Path], folder: Path) -> int | None:
    words = [*map(str, files), "--run", str(folder), "--device", "cpu"]
    return sample.main(command.parse(sample.Options, words))


def _files() -> dict[str, bytes]:
    """A small file of each format and mode that this Pillow writes."""
    found, picture = {}, Image.effect_noise((48, 36), 80)
    for name in FORMATS:
        for mode in MODES:
            if name == "AVIF" and not features.check("avif"):
                continue
            buffer = io.BytesIO()
            try:
                picture.convert(mode).save(buffer, name)
            except (OSError, ValueError, KeyError):
                continue
            found[f"{name} {mode}"] = buffer.getvalue()
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", progressive=True)
    head, scan = buffer.getvalue().split(b"\xff\xda", 1)
    for name, size in (("thin", (20_000, 1)), ("tall", (1, 20_000)), ("dot", (1, 1))):
        buffer = io.BytesIO()
        Image.new("RGB", size).save(buffer, "PNG")
        found[f"PNG {name}"] = buffer.getvalue()
    found["JPEG scans"] = head + (b"\xff\xda" + scan.removesuffix(b"\xff\xd9")) * 40
    return found
