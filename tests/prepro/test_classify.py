"""prepro.classify: names of classes, errors on a data set, pictures that cannot be read."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from prepro import classify, encoders, pretrain
from prepro.images import open_rgb
from prepro.pretraining.evaluate import ten_crops
from prepro.runtime.distributed import SINGLE_PROCESS
from tests.prepro.pretraining.test_datasets import write_folder
from tests.prepro.test_pretrain import options


def test_classify_names_classes_and_measures_errors(tmp_path, capsys):
    folder = write_folder(tmp_path / "d", count=20, size=24)
    pretrain.main(options(folder, tmp_path / "run", epochs=4, augment="none", lr=0.1))
    capsys.readouterr()
    file, red = str(tmp_path / "run" / "encoder.safetensors"), folder / "val" / "red" / "0.png"
    for crops in (1, 10):
        classify.main(
            classify.Options((red,), encoder=(file,), crops=crops, json=True, device="cpu")
        )
        (best, sure), (other, rest) = json.loads(capsys.readouterr().out)[str(red)]
        assert (best, other) == ("red", "green") and sure + rest == pytest.approx(1, abs=1e-5)
        measure = classify.Options(
            encoder=(file,), data=folder, crops=crops, json=True, device="cpu"
        )
        classify.main(measure)
        assert json.loads(capsys.readouterr().out)["top1"] == 0
    with pytest.raises(ValueError, match="give picture files or --data"):
        classify.main(classify.Options(encoder=(file,)))
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"x")
    assert classify.main(classify.Options((bad, red), encoder=(file,), device="cpu")) == 1
    printed = capsys.readouterr()
    assert f"left out {bad}" in printed.err and str(red) in printed.out
    lost = tmp_path / "lost.jpg"
    assert classify.main(classify.Options((lost, red), encoder=(file,), device="cpu")) == 1
    printed = capsys.readouterr()
    assert f"left out {lost}: no such file" in printed.err and str(red) in printed.out
    with pytest.raises(FileNotFoundError, match="lost.jpg"):
        classify.main(classify.Options((lost,), encoder=(file,), device="cpu"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Three untrained networks of seven classes, the last with other classes, and a picture."""
    folder, files = tmp_path_factory.mktemp("networks"), []
    for seed, names in enumerate(("abcdefg", "abcdefg", "abc")):
        encoder = encoders.create_encoder("resnet8-w4", seed=seed)
        encoder = encoders.reset_classifier(encoder, tuple(names), seed)
        encoder.network.get_submodule(encoder.network.classifier).weight.data.mul_(20)
        transform = replace(encoder.transform, resize=40, crop=32 - 8 * seed)
        files.append(str(folder / f"{seed}.safetensors"))
        encoders.save(replace(encoder, transform=transform), files[-1])
    picture = folder / "picture.png"
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    return files, picture


def probabilities(file, picture, crops):
    """Softmax of the logits of the centre crop, or of the mean of ten crops' logits."""
    encoder = encoders.load(file)
    transform, image = encoder.transform, open_rgb(picture)
    pixels = ten_crops(image, transform) if crops == 10 else transform.pixels(image)[None]
    with torch.inference_mode():
        logits = encoder.network.eval()(transform.normalise(torch.from_numpy(pixels.copy())))
    return logits.mean(0).softmax(0)


@pytest.mark.parametrize("crops", [1, 10])
def test_an_ensemble_averages_probabilities(networks, capsys, crops):
    (first, second, _), picture = networks
    mean = (probabilities(first, picture, crops) + probabilities(second, picture, crops)) / 2
    best = mean.argsort(descending=True)[:5].tolist()
    given = classify.Options((picture,), (first, second), crops=crops, device="cpu")
    assert classify.main(given) == 0
    name, *lines = capsys.readouterr().out.splitlines()
    assert name == str(picture)
    assert [line.split()[1] for line in lines] == ["abcdefg"[i] for i in best]
    values = [float(line.split()[0]) for line in lines]
    assert values == pytest.approx(mean[best].tolist(), abs=2e-3)
    assert all(len(line.split()[0]) == len("0.1234") for line in lines)
    assert classify.main(replace(given, json=True)) == 0
    found = json.loads(capsys.readouterr().out)[str(picture)]
    assert [label for label, _ in found] == ["abcdefg"[i] for i in best]


def test_classes_without_names_are_numbered(networks):
    (first, _, _), picture = networks
    nameless = replace(encoders.load(first), classes=())
    found = classify.best_classes([nameless], open_rgb(picture), SINGLE_PROCESS, 1)
    best = probabilities(first, picture, 1).argsort(descending=True)[:5].tolist()
    assert [name for name, _ in found] == [f"class {i}" for i in best]


@pytest.mark.parametrize(
    ("sizes", "crop", "resize"),
    [({}, 32, 40), ({"crop": 28}, 28, 32), ({"resize": 64}, 32, 64), ({"crop": 9}, 9, 10)],
)
def test_the_crop_and_the_size_before_it(networks, sizes, crop, resize):
    """--resize is 8/7 of --crop unless given."""
    (first, *_), _ = networks
    encoder = classify.load_encoder(first, classify.Options(**sizes), SINGLE_PROCESS)
    assert (encoder.transform.crop, encoder.transform.resize) == (crop, resize)
    assert not encoder.network.training


def test_options_that_do_not_fit_are_refused(networks, tmp_path):
    (first, second, other), picture = networks
    data = write_folder(tmp_path / "d", count=2, size=24)
    for message, given in {
        "give picture files or --data, one of them": {"pictures": (picture,), "data": data},
        "--crops 2: expected 1 or 10": {"pictures": (picture,), "crops": 2},
        "--data measures one encoder": {"data": data, "encoder": (first, second)},
        "ensemble must have the same classes": {
            "pictures": (picture,), "encoder": (first, other), "device": "cpu",
        },
        "d has 2 classes, but the network 7": {"data": data, "encoder": (first,), "device": "cpu"},
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            classify.main(classify.Options(**given))
    with pytest.raises(FileNotFoundError, match="gone: no such file or folder"):
        classify.main(classify.Options(data=tmp_path / "gone", encoder=(first,)))


def test_errors_are_printed_with_three_digits(networks, tmp_path, monkeypatch, capsys):
    (*_, three), _ = networks
    data = write_folder(tmp_path / "d", count=2, size=24, classes=("a", "b", "c"))
    monkeypatch.setattr(
        "prepro.pretraining.evaluate.evaluate",
        lambda *_, **__: {"loss": 1.23456, "top1": 33.33333, "top5": 0.0},
    )
    assert classify.main(classify.Options(encoder=(three,), data=data, device="cpu")) == 0
    assert capsys.readouterr().out == "loss 1.235\ntop-1 error 33.333 %\n"


def test_resnet50_with_one_crop_is_the_default(networks, monkeypatch, capsys):
    (first, *_), picture = networks
    named = []

    def create(name, weights):
        named.append((name, weights))
        return encoders.load(first)

    monkeypatch.setattr(encoders, "create_encoder", create)
    assert classify.main(classify.Options((picture,), device="cpu")) == 0
    assert named == [("resnet50", "default")]
    shown = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    best = probabilities(first, picture, 1).topk(5)
    assert [float(value) for value, _ in shown] == pytest.approx(best.values.tolist(), abs=2e-3)
