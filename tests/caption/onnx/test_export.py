"""caption.export to a folder and caption.onnx, against the captions of the captioner itself."""

import io
import json
import shutil
import sys
import warnings

import pytest
import torch

from caption import export, models
from caption.onnx import __main__ as command_line
from caption.onnx.folder import read_manifest
from caption.onnx.graphs import decoder_graphs
from caption.onnx.session import OnnxCaptioner
from eval import command
from prepro.images import open_rgb
from tests.cli.conftest import run, run_python


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    out = tmp_path_factory.mktemp("onnx") / "captioner"
    with warnings.catch_warnings(record=True) as noted:
        export.main(export.Options(out, tiny.runs["topdown"]))
    assert not noted  # those of the exporter are no concern of the user
    return out


def test_captions_equal_those_of_the_captioner(folder, tiny):
    captioner, exported = tiny.captioner(), OnnxCaptioner.load(folder, threads=1)
    pictures = sorted((tiny.data / "images").iterdir())[:6]
    for beam in (1, 3):
        wanted = captioner.captions(pictures, beam=beam)
        for picture, (best, *_) in zip(pictures, wanted, strict=True):
            found = exported.captions(picture, beam=beam)[0]
            assert found.text == best.text
            assert found.log_prob == pytest.approx(best.log_prob, abs=1e-3)


def test_the_command_does_not_import_torch(folder, tiny):
    picture = next((tiny.data / "images").iterdir())
    ran = run_python("-X", "importtime", "-m", "caption.onnx", picture, "--model", folder)
    assert ran.status == 0 and ran.out.strip()
    names = {line.rpartition("|")[2].strip() for line in ran.err.splitlines()}
    assert "onnxruntime" in names and "torch" not in names


def test_stored_smaller_the_graphs_still_encode(folder, tiny, tmp_path):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from caption.onnx.storage import compress

    picture = next((tiny.data / "images").iterdir())
    exact = OnnxCaptioner.load(folder, 1).encode(picture)[0]
    pixels = read_manifest(folder).transform.pixels(open_rgb(picture))[None]
    for storage, error in (("float16", 1e-2), ("int8", 0.2)):
        small = tmp_path / f"{storage}.onnx"
        onnx.save(compress(onnx.load(folder / "encoder.onnx"), storage), small)
        assert small.stat().st_size < 0.7 * (folder / "encoder.onnx").stat().st_size
        fc = onnxruntime.InferenceSession(small).run(None, {"pixels": pixels})[0]
        assert abs(fc - exact).max() <= error * abs(exact).max()


@pytest.mark.parametrize("name", models.DECODERS)
def test_programs_hold_for_other_sizes(tiny, name):
    """The step that torch.export traced with 2 images and 3 beams, with 1 image and 1 or 5."""
    captioner = tiny.captioner(name)
    _, step = decoder_graphs(captioner)
    program = step.export().module()
    torch.manual_seed(0)
    d = captioner.decoder.shape.features
    features = models.Features(torch.randn(1, d), torch.randn(1, 49, d))
    for beams in (1, 5):
        with torch.no_grad():
            state = captioner.decoder.begin(features).expand(beams)
            tokens = torch.zeros(1, beams, dtype=torch.int64)
            for _ in range(2):
                wanted = captioner.decoder.step(tokens, state)
                rows = (t.contiguous() for t in state.rows)
                log_probs, *_ = program(tokens, *state.image, *rows)
                torch.testing.assert_close(log_probs, wanted.log_probs, atol=1e-4, rtol=1e-4)
                tokens, state = wanted.log_probs.argmax(-1), wanted.state


