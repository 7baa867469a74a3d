"""labels.json and labels.h5: neuraltalk2's conventions, the vocabulary of the training split."""

import gc
import json
from collections import Counter
from dataclasses import FrozenInstanceError

import h5py
import numpy as np
import pytest

from eval.tokenizer import tokenize
from prepro import labels
from prepro import vocabulary as words_module
from prepro.storage.label_file import read_labels
from prepro.vocabulary import UNK, Vocabulary

CAPTIONS = {
    "train": ["A dog runs.", "a dog, a cat", "the dog sleeps on the mat today"],
    "val": ["a zebra", "a dog"],
    "test": ["zebra zebra zebra"],
}


@pytest.fixture
def folder(tmp_path):
    images = [{"id": 10 + i, "file_name": f"{s}.jpg", "split": s} for i, s in enumerate(CAPTIONS)]
    annotations = [
        {"image_id": 10 + i, "caption": c} for i, s in enumerate(CAPTIONS) for c in CAPTIONS[s]
    ]
    value = {"images": images, "annotations": annotations}
    (tmp_path / "list.json").write_text(json.dumps(value))
    return tmp_path


def make(folder, **more):
    options = {"annotations": (folder / "list.json",), "images": folder, "out": folder / "out"}
    labels.main(labels.Options(**options | {"min_count": 1, "max_length": 4} | more))
    return folder / "out"


def test_the_files_by_hand(folder, capsys):
    out = make(folder)
    assert gc.isenabled()  # again, after it was off for speed
    value = json.loads((out / "labels.json").read_text())
    # more than once in the training captions: a (3), dog (3), the (2); by falling count, then a-z
    assert value["ix_to_word"] == {"1": "a", "2": "dog", "3": "the", "4": UNK}
    assert value["images"][1] == {
        "id": 11,
        "file_path": "val.jpg",
        "split": "val",
        "captions": CAPTIONS["val"],
    }
    with h5py.File(out / "labels.h5") as file:
        assert file["labels"][:].tolist() == [
            [1, 2, 4, 0],
            [1, 2, 1, 4],
            [3, 2, 4, 4],
            [1, 4, 0, 0],
            [1, 2, 0, 0],
            [4, 4, 4, 0],
        ]
        assert file["label_length"][:].tolist() == [3, 4, 4, 2, 2, 3]
        assert file["label_start_ix"][:].tolist() == [1, 4, 6]
        assert file["label_end_ix"][:].tolist() == [3, 5, 6]
    output = capsys.readouterr().out
    assert "3 pictures (1 train, 1 val, 1 test), 6 captions, 4 words; " in output
    assert (
        "42.86% of the training words are rare (UNK); lower --min-count (now 1)" in output
    )  # 6 of the 14 training words: runs cat sleeps on mat today
    assert "16.7% of the captions are cut" in output


def test_no_garbage_is_collected_meanwhile(folder, monkeypatch):
    seen = []

    def fail(_):
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    monkeypatch.setattr(labels, "_make", fail)
    with pytest.raises(ZeroDivisionError):
        make(folder)
    assert seen == [False] and gc.isenabled()


def test_report_suggests_min_count_only_for_many_rare_words(folder, capsys):
    make(folder, min_count=0, max_length=1)
    output = capsys.readouterr().out
    assert "0.00% of the training words are rare (UNK), " in output
    assert output.rstrip().endswith("are cut at 1 word")


def test_read_back(folder):
    found = read_labels(make(folder))
    assert found.vocabulary.words == ("a", "dog", "the", UNK)
    assert found.split("val").tolist() == [1] and found.ranges.tolist() == [[0, 3], [3, 5], [5, 6]]
    assert found.image_root.resolve() == folder.resolve()
    with pytest.raises(ValueError, match="no picture in the split 'dev'"):
        found.split("dev")


def test_no_unk_without_rare_words(folder):
    found = read_labels(make(folder, min_count=0))
    assert UNK not in found.vocabulary.words and found.vocabulary.unk == 0
    assert found.lengths.tolist() == [3, 4, 4, 1, 2, 0]  # what is unknown is left out


