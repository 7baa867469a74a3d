"""Annotations that are numbers keep their words, the words' numbers, UNK and their splits."""

import json
import random

import h5py
import numpy as np
import pytest
from PIL import Image

from caption.data.data_folder import DataFolder
from caption.training.setup import require_validation
from eval import command
from prepro import adopt, labels
from prepro.storage.label_file import read_labels

SENTENCES = [  # the last word of each occurs once
    [["a", "dog", "runs", "quickly"], ["the", "dog", "isn't", "here"]],
    [["a", "cat", "sits", "down"], ["the", "cat", "sits", "there"]],
    [["a", "dog", "sits"], ["a", "dog", "runs", "a", "dog", "runs", "away"]],
    [["a", "cat", "runs"], ["the", "cat", "isn't", "bored"]],
]
SPLITS = ["train", "restval", "val", "test"]
LENGTH = 6


def karpathy() -> list[dict]:
    return [
        {"cocoid": 70 + i, "filepath": "val2014", "filename": f"{i}.jpg", "split": split,
         "sentences": [{"tokens": words} for words in sentences]}
        for i, (split, sentences) in enumerate(zip(SPLITS, SENTENCES, strict=True))
    ]  # fmt: skip


def write_cocotalk(folder, threshold: int = 1):
    """As scripts/prepro_labels.py of self-critical.pytorch: build_vocab, encode_captions, main."""
    images, counts = karpathy(), {}
    for image in images:
        for sentence in image["sentences"]:
            for word in sentence["tokens"]:
                counts[word] = counts.get(word, 0) + 1
    vocabulary = [word for word, n in counts.items() if n > threshold]
    if len(vocabulary) < len(counts):
        vocabulary.append("UNK")
    numbers = {word: i + 1 for i, word in enumerate(vocabulary)}
    rows = []
    for image in images:
        for sentence in image["sentences"]:
            row = [numbers.get(word, numbers.get("UNK")) for word in sentence["tokens"]][:LENGTH]
            rows.append(row + [0] * (LENGTH - len(row)))
    starts = 1 + np.cumsum([0] + [len(i["sentences"]) for i in images])
    with h5py.File(folder / "cocotalk_label.h5", "w") as file:
        file["labels"] = np.array(rows, "uint32")
        file["label_start_ix"], file["label_end_ix"] = starts[:-1], starts[1:] - 1
        file["label_length"] = (np.array(rows) > 0).sum(1)
    about = {
        "ix_to_word": {str(i + 1): word for i, word in enumerate(vocabulary)},
        "images": [
            {"split": i["split"], "file_path": f"{i['filepath']}/{i['filename']}",
             "id": i["cocoid"]} for i in images
        ],
    }  # fmt: skip
    (folder / "cocotalk.json").write_text(json.dumps(about))
    return vocabulary, rows


def convert(tmp_path, annotations, **more):
    labels.main(labels.Options((annotations,), tmp_path, tmp_path / "out", **more))
    return read_labels(tmp_path / "out")


@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_cocotalk_keeps_words_numbers_and_splits(tmp_path, threshold):
    vocabulary, rows = write_cocotalk(tmp_path, threshold)
    found = convert(tmp_path, tmp_path / "cocotalk.json")
    assert list(found.vocabulary.words) == vocabulary
    assert np.array_equal(found.labels, rows)
    assert ("UNK" in vocabulary) == (threshold > 0)
    assert found.vocabulary.unk == (len(vocabulary) if threshold else 0)
    assert [record.split for record in found.records] == ["train", "train", "val", "test"]
    assert [record.id for record in found.records] == [70, 71, 72, 73]
    texts = [[vocabulary[i - 1] for i in row if i] for row in rows]
    assert [c.split() for r in found.records for c in r.captions] == texts


def test_files_of_different_vocabularies_are_refused(tmp_path):
    write_cocotalk(tmp_path)
    (tmp_path / "more.json").write_text(json.dumps([
        {"file_path": "x.jpg", "captions": ["a dog"], "id": 9, "split": "train"}
    ]))  # fmt: skip
    files = (tmp_path / "cocotalk.json", tmp_path / "more.json")
    with pytest.raises(ValueError, match=r"cocotalk\.json: the files do not share one"):
        labels.main(labels.Options(files, tmp_path, tmp_path / "out"))