def test_other_folders_are_left_alone(tiny, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds other files"):
        export.main(export.Options(tmp_path, tiny.runs["topdown"]))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_wrong_manifest_is_named(folder, tmp_path):
    values = json.loads((folder / "captioner.json").read_text())
    (tmp_path / "captioner.json").write_text(json.dumps({**values, "end_token": 3}))
    with pytest.raises(ValueError, match="end_token"):
        read_manifest(tmp_path)
    with pytest.raises(FileNotFoundError, match="caption.export"):
        read_manifest(tmp_path / "gone")


def test_a_damaged_graph_is_named(folder, tiny, tmp_path):
    """Missing, cut off, or of the right size but no graph: one line that names the file."""
    picture = next((tiny.data / "images").iterdir())
    for damage, words in (
        ("missing", "no such file"),
        ("cut", "truncated"),
        ("zeros", "not a graph"),
    ):
        copy = tmp_path / damage
        shutil.copytree(folder, copy)
        graph = copy / "step.onnx"
        whole = graph.read_bytes()
        graph.unlink()
        if damage != "missing":
            graph.write_bytes(whole[: len(whole) // 2] if damage == "cut" else bytes(len(whole)))
        ran = run("caption.onnx", picture, "--model", copy)
        assert ran.status == 2 and ran.out == ""
        assert "step.onnx" in ran.err and words in ran.err
        assert len(ran.err.splitlines()) == 1


def test_a_folder_without_the_runtime_is_named_before_the_export(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("caption.onnx.export.export_folder", None)
    with pytest.raises(FileNotFoundError, match="unpacked onnxruntime-web package"):
        export.main(
            export.Options(tmp_path / "out", tiny.runs["topdown"], web=True, runtime=tmp_path)
        )
    assert not (tmp_path / "out").exists()


@pytest.fixture
def pictures(tiny):
    return [str(path) for path in sorted((tiny.data / "images").iterdir())[:3]]


@pytest.fixture
def captioned(folder, capsys):
    def captioned(*words):
        argv = [*map(str, words), "--model", str(folder)]
        return command_line.main(command.parse(command_line.Options, argv)), *capsys.readouterr()

    return captioned


def test_what_is_printed_are_the_captions_of_the_captioner(captioned, pictures, tiny):
    captioner = tiny.captioner()
    (first,), (second,) = captioner.captions(pictures[:2])
    status, out, err = captioned(pictures[0])
    assert (status, out) == (0, first.text + "\n")
    assert err == f"model: {captioner.description}\n"
    expected = f"{pictures[0]}: {first.text}\n{pictures[1]}: {second.text}\n"
    assert captioned(*pictures[:2])[1] == expected
    (best,) = captioner.captions(pictures[:1], beam=1)[0]
    assert captioned(pictures[0], "--beam", 1)[1] == best.text + "\n"


def test_json_lines_have_the_file_the_caption_and_its_log_probability(captioned, pictures, tiny):
    _, out, _ = captioned(*pictures[:2], "--n", 3, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    wanted = tiny.captioner().captions(pictures[:2], n=3)
    pairs = [(n, c) for n, some in zip(pictures, wanted, strict=False) for c in some]
    assert [(row["file"], row["caption"]) for row in rows] == [(n, c.text) for n, c in pairs]
    for row, (_, caption) in zip(rows, pairs, strict=True):
        assert row["log_prob"] == pytest.approx(caption.log_prob, abs=1e-3)


def test_a_bad_picture_is_named_and_the_others_are_captioned(captioned, pictures, tmp_path):
    bad = tmp_path / "bäd.jpg"
    bad.write_text("<html>")
    status, out, err = captioned(bad, pictures[0], "gone.jpg", "--json")
    assert status == 1
    assert [json.loads(line)["file"] for line in out.splitlines()] == [pictures[0]]
    lines = [line for line in err.splitlines() if line.startswith("caption.onnx: ")]
    assert [line.split(": ")[1] for line in lines] == [str(bad), "gone.jpg"]


def test_without_a_picture_an_example_is_given(folder):
    with pytest.raises(ValueError, match="give a picture: python -m caption.onnx photo.jpg"):
        command_line.main(command_line.Options((), folder))


def test_attention_is_that_of_the_captioner(folder, tiny, pictures):
    ((wanted,),) = tiny.captioner().captions(pictures[:1])
    (found,) = OnnxCaptioner.load(folder).captions(pictures[0])
    assert list(found.words) == wanted.words and len(found.attention) == len(found.words)
    for ours, theirs in zip(found.attention, wanted.attention, strict=True):
        assert ours == pytest.approx(theirs.numpy(), abs=1e-4)


def test_an_option_that_is_not_supported_is_named(folder, pictures):
    with pytest.raises(ValueError, match="^must is not supported here; use caption.sample"):
        OnnxCaptioner.load(folder).captions(pictures[0], must=("two",), sample="gumbel", n=1)


def test_threads_are_left_to_onnxruntime_unless_they_are_given(folder):
    for given, threads in (((), 0), ((2,), 2)):
        sessions = OnnxCaptioner.load(folder, *given).sessions
        assert sessions.keys() == {"encoder", "begin", "step"}
        for session in sessions.values():
            assert session.get_session_options().intra_op_num_threads == threads
    assert command_line.Options((), folder).threads == 0


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_caption_is_written_out_at_once(folder, pictures, tmp_path, monkeypatch, flags):
    """A program that reads the lines does not wait for the last; names stay readable."""
    name = str(tmp_path / "bär.jpg")
    shutil.copy(pictures[0], name)
    written = io.BytesIO()
    buffered = io.TextIOWrapper(written, "utf-8")
    monkeypatch.setattr(sys, "stdout", buffered)
    argv = [name, pictures[1], "--model", str(folder), *flags]
    assert command_line.main(command.parse(command_line.Options, argv)) == 0
    first, second = written.getvalue().decode().splitlines()
    assert name in first and pictures[1] in second
