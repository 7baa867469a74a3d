"""The training loop: learning, exact resuming, bad images, signals and error messages."""

import json
import math
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from prepro import curves, encoders, pretrain
from prepro.pretraining import trainer
from prepro.pretraining.dataset import LabelledDataset
from prepro.pretraining.datasets import open_dataset
from prepro.pretraining.image_folder import ImageFiles
from prepro.pretraining.tasks import SingleLabel
from prepro.runtime.run_folder import lock_run
from tests.prepro.pretraining.test_datasets import write_folder
from tests.prepro.test_curves import FINISHED, LINE

NET = "resnet8-w4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "d", count=20, size=24)


def options(folder, out, **changes):
    settings = {"epochs": 3, "batch": 8, "crop": 16, "resize": 24, "encoder": NET, "device": "cpu"}
    return pretrain.Options(data=folder, out=out, **settings | changes)


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out):
    return encoders.load(out / "encoder.safetensors")


def test_training_learns_to_classify_colours(folder, tmp_path, capsys):
    pretrain.main(options(folder, tmp_path / "run", epochs=4, augment="none", lr=0.1))
    printed = capsys.readouterr()
    assert printed.out.startswith(str(tmp_path / "run" / "encoder.safetensors"))
    encoder = weights(tmp_path / "run")
    assert encoder.classes == ("green", "red") and encoder.transform.crop == 16
    rows = metrics(tmp_path / "run")
    validated = [row["val"] for row in rows if "val" in row]
    assert len(validated) == 4 and validated[-1]["top1"] == 0 and validated[-1]["top5"] == 0
    trained = [row["train"]["loss"] for row in rows if "train" in row]
    assert trained[-1] < trained[0]
    (line,) = [line for line in printed.err.splitlines() if line.startswith("epoch 4 ")]
    assert re.fullmatch(
        r"epoch 4  loss \d\.\d{3}  val loss \d\.\d{3}  val top-1 error 0\.0 %", line
    )


def test_the_learning_rate_falls_with_the_steps_of_all_epochs(folder, tmp_path):
    pretrain.main(options(folder, tmp_path / "run", lr=0.1, step=1, gamma=0.9))
    steps = math.ceil(len(open_dataset(folder).train) / 8)
    last = [row["lr"] for row in metrics(tmp_path / "run") if "train" in row]
    assert steps > 1 and last == pytest.approx([0.1 * 0.9 ** (n * steps) for n in (1, 2, 3)])


class Stopped(Exception):
    pass


@pytest.mark.parametrize("changes", [{}, {"recipe": "modern", "ema": 0.9}])
def test_resume_gives_identical_weights(folder, tmp_path, monkeypatch, changes):
    pretrain.main(options(folder, tmp_path / "complete", **changes))
    original = trainer.train_epoch

    def stop_in_the_third(state, *arguments):
        if state.epoch == 2:
            raise Stopped
        return original(state, *arguments)

    monkeypatch.setattr(trainer, "train_epoch", stop_in_the_third)
    with pytest.raises(Stopped):
        pretrain.main(options(folder, tmp_path / "resumed", **changes))
    monkeypatch.undo()
    with open(tmp_path / "resumed" / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"epoch": 2.4, "train": {"loss": 99.0}}) + "\n")
        file.write('{"epoch": 2.8, "tra')  # torn, as a kill leaves it
    torch.manual_seed(77)
    pretrain.main(options(folder, tmp_path / "resumed", resume=True, **changes))
    states = [
        torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("complete", "resumed")
    ]
    assert states[0]["best"] == states[1]["best"] and states[1]["epoch"] == 3
    for name, tensor in states[0]["network"].items():
        assert torch.equal(tensor, states[1]["network"][name])
    assert weights(tmp_path / "complete").sha256 == weights(tmp_path / "resumed").sha256
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("complete", "resumed")]
    assert logs[0] == logs[1]


def test_resume_reads_checkpoints_of_earlier_versions(folder, tmp_path):
    pretrain.main(options(folder, tmp_path / "complete"))
    pretrain.main(options(folder, tmp_path / "run", epochs=2))
    path = tmp_path / "run" / "last.pt"
    content = torch.load(path, weights_only=True)
    content["settings"]["epochs"] = 3
    content["meant"] = content.pop("settings")  # its name until November 2026
    torch.save(content, path)
    pretrain.main(options(folder, tmp_path / "run", resume=True))
    assert torch.load(path, weights_only=True)["epoch"] == 3