def test_files_of_two_runs_are_not_mixed(folder):
    first = (make(folder) / "labels.h5").read_bytes()
    out = make(folder, min_count=0)
    (out / "labels.h5").write_bytes(first)
    with pytest.raises(ValueError, match=r"other vocabulary|word 4"):
        read_labels(out)
    with pytest.raises(FileNotFoundError, match=r"prepro\.labels"):
        read_labels(folder)


def test_options_are_checked(folder):
    with pytest.raises(ValueError, match="--max-length"):
        make(folder, max_length=0)
    with pytest.raises(FileNotFoundError, match="--images"):
        make(folder, images=folder / "none")


def test_errors_stop_before_anything_is_written_and_warnings_do_not(folder, capsys):
    value = json.loads((folder / "list.json").read_text())
    value["annotations"][0]["caption"] = " "
    (folder / "list.json").write_text(json.dumps(value))
    make(folder)
    output = capsys.readouterr().err
    assert "warning  pictures with empty captions, which are left out: 1 (10)" in output
    assert f"warning  none of the 3 pictures is in {folder}" in output
    value["images"][1]["id"] = 12
    (folder / "list.json").write_text(json.dumps(value))
    with pytest.raises(ValueError, match="nothing is written"):
        make(folder, out=folder / "again")
    output = capsys.readouterr().err
    assert "error    ids that occur more than once: 1 (12)" in output
    assert "error    captions of images that are not listed: 2 (image 11, image 11)" in output
    assert "warning  pictures with empty" in output and not (folder / "again").exists()


def test_tokenize_captions_equals_tokenize_of_each_caption(shared, monkeypatch):
    value = json.loads((shared / "data/coco/captions_val2017_2500.json").read_text())
    captions = [annotation["caption"] for annotation in value["annotations"]]
    golden = json.loads((shared / "golden/tokens.json").read_text())["cases"]
    captions += ["", " ", "...", "plan B.", "(555) 123 4567", *(raw for raw, _, _ in golden)]
    words = [tokenize(caption) for caption in captions]
    chosen = np.arange(len(captions)) % 3 > 0
    counts = Counter(w for ws, c in zip(words, chosen, strict=True) if c for w in ws)
    for chunk in (5000, 1_000_000):
        monkeypatch.setattr(words_module, "CHUNK", chunk)
        tokens = words_module.tokenize_captions(captions)
        assert [tokens.words[i] for i in tokens.flat] == [word for ws in words for word in ws]
        assert tokens.lengths.tolist() == [len(ws) for ws in words]
        assert tokens.counts(chosen) == counts
        vocabulary = words_module.vocabulary_from_counts(counts, 5)
        assert (
            vocabulary
            == words_module.vocabulary_from_captions(
                [w for w, c in zip(words, chosen, strict=True) if c], 5
            )[0]
        )
        flat, lengths = tokens.encode(vocabulary)
        assert flat.tolist() == [i for ws in words for i in vocabulary.encode(ws)]
        assert lengths.tolist() == [len(vocabulary.encode(ws)) for ws in words]


def test_vocabulary():
    vocabulary = Vocabulary(("a", "dog", UNK))
    assert vocabulary.classes == 4 and vocabulary.encode(["dog", "cow", "a"]) == [2, 3, 1]
    assert vocabulary.decode([2, 1, 0, 2]) == ["dog", "a"]
    assert vocabulary.sentence([2, 1, 0]) == "dog a"
    with pytest.raises(ValueError, match="a word twice"):
        Vocabulary(("a", "a"))
    with pytest.raises(FrozenInstanceError):  # its index would be that of other words
        vocabulary.words = ("b",)


def test_frequent_words_come_first_and_equal_ones_by_their_letters():
    counts = Counter({"z": 3, "dog": 5, UNK: 9, "rare": 1, "a": 3, "b": 2, "the": 11})
    found = words_module.vocabulary_from_counts(counts, 1)
    assert found.words == ("the", "dog", "a", "z", "b", UNK)
    assert words_module.vocabulary_from_counts(counts, 2).words == ("the", "dog", "a", "z", UNK)
    assert words_module.vocabulary_from_counts(Counter("cabb"), 0).words == ("b", "a", "c")


