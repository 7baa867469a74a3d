"""prepro.classify: names of classes, errors on a data set, pictures that cannot be read."""

import json

import pytest

from prepro import classify, pretrain
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
