"""The folder of an export: what appears in it, what captioner.json holds, what --check says."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from caption import export
from caption.decoding.decode import DecodeOptions
from caption.onnx import check
from caption.onnx.export import write_graph
from caption.onnx.folder import Manifest, file_facts, read_manifest, require_whole, write_manifest
from caption.onnx.graphs import encoder_graph
from eval.scoring import score
from prepro.storage.label_file import read_labels
from prepro.transform import Transform
from tests.caption.reporting.counted_bar import CountedBar


def test_an_export_replaces_the_one_before(tiny, tmp_path, monkeypatch, capsys):
    written = []

    def write_graph(graph, path, form, storage):
        written.append((path.name, form, storage))
        path.write_text(graph.name)

    monkeypatch.setattr("caption.onnx.export.write_graph", write_graph)
    out = tmp_path / "a" / "b" / "captioner"
    for kind in ("topdown", "newfc"):
        export.main(export.Options(out, tiny.runs[kind], storage="float16"))
        about = json.loads((out / "captioner.json").read_text())
        assert about["about"]["decoder"] == kind and "encoder" in about["about"]["licence"]
        assert about["regions"] == (7 if kind == "topdown" else 0)
        (out / "old.txt").write_text("of the export before")
        assert capsys.readouterr().err.startswith("encoder.onnx\nbegin.onnx\nstep.onnx\n")
    assert written == 2 * [(f"{n}.onnx", "onnx", "float16") for n in ("encoder", "begin", "step")]
    assert about["files"]["begin.onnx"]["bytes"] == 5
    assert "onnx" in (out / "README.md").read_text("utf-8")
    assert [path.name for path in out.parent.iterdir()] == ["captioner"]
    empty = tmp_path / "empty"
    empty.mkdir()
    export.main(export.Options(empty, tiny.runs["newfc"]))
    assert not (empty / "old.txt").exists() and (empty / "captioner.json").exists()
    assert not (empty / "index.html").exists()
    export.main(export.Options(empty, tiny.runs["newfc"], web=True))
    assert (empty / "index.html").exists()
    with pytest.raises(ValueError, match="--storage int8 needs --format onnx"):
        export.main(
            export.Options(tmp_path / "c", tiny.runs["newfc"], format="pt2", storage="int8")
        )


def test_the_check_compares_both_captioners(tiny, tmp_path, monkeypatch):
    """One of the two validation pictures gets another caption from the export."""
    labels = read_labels(tiny.data)
    records = [labels.records[row] for row in labels.split("val")]
    captioner = tiny.captioner()
    paths = [labels.image_root / record.path for record in records]
    ours = dict(zip((r.id for r in records), captioner.sentences(paths), strict=True))
    theirs = ours | {records[0].id: records[0].captions[0]}

    class Exported:
        def captions(self, path):
            record = records[[str(one) for one in paths].index(str(path))]
            return [SimpleNamespace(text=text) for text in (theirs[record.id], "no")]

    monkeypatch.setattr(check.OnnxCaptioner, "load", lambda *_: Exported())
    told = []
    monkeypatch.setattr(check, "ProgressBar", partial(CountedBar, told))
    references = {record.id: record.captions for record in records}
    before, after = (score(references, found).corpus["CIDEr-D"] for found in (ours, theirs))
    assert check.check(captioner, tmp_path, tiny.data) == (
        f"{tiny.data}, 2 validation pictures: CIDEr-D {before:.4f} before, {after:.4f} exported; "
        "1 captions equal"
    )
    assert after > before and told == [(2, True), 1, 1]


SMALLEST = Manifest(
    ("dog", "'s", "a", ",", "the"), Transform(), 0, (-8.0, 0.0), 0, 1,
    DecodeOptions(beam=4, n=2, length_rule="wu", block_repeats=True, suppress_unk=False),
    {"name": "x", "description": "y", "licence": "z"},
    {"begin.onnx": {"bytes": 1, "integrity": "sha256-x"}},
)  # fmt: skip
"""without regions and without tensors of the picture, as the export of newfc"""


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    largest = replace(SMALLEST, regions=256, extent=(-3.5, 16384.0), image_tensors=1000)
    largest = replace(largest, words=("the", "dog"))  # the first word is one of the bad endings
    for manifest in (SMALLEST, largest):
        write_manifest(tmp_path, manifest)
        assert read_manifest(tmp_path) == manifest
        assert [path.name for path in tmp_path.iterdir()] == ["captioner.json"]


def test_a_manifest_says_which_tokens_end_badly_and_how_words_are_written(tmp_path):
    """What programs in other languages read: token 0 ends; words are numbered from 1."""
    write_manifest(tmp_path, SMALLEST)
    values = json.loads((tmp_path / "captioner.json").read_text())
    assert values["bad_endings"] == [3, 5] and values["end_token"] == 0
    assert values["spelling"] == {"'s": "'s"}
    assert values["decoding"]["beam"] == 4 and "must" not in values["decoding"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["version"], 2), (["end_token"], -1), (["end_token"], 1), (["regions"], -1),
        (["regions"], 257),
        (["bad_endings"], [0]), (["words"], ["a\nb"]), (["state", "rows"], 0),
        (["state", "image"], -1), (["decoding", "beam"], 0), (["decoding", "length_rule"], "long"),
        (["extent", "length"], -1), (["files", "begin.onnx", "bytes"], 0), (["files", "x"], {}),
        (["extent", "length"], 16_385), (["extent", "start"], -8193), (["extent", "start"], 8193),
        (["state", "image"], 1001), (["state", "rows"], 1001), (["words"], ["x" * 1001]),
        (["bad_endings"], [1] * 1001), (["bad_endings"], [10_000_001]),
        (["files", "begin.onnx", "bytes"], 2**40 + 1),
        (["files", "begin.onnx", "integrity"], "x" * 101),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named(tmp_path, place, value):
    write_manifest(tmp_path, SMALLEST)
    path = tmp_path / "captioner.json"
    values = json.loads(path.read_text())
    inner = values
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=place[-1]):
        read_manifest(tmp_path)


def test_a_graph_must_be_listed_and_whole(tmp_path):
    (tmp_path / "begin.onnx").write_bytes(b"12345")
    (tmp_path / "step.onnx").write_bytes(b"12345")
    manifest = replace(SMALLEST, files={"begin.onnx": file_facts(tmp_path / "begin.onnx")})
    require_whole(tmp_path / "begin.onnx", manifest)
    with pytest.raises(FileNotFoundError, match="step.onnx: no such file"):
        require_whole(tmp_path / "step.onnx", manifest)
    (tmp_path / "begin.onnx").write_bytes(b"1234")
    with pytest.raises(ValueError, match="4 bytes, 5 in captioner.json: truncated"):
        require_whole(tmp_path / "begin.onnx", manifest)


def test_pictures_of_any_size_cannot_be_exported(tiny):
    captioner = tiny.captioner()
    encoder = replace(captioner.encoder, transform=Transform("full", 64, 64))
    with pytest.raises(ValueError, match="transform mode full"):
        encoder_graph(replace(captioner, make_encoder=lambda: encoder))


@pytest.mark.parametrize(
    ("text", "reason"), [("first\nsecond", "first"), ("\n", "RuntimeError"), ("", "RuntimeError")]
)
def test_a_network_that_cannot_be_exported_costs_one_line(tmp_path, text, reason):
    def export():
        raise RuntimeError(text)

    graph = SimpleNamespace(name="begin", export=export)
    with pytest.raises(ValueError, match=rf"^begin: cannot be exported \({reason}\)$"):
        write_graph(graph, tmp_path / "begin.pt2", "pt2")
    assert not list(tmp_path.iterdir())
