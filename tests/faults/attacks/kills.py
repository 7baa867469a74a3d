"""Commands that write, killed at random moments and run again: the result is that of no kill."""

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.caption import tiny_runs
from tests.faults.attacks.outcome import Outcome
from tests.faults.attacks.processes import run_killed
from tests.faults.attacks.results import contents

TINY = ("--device", "cpu")
TRAIN = (*TINY, "--hidden", "8", "--embedding", "8", "--batch-size", "2", "--epochs", "3")


class Command(NamedTuple):
    words: tuple[str, ...]
    """the module and its arguments; {data}, {run} and {out} are paths"""
    outputs: tuple[str, ...]
    """the files to compare, in {out} or {data}"""
    resume: str = ""
    """the file in {out} with which --resume is needed"""


COMMANDS = (
    Command(("prepro.scenes", "--out", "{out}", "--train", "20"), ("annotations.json",)),
    Command(
        ("prepro.labels", "--annotations", "{data}/annotations.json", "--images", "{data}",
         "--out", "{out}", "--min-count", "0"),
        ("labels.json", "labels.h5"),
    ),
    Command(
        ("prepro.features", "--data", "{data}", "--encoder", "resnet10-w8", "--weights", "none",
         "--batch-size", "1", "--workers", "0", *TINY),
        ("features.h5", "encoder.safetensors"),
    ),
    Command(
        ("prepro.pretrain", "--data", "{data}", "--out", "{out}", "--recipe", "captions",
         "--encoder", "resnet10-w8", "--crop", "32", "--epochs", "3", "--batch", "4", *TINY),
        ("encoder.safetensors", "last.pt"), "last.pt",
    ),
    Command(
        ("caption.train", "--data", "{data}", "--out", "{out}", *TRAIN),
        ("checkpoint", "model.safetensors"), "config.json",
    ),
    Command(
        ("caption.train", "--data", "{data}", "--out", "{out}", *TRAIN, "--decoder", "topdown",
         "--scst-after", "1"),
        ("checkpoint", "model.safetensors"), "config.json",
    ),
    Command(
        ("caption.generate", "--data", "{data}", "--run", "{run}", "--out", "{out}/results.json",
         "--batch-size", "1", *TINY),
        ("results.json", "results.about.json"),
    ),
    Command(
        ("caption.generate", "--images", "{data}/images", "--run", "{run}", "--out",
         "{out}/results.json", "--batch-size", "1", *TINY),
        ("results.json",),
    ),
    Command(
        ("caption.report", "--data", "{data}", "--run", "{run}", "--out", "{out}/report.html",
         "--bootstrap", "50", *TINY),
        ("report.html",),
    ),
    Command(("caption.export", "--run", "{run}", "--out", "{out}/all.safetensors"),
            ("all.safetensors",)),
    Command(("caption.curves", "{run}", "--out", "{out}/curves.png"), ("curves.png",)),
)  # fmt: skip


def prepare(folder: Path) -> dict:
    tiny = tiny_runs.make(folder / "tiny", ("topdown",))
    return {"tiny": tiny, "whole": {}}


def attack(rng: random.Random, folder: Path, made: dict) -> tuple[str, Outcome]:
    number = rng.randrange(len(COMMANDS))
    seconds, whole = expected(made, number, folder)
    moments = [rng.uniform(0.02, seconds) for _ in range(rng.choice((1, 1, 2, 3)))]
    _, found, logs = run(COMMANDS[number], folder, made["tiny"], moments)
    differs = sorted(name for name in whole if found.get(name) != whole[name])
    shown = ", ".join(f"{moment:.2f}" for moment in moments)
    text = f"{COMMANDS[number].words[0]} killed after {shown} of {seconds:.2f} s {differs}"
    status = 96 if differs or not logs[-1].startswith("0 ") else 0
    return text, Outcome(status, "", "", 0)


def run(
    command: Command, folder: Path, tiny: tiny_runs.Tiny, moments: Sequence[float] = (),
    room: int | None = None,
) -> tuple[float, dict, list[str]]:  # fmt: skip
    """Kill the command at `moments`, or run it with little `room`; then let it end.

    Returns the seconds, the contents of its outputs, and what it printed each time. The folders are
    the same each time, as outputs name them.
    """
    data, out = folder / "data", folder / "out"
    for path in (data, out):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(tiny.data, data)
    in_data = command.words[0] == "prepro.features"
    if in_data:
        (data / "features.h5").unlink()
        (data / "encoder.safetensors").unlink()
    paths = {"data": data, "out": out, "run": tiny.runs["topdown"]}
    words = [word.format(**paths) for word in command.words]
    started, logs = time.perf_counter(), []
    tries = [(moment, None) for moment in moments] + [(None, room)] * (room is not None)
    for moment, limit in (*tries, (None, None)):
        more = ["--resume"] if command.resume and (out / command.resume).is_file() else []
        status = run_killed([*words, *more], folder / "log", moment, limit)
        logs.append(f"{status} " + (folder / "log").read_text(errors="replace"))
    seconds = time.perf_counter() - started
    found = {name: contents(data if in_data else out, name) for name in command.outputs}
    return seconds, found, logs


def expected(made: dict, number: int, folder: Path) -> tuple[float, dict]:
    """The seconds and the outputs of a command that nobody disturbs."""
    if number not in made["whole"]:
        seconds, found, logs = run(COMMANDS[number], folder, made["tiny"])
        assert logs[-1].startswith("0 "), logs
        made["whole"][number] = seconds, found
    return made["whole"][number]