@pytest.mark.parametrize("damage", ["count", "word", "link", "gap", "negative", "flat"])
def test_cocotalk_that_does_not_fit(tmp_path, capsys, damage):
    write_cocotalk(tmp_path)
    with h5py.File(tmp_path / "cocotalk_label.h5", "a") as file:
        if damage == "count":
            del file["label_start_ix"]
            file["label_start_ix"] = [1, 3]
        elif damage == "word":
            file["labels"][0, 0] = 99
        elif damage in ("negative", "flat"):
            found = file["labels"][:].astype(int)
            del file["labels"]
            file["labels"] = -found if damage == "negative" else found.flatten()
        elif damage == "link":
            del file["labels"]
            file["labels"] = h5py.ExternalLink("/etc/other.h5", "labels")
    if damage == "gap":
        about = json.loads((tmp_path / "cocotalk.json").read_text())
        del about["ix_to_word"]["2"]
        (tmp_path / "cocotalk.json").write_text(json.dumps(about))
    words = ["--annotations", str(tmp_path / "cocotalk.json"), "--images", str(tmp_path)]
    words += ["--out", str(tmp_path / "out")]
    assert command.run(labels.Options, labels.main, words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "cocotalk" in said[0]


def write_sgrvinod(folder, per_image: int = 2, longest: int = 10, threshold: int = 1):
    """As create_input_files of sgrvinod's tutorial, with pictures of noise."""
    counts, drawn, rng = {}, random.Random(123), np.random.default_rng(0)
    for sentences in SENTENCES:
        for words in sentences:
            for word in words:
                counts[word] = counts.get(word, 0) + 1
    kept = [word for word, n in counts.items() if n > threshold]
    numbers = {word: i + 1 for i, word in enumerate(kept)}
    for name in ("<unk>", "<start>", "<end>"):
        numbers[name] = len(numbers) + 1
    numbers["<pad>"] = 0
    base = f"flickr8k_{per_image}_cap_per_img_{threshold}_min_word_freq"
    (folder / f"WORDMAP_{base}.json").write_text(json.dumps(numbers))
    written = {}
    for split, chosen in (("TRAIN", [0, 1]), ("VAL", [2]), ("TEST", [3])):
        pictures = rng.integers(0, 256, (len(chosen), 3, 256, 256), np.uint8)
        captions, lengths = [], []
        for i in chosen:
            for words in drawn.sample(SENTENCES[i], per_image):
                row = [numbers.get(word, numbers["<unk>"]) for word in words]
                padding = [0] * (longest - len(words))
                captions.append([numbers["<start>"], *row, numbers["<end>"], *padding])
                lengths.append(len(words) + 2)
        with h5py.File(folder / f"{split}_IMAGES_{base}.hdf5", "w") as file:
            file.attrs["captions_per_image"] = per_image
            file["images"] = pictures
        (folder / f"{split}_CAPTIONS_{base}.json").write_text(json.dumps(captions))
        (folder / f"{split}_CAPLENS_{base}.json").write_text(json.dumps(lengths))
        written[split] = captions, pictures
    return folder / f"WORDMAP_{base}.json", numbers, written


def test_sgrvinods_files(tmp_path):
    path, numbers, written = write_sgrvinod(tmp_path)
    found = convert(tmp_path, path)
    special = {numbers[name] for name in ("<start>", "<end>", "<pad>")}
    for word, number in numbers.items():
        if number not in special:
            expected = "UNK" if word == "<unk>" else word
            assert found.vocabulary.words[number - 1] == expected
    assert len(found.vocabulary) == len(numbers) - 3
    expected = [
        [number for number in caption if number not in special]
        for captions, _ in written.values() for caption in captions
    ]  # fmt: skip
    rows = [row[:n].tolist() for row, n in zip(found.labels, found.lengths, strict=True)]
    assert rows == expected
    assert [record.split for record in found.records] == ["train", "train", "val", "test"]
    for split, (_, pictures) in written.items():
        for i, pixels in enumerate(pictures):
            with Image.open(tmp_path / f"{split.lower()}_{i:06d}.png") as picture:
                assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), pixels)


def test_sgrvinods_files_without_pictures(tmp_path):
    path, _, _ = write_sgrvinod(tmp_path)
    for file in tmp_path.glob("*.hdf5"):
        file.unlink()
    assert len(convert(tmp_path, path).records) == 4
    renamed = tmp_path / "WORDMAP_mine.json"
    path.rename(renamed)
    with pytest.raises(FileNotFoundError, match=r"needs TRAIN_CAPTIONS_mine\.json"):
        labels.main(labels.Options((renamed,), tmp_path, tmp_path / "two"))


@pytest.mark.parametrize("shape", [(2, 256, 256, 3), (2, 3, 256)])
def test_sgrvinods_pictures_of_another_shape(tmp_path, shape):
    path, _, _ = write_sgrvinod(tmp_path)
    with h5py.File(next(tmp_path.glob("TRAIN_IMAGES*")), "a") as file:
        del file["images"]
        file["images"] = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=r"images of shape .*, expected \(N, 3, H, W\)"):
        convert(tmp_path, path)


def test_cocotalk_as_labels_json_is_refused_before_training(tmp_path):
    """Its restval pictures train, and it has no captions to validate with."""
    write_cocotalk(tmp_path)
    (tmp_path / "cocotalk.json").rename(tmp_path / "labels.json")
    (tmp_path / "cocotalk_label.h5").rename(tmp_path / "labels.h5")
    (tmp_path / "att").mkdir()
    for i in range(70, 74):
        np.save(tmp_path / "att" / f"{i}.npy", np.ones((2, 4), np.float32))
    assert adopt.main(adopt.Options(tmp_path, att=tmp_path / "att")) == 0
    data = DataFolder.open(tmp_path)
    assert data.split("train").tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"prepro\.labels --annotations cocotalk\.json"):
        require_validation(data, 1)