def test_a_damaged_checkpoint_is_one_line(folder, tmp_path):
    pretrain.main(options(folder, tmp_path / "run", epochs=1))
    path = tmp_path / "run" / "last.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"last\.pt: not a checkpoint of tensors"):
        pretrain.main(options(folder, tmp_path / "run", epochs=1, resume=True))


def test_a_locked_folder_is_refused(folder, tmp_path):
    with (
        lock_run(tmp_path / "run"),
        pytest.raises(RuntimeError, match="another training is writing into this folder"),
    ):
        pretrain.main(options(folder, tmp_path / "run", epochs=1))


COMMAND = [sys.executable, "-m", "prepro.pretrain"]


def interrupt(arguments, number, ready):
    """Start prepro.pretrain, send it a signal as soon as `ready()`; its exit status and stderr."""
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not ready():
        time.sleep(0.01)
    process.send_signal(number)
    messages = process.communicate(timeout=60)[1]
    assert "Traceback" not in messages, messages
    return process.returncode, messages


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_prints_how_to_resume(folder, tmp_path, number):
    out = tmp_path / "run"
    flags = ["--data", folder, "--out", out, "--encoder", NET, "--epochs", "400", "--batch", "8"]
    flags = [*map(str, flags), "--crop", "16", "--resize", "24", "--device", "cpu"]
    status, messages = interrupt(flags, number, (out / "last.pt").is_file)
    assert status == 128 + number
    (line,) = [line for line in messages.splitlines() if line.startswith("stopped in epoch")]
    resume = shlex.split(line.partition("go on with: python -m prepro.pretrain ")[2])
    assert resume == [*flags, "--resume"]
    epochs = torch.load(out / "last.pt", weights_only=True)["epoch"]
    assert line.startswith(f"stopped in epoch {epochs + 1}, which is repeated; ")
    length = len(metrics(out))
    interrupt(resume, number, lambda: len(metrics(out)) > length + 2)
    rows = [row["epoch"] for row in metrics(out)]
    assert rows == sorted(rows) and rows.count(epochs + 1) == 2  # a training and a validation row


def test_a_stop_before_the_first_checkpoint_says_to_start_again(folder, tmp_path, capsys):
    def stop_at_once(state, network, setup, log, stop):
        stop.status = 128 + signal.SIGINT
        return original(state, network, setup, log, stop)

    original = trainer.train_epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "train_epoch", stop_at_once)
        patch.setattr(sys, "argv", ["pretrain", "--data", "d"])
        assert pretrain.main(options(folder, tmp_path / "run")) == 130
    error = capsys.readouterr().err
    assert "stopped in epoch 1, before the first checkpoint" in error
    assert error.endswith("with: python -m prepro.pretrain --data d\n")
    pretrain.main(options(folder, tmp_path / "run", epochs=1))
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1.0, 1]


def test_resuming_with_other_settings_is_refused(folder, tmp_path):
    pretrain.main(options(folder, tmp_path / "run", epochs=1))
    with pytest.raises(ValueError, match="holds a run: add --resume"):
        pretrain.main(options(folder, tmp_path / "run", epochs=1))
    with pytest.raises(ValueError, match=r"was trained with lr 0\.05 \(now 0\.1\)"):
        pretrain.main(options(folder, tmp_path / "run", epochs=1, lr=0.1, resume=True))
    with pytest.raises(FileNotFoundError, match="nothing to resume from"):
        pretrain.main(options(folder, tmp_path / "none", resume=True))


def test_unreadable_images_are_left_out(tmp_path, capsys):
    folder = write_folder(tmp_path / "d", count=5, size=24)
    for part in ("train", "val"):
        (folder / part / "red" / "1.png").write_bytes(b"<html>")
    pretrain.main(options(folder, tmp_path / "run", epochs=1))
    error = capsys.readouterr().err
    assert error.count("left out ") == 2 and error.count("red/1.png: ") == 2
    assert math.isfinite(metrics(tmp_path / "run")[-1]["val"]["loss"])


def test_a_loss_that_is_not_finite_stops_before_the_step(folder, tmp_path):
    with pytest.raises(ValueError, match=r"epoch 1: the loss is (nan|inf); try a lower --lr"):
        pretrain.main(options(folder, tmp_path / "run", lr=1e30, augment="none"))
    assert not (tmp_path / "run" / "encoder.safetensors").exists()


