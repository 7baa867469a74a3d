"""caption.sample in one process: ensembles, flags, what is refused; the pipeline has the rest."""

import dataclasses
import json
from typing import Annotated, get_args, get_type_hints

import pytest

from caption import sample
from caption.captioner import Captioner
from caption.decoding.decode import decode
from caption.decoding.ensemble_decoder import EnsembleDecoder
from caption.decoding.flags import DecodeFlags, apply_flags
from caption.decoding.options import DecodeOptions
from eval import command
from prepro.images import open_rgb
from tests.caption import tiny_runs as maker


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return maker.make(tmp_path_factory.mktemp("sample"), ("topdown", "newfc"))


@pytest.fixture
def pictures(tiny):
    return [str(path) for path in sorted((tiny.data / "images").iterdir())[:3]]


def said(capsys, *words) -> str:
    assert sample.main(command.parse(sample.Options, [*map(str, words)])) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("kinds", [("topdown",), ("topdown", "newfc")])
def test_runs_on_the_command_line_are_those_of_the_library(tiny, pictures, capsys, kinds):
    flags = [word for kind in kinds for word in ("--run", tiny.runs[kind])]
    out = said(capsys, *flags, *pictures, "--json", "--n", 2, "--device", "cpu")
    members = [Captioner.load(tiny.runs[kind] / "model.safetensors") for kind in kinds]
    features = [
        m.encode_images([open_rgb(p, m.encoder.transform.resize) for p in pictures])
        for m in members
    ]
    vocabulary = members[0].vocabulary
    model = EnsembleDecoder([m.decoder for m in members], [m.vocabulary for m in members]).eval()
    options = dataclasses.replace(members[0].decoding, n=2)
    expected = decode(model, features, options, vocabulary)
    for line, name, captions in zip(out.splitlines(), pictures, expected, strict=True):
        row = json.loads(line)
        assert row["file"] == name
        assert [c["words"] for c in row["captions"]] == [
            vocabulary.decode(c.token_ids) for c in captions
        ]
        for first, other in zip(row["captions"], captions, strict=True):
            assert first["log_probs"] == pytest.approx(other.log_probs, abs=1e-4)


def test_a_flag_may_come_before_the_pictures(tiny, pictures, capsys):
    before = said(capsys, "--run", tiny.runs["newfc"], "--beam", 1, *pictures)
    assert before == said(capsys, *pictures, "--beam", 1, "--run", tiny.runs["newfc"])
    assert before.count("\n") == 3


def test_vocabularies_that_differ_cost_one_line(tiny, pictures, tmp_path):
    other = maker.make(tmp_path, ("newfc",))
    captioner = other.captioner("newfc")
    maker.write_model(
        tmp_path / "model.safetensors", captioner.decoder,
        [*captioner.vocabulary.words[:-1], "zebra"], captioner.encoder.metadata()
        | {"weights": "none", "sha256": captioner.encoder.sha256, "public": False},
        captioner.encoder.network.state_dict(), 0, captioner.decoding, captioner.run,
    )  # fmt: skip
    with pytest.raises(ValueError, match="runs 1 and 2 differ: word .* is .* and 'zebra'"):
        sample.main(sample.Options((pictures[0],), (tiny.runs["topdown"], tmp_path)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{picture}", "--run", "{newfc}", "--attention", "x"], "has no attention over regions"),
        (["{picture}", "--run", "a", "--run", "b", "--attention", "x"], "give one --run"),
        (["--run", "{newfc}", "--must", "two", "{picture}"], "before --must"),
        (["{folder}/*.nothing"], "no such picture"),
        (["{picture}", "--run", "{newfc}", "--beam", "2", "--n", "3"], "beam of 2 has fewer"),
    ],
)
def test_what_is_refused(tiny, pictures, words, message):
    names = {"picture": pictures[0], "newfc": tiny.runs["newfc"], "folder": tiny.data / "images"}
    options = command.parse(sample.Options, [word.format(**names) for word in words])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        sample.main(options)


def test_patterns_may_be_absolute(tiny, pictures, capsys):
    out = said(capsys, f"{tiny.data}/images/*0[0-2].jpg", "--run", tiny.runs["newfc"])
    assert [line.split("\t")[0] for line in out.splitlines()] == pictures


def test_flags_are_the_options_all_of_them():
    """Names, kinds and texts are derived; what is given wins over the run's own, also a no."""
    hints = get_type_hints(DecodeFlags, include_extras=True)
    kinds = get_type_hints(DecodeOptions)
    assert list(hints) == [field.name for field in dataclasses.fields(DecodeOptions)]
    assert DecodeFlags.__required_keys__ == frozenset()
    for name, hint in hints.items():
        kind, about = get_args(hint)
        assert hint == Annotated[kind, about] and kind == kinds[name]
        assert len(about.help) > 8
    own = DecodeOptions(beam=4, suppress_unk=True, consensus=True, must=("dog",), sample="")
    words = ["x.jpg", "--no-suppress-unk", "--no-consensus", "--length-rule", "wu", "--must"]
    flags = command.parse(sample.Options, words).decode
    assert apply_flags(flags, own) == DecodeOptions(beam=4, suppress_unk=False, length_rule="wu")
    assert apply_flags({}, own) == own
    assert apply_flags({"n": 6}, own).beam == 6


def test_overlays_of_pictures_with_one_name_in_two_folders_are_two():
    assert sample._stems(["a/x.jpg", "b/x.png", "y.jpg"]) == {
        "a/x.jpg": "a_x", "b/x.png": "b_x", "y.jpg": "y",
    }  # fmt: skip
    assert sample._stems(["x.jpg", "x.png", "a/y.jpg"]) == {
        "x.jpg": "x_1", "x.png": "x_2", "a/y.jpg": "y",
    }  # fmt: skip


def test_overlays_of_long_names_have_names_that_a_file_can_have():
    files = [f"{'f' * 250}.jpg", f"{'é' * 120}.jpg", *(f"{'d' * 250}/{i}/x.jpg" for i in "ab")]
    found = sample._stems(files)
    assert len(set(found.values())) == 4
    assert all(len(stem.encode()) <= 200 and "/" not in stem for stem in found.values())


def test_attention_into_a_file_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    (tmp_path / "a.jpg").write_text("")
    words = [str(tmp_path / "a.jpg"), "--attention", str(tmp_path / "taken")]
    assert command.run(sample.Options, sample.main, words) == 2
    assert "give a folder" in capsys.readouterr().err