def test_captions_without_a_word():
    tokens = words_module.tokenize_captions(["", "..."])
    assert tokens.words == [] and tokens.flat.tolist() == [] and tokens.lengths.tolist() == [0, 0]
    flat, lengths = tokens.encode(Vocabulary(("a",)))
    assert flat.tolist() == [] and lengths.tolist() == [0, 0]


def test_a_data_folder_can_move_with_its_pictures(folder):
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    labels.main(labels.Options((folder / "list.json",), data / "images", data))
    moved = data.rename(folder / "moved")
    assert read_labels(moved).image_root.resolve() == (moved / "images").resolve()


def test_pictures_elsewhere_keep_their_place(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("elsewhere") / "data"
    labels.main(labels.Options((folder / "list.json",), folder, out))
    moved = out.rename(out.with_name("moved"))
    assert read_labels(moved).image_root.resolve() == folder.resolve()


def test_many_captions_are_written_by_row(folder, monkeypatch):
    small = read_labels(make(folder))
    monkeypatch.setattr(labels, "BY_ROW", 6)
    assert "images" in json.loads((make(folder) / "labels.json").read_text())
    monkeypatch.setattr(labels, "BY_ROW", 5)
    out = folder / "rows"
    make(folder, out=out)
    assert "images" not in json.loads((out / "labels.json").read_text())
    rows = read_labels(out)
    assert list(rows.records) == list(small.records) and rows.vocabulary == small.vocabulary
    assert np.array_equal(rows.labels, small.labels)
    assert np.array_equal(rows.lengths, small.lengths)
    assert np.array_equal(rows.ranges, small.ranges)


def write_captions(folder, captions):
    """One training picture."""
    entry = {"file_path": "train.jpg", "captions": captions, "split": "train"}
    (folder / "one.json").write_text(json.dumps([entry]))
    return {"annotations": (folder / "one.json",), "images": folder, "out": folder / "one"}


def test_words_and_captions_by_default(tmp_path):
    """As in neuraltalk2: words that occur more than 5 times, the first 16 words of a caption."""
    captions = ["six five"] * 5 + ["six " + "long " * 16]
    labels.main(labels.Options(**write_captions(tmp_path, captions)))
    found = read_labels(tmp_path / "one")
    assert found.vocabulary.words == ("long", "six", UNK)
    assert found.labels[5].tolist() == [2] + [1] * 15 and found.lengths[5] == 16


@pytest.mark.parametrize(
    ("captions", "more", "said"),
    [
        (["dog"], {"min_count": 1, "max_length": 2}, "1 caption, 1 word; 100.00% of"),
        (["a dog runs"], {"max_length": 2}, "100.0% of the captions are cut at 2 words"),
        (["a b c d e f g h i j"] * 2 + ["a b c d e f g h i"], {"min_count": 2}, "(UNK), 0.0% of"),
        (["a a a a a a a a a b"], {"min_count": 1}, "10.00% of the training words are rare (UNK),"),
        (["a a a a a a a a b"], {"min_count": 1}, "11.11% of the training words are rare (UNK); l"),
        (["..."], {}, "0 words; 0.00% of the training words are rare (UNK), 0.0% of"),
        (["a", "b"], {"min_count": 0, "max_length": 1000}, "0.0% of the captions are cut at 1,000"),
        (["a", "b"], {"min_count": 10**9}, "(UNK); lower --min-count (now 1000000000)"),
    ],
)
def test_the_report_of_one_picture(tmp_path, capsys, captions, more, said):
    labels.main(labels.Options(**write_captions(tmp_path, captions) | more))
    output = capsys.readouterr().out
    assert said in output and "one: 1 picture (1 train), " in output


@pytest.mark.parametrize(
    "more", [{"max_length": 1001}, {"max_length": 0}, {"min_count": -1}, {"min_count": 10**9 + 1}]
)
def test_limits_of_the_options(tmp_path, more):
    with pytest.raises(ValueError, match="--max-length takes 1 to 1,000, --min-count 0 to 1,000,0"):
        labels.main(labels.Options(**write_captions(tmp_path, ["a dog"]) | more))
