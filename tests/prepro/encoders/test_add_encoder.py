"""A new encoder is one file: the example in README.md, in a folder of its own."""

import hashlib
import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch

from prepro.encoders import create_encoder, encoder_table, families, load, save
from prepro.encoders.__main__ import describe
from prepro.encoders.pretrained import PublishedWeights
from prepro.encoders.region_positions import map_extent
from prepro.transform import Transform

README = Path(__file__).resolve().parents[3] / "README.md"
WEIGHTS = """
from prepro.encoders.pretrained import PublishedWeights
from prepro.transform import Transform


def load():
    return {name: tensor + 1 for name, tensor in Patchify().state_dict().items()}


def published():
    return [PublishedWeights("EXAMPLE", Transform(resize=70, crop=64), load=load)]


ENCODERS = [EncoderSpec("patchify", Patchify, published=published)]
"""


@pytest.fixture
def add_family(tmp_path, monkeypatch):
    """Writes a family file into a folder that is searched beside prepro/encoders/families/."""

    def add(module: str, extra: str = "") -> None:
        section = README.read_text(encoding="utf-8").partition("### Add an encoder")[2]
        code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
        (tmp_path / f"{module}.py").write_text(code + extra)
        monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
        encoder_table.cache_clear()

    yield add
    encoder_table.cache_clear()


def test_readme_example_is_listed_created_and_saved(add_family, tmp_path):
    add_family("patchify_example")
    assert {"patchify", "patchify_wide", "resnet50"} <= set(encoder_table())
    row = describe("patchify_wide")
    assert (row["width"], row["regions"], row["weights"]) == (256, 49, [])
    encoder = create_encoder("patchify", seed=3)
    assert encoder.network(torch.zeros(2, 3, 64, 64)).shape == (2, 1000)
    assert map_extent("patchify", 64) == (0, 64)
    save(encoder, tmp_path / "encoder.safetensors")
    assert load(tmp_path / "encoder.safetensors").sha256 == encoder.sha256


def test_state_dict_sets_the_number_of_classes(add_family, tmp_path):
    add_family("patchify_classes")
    network = encoder_table()["patchify"].create(classes=5)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    encoder = create_encoder("patchify", str(tmp_path / "weights.pth"))
    assert encoder.metadata()["outputs"] == 5


def test_default_weights_come_from_the_family_file(add_family):
    add_family("patchify_weights", WEIGHTS)
    encoder = create_encoder("patchify", "default")
    assert encoder.published and encoder.weights == "EXAMPLE"
    assert encoder.transform == Transform(resize=70, crop=64)
    with pytest.raises(ValueError, match="give default, none, a file, or EXAMPLE"):
        create_encoder("patchify", "IMAGENET")


def test_weights_without_a_loader_are_downloaded(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: asked.append(url))
    PublishedWeights("X", Transform(), url="https://example.org/x-01234567.pth").state_dict()
    assert asked == ["https://example.org/x-01234567.pth"]


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_download_is_checked_by_its_hash_and_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for content, error in (({"a": torch.ones(2)}, None), ({"a": Payload()}, UnpicklingError)):
        torch.save(content, tmp_path / "x.pth")
        right = hashlib.sha256((tmp_path / "x.pth").read_bytes()).hexdigest()[:8]
        for digits, expected in (("01234567", RuntimeError), (right, error)):
            path = shutil.copy(tmp_path / "x.pth", tmp_path / f"x-{digits}.pth")
            weights = PublishedWeights("X", Transform(), url=path.as_uri())
            with pytest.raises(expected) if expected else nullcontext():
                assert weights.state_dict()["a"].tolist() == [1, 1]
    assert not (tmp_path / "executed").exists()
    with pytest.raises(ValueError, match="X: cannot be downloaded .* fetch file:///none.pth on a"):
        PublishedWeights("X", Transform(), url="file:///none.pth").state_dict()


def test_every_family_lists_its_encoders():
    assert all(spec.name == name for name, spec in encoder_table().items())
    names = [path.stem for path in Path(families.__file__).parent.glob("[!_]*.py")]
    used = {spec.network.__module__.rpartition(".")[2] for spec in encoder_table().values()}
    assert used == set(names)
