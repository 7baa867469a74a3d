"""The training loop: it learns, resumes exactly, survives bad pictures and says what is wrong."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from prepro import classify, curves, encoders, pretrain
from prepro.encoders import memory
from prepro.pretraining import trainer
from prepro.pretraining.datasets import open_data
from prepro.pretraining.evaluate import evaluate
from prepro.pretraining.image_folder import Files
from prepro.pretraining.loader import shuffled
from prepro.pretraining.targets import Classes
from prepro.runtime.distributed import DistributedContext
from tests.prepro.pretraining.test_datasets import write_folder

NET = "resnet8-w4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "d", count=20, size=24)


def options(folder, out, **changes):
    settings = {"epochs": 3, "batch": 8, "crop": 16, "resize": 24, "encoder": NET, "device": "cpu"}
    return pretrain.Options(data=folder, out=out, **settings | changes)


def journal(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out):
    return encoders.load(out / "encoder.safetensors")


def test_it_learns_to_tell_colours_apart(folder, tmp_path, capsys):
    pretrain.main(options(folder, tmp_path / "run", epochs=4, augment="none", lr=0.1))
    printed = capsys.readouterr()
    assert printed.out.startswith(str(tmp_path / "run" / "encoder.safetensors"))
    encoder = weights(tmp_path / "run")
    assert encoder.classes == ("green", "red") and encoder.transform.crop == 16
    rows = journal(tmp_path / "run")
    validated = [row["val"] for row in rows if "val" in row]
    assert len(validated) == 4 and validated[-1]["top1"] == 0 and validated[-1]["top5"] == 0
    trained = [row["train"]["loss"] for row in rows if "train" in row]
    assert trained[-1] < trained[0]
    assert "* Finished epoch # 4     top1:   0.000  top5:   0.000" in printed.err


class Stopped(Exception):
    pass


@pytest.mark.parametrize("changes", [{}, {"recipe": "modern", "ema": 0.9}])
def test_a_resumed_run_ends_in_the_same_weights(folder, tmp_path, monkeypatch, changes):
    pretrain.main(options(folder, tmp_path / "whole", **changes))
    original = trainer.train_epoch

    def stop_in_the_third(training, network, job):
        if training.epoch == 2:
            raise Stopped
        original(training, network, job)

    monkeypatch.setattr(trainer, "train_epoch", stop_in_the_third)
    with pytest.raises(Stopped):
        pretrain.main(options(folder, tmp_path / "parts", **changes))
    monkeypatch.undo()
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"epoch": 2.4, "train": {"loss": 99.0}}) + "\n")
    torch.manual_seed(77)
    pretrain.main(options(folder, tmp_path / "parts", resume=True, **changes))
    states = [torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("whole", "parts")]
    assert states[0]["best"] == states[1]["best"] and states[1]["epoch"] == 3
    for name, tensor in states[0]["network"].items():
        assert torch.equal(tensor, states[1]["network"][name])
    assert weights(tmp_path / "whole").sha256 == weights(tmp_path / "parts").sha256
    journals = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert journals[0] == journals[1]


def test_resuming_something_else(folder, tmp_path):
    pretrain.main(options(folder, tmp_path / "run", epochs=1))
    with pytest.raises(ValueError, match="holds a run already: --resume it"):
        pretrain.main(options(folder, tmp_path / "run", epochs=1))
    with pytest.raises(ValueError, match=r"was trained with lr 0\.05"):
        pretrain.main(options(folder, tmp_path / "run", epochs=1, lr=0.1, resume=True))
    with pytest.raises(FileNotFoundError, match="nothing to resume from"):
        pretrain.main(options(folder, tmp_path / "none", resume=True))


def test_bad_pictures_stop_nothing(tmp_path, capsys):
    folder = write_folder(tmp_path / "d", count=5, size=24)
    for part in ("train", "val"):
        (folder / part / "red" / "1.png").write_bytes(b"<html>")
    pretrain.main(options(folder, tmp_path / "run", epochs=1))
    error = capsys.readouterr().err
    assert error.count("left out ") == 2 and error.count("red/1.png: ") == 2
    assert math.isfinite(journal(tmp_path / "run")[-1]["val"]["loss"])


def test_a_loss_that_is_not_finite_stops_before_the_step(folder, tmp_path):
    with pytest.raises(ValueError, match="epoch 1: the loss is (nan|inf); try a lower --lr"):
        pretrain.main(options(folder, tmp_path / "run", lr=1e30, augment="none"))
    assert not (tmp_path / "run" / "encoder.safetensors").exists()


def test_retraining_keeps_the_trunk_and_renews_the_classifier(folder, tmp_path):
    pretrain.main(options(folder, tmp_path / "first", epochs=1))
    other = write_folder(tmp_path / "other", count=4, size=24, classes=("a", "b", "c"))
    start = tmp_path / "first" / "encoder.safetensors"
    run = options(other, tmp_path / "second", retrain=str(start), freeze_norms=True)
    from prepro.pretraining.recipes import choose

    prepared = pretrain.prepare(run, choose("small"), open_data(other))
    trunk = encoders.load(start).network.state_dict()
    ours = prepared.network.state_dict()
    assert all(torch.equal(ours[k], t) for k, t in trunk.items() if not k.startswith("fc."))
    pretrain.main(run)
    assert weights(tmp_path / "second").classes == ("a", "b", "c")


def test_checkpointed_blocks_train_the_same_weights(folder, tmp_path):
    for name, changes in (("a", {}), ("b", {"checkpoint_blocks": True})):
        pretrain.main(options(folder, tmp_path / name, epochs=1, **changes))
    assert weights(tmp_path / "a").sha256 == weights(tmp_path / "b").sha256


def test_workers_change_nothing(folder, tmp_path):
    for name, workers in (("none", 0), ("two", 2)):
        pretrain.main(options(folder, tmp_path / name, epochs=2, workers=workers))
    assert weights(tmp_path / "none").sha256 == weights(tmp_path / "two").sha256


def test_evaluation_by_hand(folder, monkeypatch):
    """Errors and loss of uneven batches are those of all pictures at once."""
    monkeypatch.setattr(memory, "reduced_precision", lambda device: None)
    data, labels = open_data(folder), Classes(("green", "red"))
    encoder = encoders.reset_classifier(encoders.create_encoder(NET, seed=3), data.classes)
    place = DistributedContext(torch.device("cpu"))
    found = evaluate(encoder.network, encoder.transform, data.val, labels, place, batch=7)
    pixels = [encoder.transform.pixels(data.val.open(i)) for i in range(len(data.val))]
    with torch.inference_mode():
        batch = encoder.transform.normalise(torch.from_numpy(np.stack(pixels)))
        logits = encoder.network(batch)
    targets = torch.from_numpy(data.val.targets)
    loss = -logits.log_softmax(1)[range(len(targets)), targets].mean()
    assert found["loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert found["top1"] == pytest.approx((logits.argmax(1) != targets).float().mean() * 100)


def test_errors_with_few_and_many_classes():
    logits = torch.tensor([[0.0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
    errors = Classes(tuple("abcdef")).errors(logits, torch.tensor([0, 0]))
    assert errors["top1"].tolist() == [1, 0] and errors["top5"].tolist() == [1, 0]
    few = Classes(("a", "b")).errors(logits[:, :2], torch.tensor([0, 0]))
    assert few["top1"].tolist() == [1, 0] and few["top5"].tolist() == [0, 0]
    broken = Classes(("a", "b")).errors(torch.full((1, 2), math.nan), torch.tensor([0]))
    assert broken["top1"].tolist() == [1]


def test_shares_of_an_epoch():
    whole = shuffled(10, seed=1, epoch=2)
    assert sorted(whole) == list(range(10)) and whole != shuffled(10, 1, 3)
    shares = [shuffled(10, 1, 2, rank, 4) for rank in range(4)]
    assert {len(share) for share in shares} == {3} and set(sum(shares, [])) == set(range(10))


def test_two_processes_train_one_network(folder, tmp_path):
    """torchrun with two processes on the CPU: half a batch each, one file, one journal."""
    flags = ["--data", str(folder), "--out", str(tmp_path / "run"), "--encoder", NET]
    flags += ["--epochs", "1", "--batch", "8", "--crop", "16", "--device", "cpu"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*launch, "-m", "prepro.pretrain", *flags], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    rows = journal(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [1.0, 1] and "val" in rows[1]
    assert done.stdout.count("encoder.safetensors") == 1


def test_classify_names_pictures_and_measures(folder, tmp_path, capsys):
    pretrain.main(options(folder, tmp_path / "run", epochs=4, augment="none", lr=0.1))
    capsys.readouterr()
    file, red = str(tmp_path / "run" / "encoder.safetensors"), folder / "val" / "red" / "0.png"
    for crops in (1, 10):
        classify.main(classify.Options((red,), encoder=file, crops=crops, json=True, device="cpu"))
        (best, sure), (other, rest) = json.loads(capsys.readouterr().out)[str(red)]
        assert (best, other) == ("red", "green") and sure + rest == pytest.approx(1, abs=1e-5)
        measure = classify.Options(encoder=file, data=folder, crops=crops, json=True, device="cpu")
        classify.main(measure)
        assert json.loads(capsys.readouterr().out)["top1"] == 0
    with pytest.raises(ValueError, match="give picture files or --data"):
        classify.main(classify.Options(encoder=file))
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"x")
    assert classify.main(classify.Options((bad, red), encoder=file, device="cpu")) == 1
    printed = capsys.readouterr()
    assert f"left out {bad}" in printed.err and str(red) in printed.out


def test_our_own_journal_and_our_own_talk_draw_the_same_curves(folder, tmp_path, capsys):
    pretrain.main(options(folder, tmp_path / "run", epochs=2))
    (tmp_path / "talk.log").write_text(capsys.readouterr().err)
    kept = curves.read(str(tmp_path / "run"))
    talk = curves.read(str(tmp_path / "talk.log"), window=1)
    for ours, theirs in ((kept.train, talk.train), (kept.val, talk.val)):
        assert [x for x, _ in ours] == [x for x, _ in theirs]
        for (_, a), (_, b) in zip(ours, theirs, strict=True):
            assert all(a[key] == pytest.approx(b[key], abs=1e-3) for key in b)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_asked_for_and_absent(folder, tmp_path):
    with pytest.raises(ValueError, match="--device cuda: this PyTorch sees no CUDA device"):
        pretrain.main(options(folder, tmp_path / "run", device="cuda"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_real_handwritten_digits(tmp_path, seed):
    """scikit-learn's 1,797 digits, 1,437 to learn from: at most 3 % errors on the other 360."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    paths = []
    for index in order:
        path = tmp_path / f"{index}.png"
        grey = Image.fromarray((digits.images[index] * 255 / 16).astype("uint8"))
        grey.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB").save(path)
        paths.append(str(path))
    targets = digits.target[order].astype(np.int64)
    from prepro.pretraining.dataset import Data

    names = tuple(str(digit) for digit in range(10))
    data = Data(Files(paths[:1437], targets[:1437]), Files(paths[1437:], targets[1437:]), names)
    settings = options(
        tmp_path, tmp_path / "run", encoder="resnet8", epochs=8, batch=64, lr=0.1, augment="none",
        crop=32, resize=32, seed=seed,
    )  # fmt: skip
    assert pretrain.run(settings, data, Classes(names))["top1"] <= 3
