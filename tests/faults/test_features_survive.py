"""prepro.features when it is killed, interrupted, out of disk space or given bad images."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from prepro import features
from prepro.annotations.records import ImageRecord
from prepro.storage.feature_file import BAD, DONE, FeatureFile
from prepro.storage.label_file import write_labels
from prepro.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SETTINGS = ["--encoder", "resnet8", "--weights", "none", "--device", "cpu", "--batch-size", "2"]


def write_list(folder, names):
    records = [ImageRecord(i, name, "train", ("a",)) for i, name in enumerate(names)]
    encoded = [[1]] * len(records)
    write_labels(folder, records, Vocabulary(("a",)), encoded, 2, {"image_root": "pictures"})


def noise_folder(folder, count, side=40):
    """A data folder of `count` noise images."""
    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(count)]
    for name in names:
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / name)
    write_list(folder, names)
    return folder


def run(folder, *more, **options):
    line = [sys.executable, "-m", "prepro.features", "--data", str(folder), *SETTINGS, *more]
    options = {
        "capture_output": True,
        "text": True,
        "cwd": ROOT,
        "env": os.environ | ENVIRONMENT,
    } | options
    return subprocess.run(line, **options)


def data(path):
    """The contents of the file, as bytes."""
    with h5py.File(path, locking=False) as file:
        return {name: file[name][:].tobytes() for name in ("fc", "att", "status", "reason")}


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import h5py
import numpy as np
from prepro.extraction import pipeline  # noqa: F401
from prepro import features  # imported before the fork, so that a child starts at once

folder = Path(sys.argv[1])
path = folder / "features.h5"
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
options = features.Options(data=folder, encoder="resnet8", weights="none", device="cpu",
                           batch_size=2, workers=int(sys.argv[2]))

def start():
    pid = os.fork()
    if not pid:
        os._exit(features.main(options))
    return pid

def finish():
    assert os.waitstatus_to_exitcode(os.waitpid(start(), 0)[1]) == 0

def read():
    with h5py.File(path, "r", locking=False) as file:  # closed again before the next fork
        done = np.flatnonzero(file["status"][:])
        return done, file["fc"][done], file["att"][done]

begin = time.monotonic()
finish()
length = time.monotonic() - begin
rows, fc, att = read()
path.rename(folder / "whole.h5")
random.seed(0)
kills = partial = 0
while kills < 20:
    pid = start()
    time.sleep(random.uniform(0, length))
    os.kill(pid, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
        path.unlink()  # it had finished: start again
        continue
    kills += 1
    if path.is_file():
        done, some_fc, some_att = read()
        partial += 0 < len(done) < len(rows)
        assert np.array_equal(some_fc, fc[done]) and np.array_equal(some_att, att[done])
finish()
sys.stderr.write(f"{kills} kills, {partial} left a partial file")
"""


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_twenty_kills_leave_the_same_file_as_one_run(tmp_path, workers):
    folder = noise_folder(tmp_path / "data", 120)
    line = [sys.executable, "-c", KILLER, str(folder), str(workers)]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=ROOT, env=os.environ | ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    kills, partial = map(int, re.search(r"(\d+) kills, (\d+) left", done.stderr).groups())
    assert kills == 20 and partial >= 5
    assert data(folder / "features.h5") == data(folder / "whole.h5")


LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
runpy.run_module("prepro.features", run_name="__main__", alter_sys=True)
"""


def run_limited(folder, limit):
    line = [sys.executable, "-c", LIMITED, str(limit), "--data", str(folder), *SETTINGS]
    line += ["--workers", "0"]
    return subprocess.run(
        line, capture_output=True, text=True, cwd=ROOT, env=os.environ | ENVIRONMENT
    )


def test_a_full_disk_keeps_finished_rows_and_reports_missing_ones(tmp_path):
    folder = noise_folder(tmp_path / "data", 120)
    assert run(folder).returncode == 0
    path = folder / "features.h5"
    path.rename(folder / "whole.h5")
    refused = run_limited(folder, 400_000)
    assert refused.returncode == 1 and "no room" in refused.stderr, refused.stderr
    left = {file.name for file in folder.iterdir()}
    assert left == {"pictures", "labels.json", "labels.h5", "encoder.safetensors", "whole.h5"}

    create_empty(folder)
    full = run_limited(folder, path.stat().st_size * 2 // 3)
    assert full.returncode == 1, full.stderr
    found = FeatureFile(path)
    done = np.flatnonzero(found.status == DONE)
    assert 0 < len(done) < 120
    whole = FeatureFile(folder / "whole.h5")
    assert np.array_equal(found.att(done), whole.att(done))
    assert f"{len(done)} of 120 pictures done, 0 bad, {120 - len(done)} missing" in full.stderr
    assert "python -m prepro.features --data" in full.stderr and "Traceback" not in full.stderr
    assert run(folder).returncode == 0
    assert data(path) == data(folder / "whole.h5")


def create_empty(folder):
    """features.h5 as a run that was killed before its first batch leaves it."""
    from prepro.storage.feature_writer import create

    whole = FeatureFile(folder / "whole.h5")
    create(folder / "features.h5", whole.provenance, whole.ids())


def test_ctrl_c_keeps_finished_rows_and_prints_the_resume_command(tmp_path):
    folder = noise_folder(tmp_path / "data", 400)
    line = [sys.executable, "-m", "prepro.features", "--data", str(folder), *SETTINGS]
    process = subprocess.Popen(
        [*line, "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        start_new_session=True,
    )
    wait_for_rows(folder / "features.h5", process)
    os.killpg(process.pid, signal.SIGINT)  # to the workers too, as a terminal does
    messages = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in messages, messages
    done = int((FeatureFile(folder / "features.h5").status == DONE).sum())
    assert 0 < done < 400 and f"{done:,} of 400 pictures done" in messages
    command = re.search(r"go on with: python (.*)", messages)[1]
    resumed = [sys.executable, *shlex.split(command)]
    assert subprocess.run(resumed, cwd=ROOT, env=os.environ | ENVIRONMENT).returncode == 0
    assert FeatureFile(folder / "features.h5").complete


def wait_for_rows(path, process):
    while process.poll() is None:
        try:
            if (FeatureFile(path).status == DONE).any():
                return
        except (OSError, ValueError, FileNotFoundError):  # missing, or being written
            pass
        time.sleep(0.002)


def bad_images(folder):
    """A data folder of bad images between two good ones; returns {name: pattern of the reason}."""
    pictures = noise_folder(folder, 2).joinpath("pictures")
    whole = (pictures / "0.png").read_bytes()
    (pictures / "cut.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "empty.jpg").write_bytes(b"")
    (pictures / "page.jpg").write_text("<!DOCTYPE html><html>Not found</html>")
    (pictures / "folder.jpg").mkdir()
    (pictures / "dangling.jpg").symlink_to("gone.jpg")
    (pictures / "outside.png").symlink_to(folder / "labels.json")
    Image.new("1", (20_000, 20_000)).save(pictures / "bomb.png")
    reasons = {
        "cut.png": "truncated",
        "empty.jpg": "an empty file",
        "page.jpg": "HTML",
        "folder.jpg": "a folder",
        "dangling.jpg": "no such file|dangling",
        "outside.png": "leads out of",
        "bomb.png": "pixels",
        "../labels.json": "leads out of",
        "/etc/passwd": "leads out of",
        "gone.jpg": "no such file",
    }
    write_list(folder, ["0.png", *reasons, "1.png"])
    return reasons


@pytest.mark.parametrize("mode", ["default", "full"])
def test_every_bad_image_is_recorded_with_its_reason(tmp_path, mode, capsys):
    reasons = bad_images(tmp_path / "data")
    options = features.Options(
        data=tmp_path / "data",
        encoder="resnet8",
        weights="none",
        device="cpu",
        workers=1,
        batch_size=4,
        mode=mode,
    )
    assert features.main(options) == 1
    messages = capsys.readouterr().err
    found = FeatureFile(tmp_path / "data" / "features.h5")
    assert found.complete and found.status.tolist() == [DONE, *[BAD] * len(reasons), DONE]
    for row, (name, reason) in enumerate(reasons.items(), 1):
        assert re.search(reason, found.bad[row]), (name, found.bad[row])
        assert f"{name}: {found.bad[row]}" in messages
    assert f"{len(reasons)} of {len(reasons) + 2} pictures could not be read" in messages
    with pytest.raises(RuntimeError, match=r"cut\.png: .*truncated.*--strict|--strict"):
        (tmp_path / "data" / "features.h5").unlink()
        features.main(features.Options(**options.__dict__ | {"strict": True}))


def test_a_repaired_image_is_read_by_the_next_run(tmp_path):
    folder = noise_folder(tmp_path / "data", 5)
    options = features.Options(folder, "resnet8", "none", device="cpu", workers=0, batch_size=2)
    features.main(options)
    (folder / "features.h5").rename(folder / "whole.h5")
    good = (folder / "pictures" / "3.png").read_bytes()
    (folder / "pictures" / "3.png").write_bytes(good[:100])
    assert features.main(options) == 1
    (folder / "pictures" / "3.png").write_bytes(good)
    assert features.main(options) == 0
    found, whole = FeatureFile(folder / "features.h5"), FeatureFile(folder / "whole.h5")
    assert found.fc(np.arange(5)).tobytes() == whole.fc(np.arange(5)).tobytes()
