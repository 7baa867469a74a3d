"""A new annotation format is one file: the example in README.md, in a folder of its own."""

import re
from pathlib import Path

import pytest

from prepro.annotations import formats, reader
from prepro.annotations.records import ImageRecord

README = Path(__file__).resolve().parents[3] / "README.md"


def test_readme_example_is_a_choice_and_is_recognised(tmp_path, monkeypatch):
    section = README.read_text(encoding="utf-8").partition("### Add an annotation format")[2]
    folder = tmp_path / "formats"
    folder.mkdir()
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    (folder / "pairs_example.py").write_text(code)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    assert "pairs_example" in formats.format_names()
    path = tmp_path / "train.pairs"
    path.write_text("a.jpg\nA dog.\nb.jpg\nA cat.\n")
    expected = [
        ImageRecord("a.jpg", "a.jpg", "train", ("A dog.",)),
        ImageRecord("b.jpg", "b.jpg", "train", ("A cat.",)),
    ]
    for name in ("auto", "pairs_example"):
        assert reader.read([path], name)[0] == expected
    path.rename(tmp_path / "train.unknown")
    with pytest.raises(ValueError, match=r"no annotation format .*pairs_example: a \.pairs file"):
        reader.read([tmp_path / "train.unknown"])


def test_format_choices_are_the_modules():
    expected = ("auto", "coco", "cocotalk", "flickr", "folder", "karpathy", "raw", "sgrvinod")
    assert formats.format_names() == expected