def test_retraining_keeps_the_trunk_and_replaces_the_classifier(folder, tmp_path):
    pretrain.main(options(folder, tmp_path / "first", epochs=1))
    other = write_folder(tmp_path / "other", count=4, size=24, classes=("a", "b", "c"))
    start = tmp_path / "first" / "encoder.safetensors"
    run = options(other, tmp_path / "second", retrain=str(start), freeze_norms=True)
    from prepro.pretraining.recipes import choose_recipe

    prepared = pretrain.prepare_encoder(run, choose_recipe("small"), open_dataset(other))
    trunk = encoders.load(start).network.state_dict()
    retrained = prepared.network.state_dict()
    assert all(torch.equal(retrained[k], t) for k, t in trunk.items() if not k.startswith("fc."))
    pretrain.main(run)
    assert weights(tmp_path / "second").classes == ("a", "b", "c")


def test_checkpointed_blocks_train_the_same_weights(folder, tmp_path):
    for name, changes in (("a", {}), ("b", {"checkpoint_blocks": True})):
        pretrain.main(options(folder, tmp_path / name, epochs=1, **changes))
    assert weights(tmp_path / "a").sha256 == weights(tmp_path / "b").sha256


def test_workers_do_not_change_the_weights(folder, tmp_path):
    for name, workers in (("none", 0), ("two", 2)):
        pretrain.main(options(folder, tmp_path / name, epochs=2, workers=workers))
    assert weights(tmp_path / "none").sha256 == weights(tmp_path / "two").sha256


def test_two_processes_train_one_network(folder, tmp_path):
    """torchrun with two processes on the CPU: half a batch each, one metrics log."""
    flags = ["--data", str(folder), "--out", str(tmp_path / "run"), "--encoder", NET]
    flags += ["--epochs", "1", "--batch", "8", "--crop", "16", "--device", "cpu"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*launch, "-m", "prepro.pretrain", *flags], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    rows = metrics(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [1.0, 1] and "val" in rows[1]
    assert done.stdout.count("encoder.safetensors") == 1


def test_metrics_and_a_log_of_fb_resnet_torch_give_the_same_curves(folder, tmp_path):
    """The same run, written in both formats."""
    pretrain.main(options(folder, tmp_path / "run", epochs=2))
    lines = []
    for row in metrics(tmp_path / "run"):
        if "val" in row:
            lines.append(FINISHED.format(row["epoch"], row["val"]["top1"], row["val"]["top5"]))
        else:
            epoch, means = int(row["epoch"]), row["train"]
            assert row["epoch"] == epoch  # one window an epoch
            lines.append(LINE.format(epoch, 5, 5, means["loss"], means["top1"], means["top5"]))
    (tmp_path / "torch.log").write_text("\n".join(lines))
    from_metrics = curves.read(str(tmp_path / "run"))
    from_log = curves.read(str(tmp_path / "torch.log"), window=1)
    assert len(from_log.train) == len(from_log.val) == 2
    for points, logged in ((from_metrics.train, from_log.train), (from_metrics.val, from_log.val)):
        assert [x for x, _ in points] == [x for x, _ in logged]
        for (_, a), (_, b) in zip(points, logged, strict=True):
            assert all(a[key] == pytest.approx(b[key], abs=1e-3) for key in b)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_cuda_device_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"--device cuda: this PyTorch sees no CUDA device"):
        pretrain.main(options(folder, tmp_path / "run", device="cuda"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_on_handwritten_digits(tmp_path, seed):
    """scikit-learn's 1,797 digits, 1,437 for training: at most 3 % errors on the other 360."""
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    paths = []
    for index in order:
        path = tmp_path / f"{index}.png"
        grey = Image.fromarray((digits.images[index] * 255 / 16).astype("uint8"))
        grey.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB").save(path)
        paths.append(str(path))
    targets = digits.target[order].astype(np.int64)
    names = tuple(str(digit) for digit in range(10))
    data = LabelledDataset(
        ImageFiles(paths[:1437], targets[:1437]), ImageFiles(paths[1437:], targets[1437:]), names
    )
    settings = options(
        tmp_path, tmp_path / "run", encoder="resnet8", epochs=8, batch=64, lr=0.1, augment="none",
        crop=32, resize=32, seed=seed,
    )  # fmt: skip
    assert pretrain.run(settings, data, SingleLabel(names)) == 0
    assert metrics(tmp_path / "run")[-1]["val"]["top1"] <= 3
