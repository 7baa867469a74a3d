"""What README.md tells people to type: the four annotation formats, run; all else, its flags."""

import json
import re
import shlex

import pytest
from PIL import Image

from tests.cli.conftest import ROOT, must, run_python
from tests.cli.test_usage import commands

README = (ROOT / "README.md").read_text(encoding="utf-8")


def typed(text: str) -> list[list[str]]:
    """The words of every `python -m ...` in a text, in code blocks or between backquotes."""
    text = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"python -m ([^\n`#|]+)", text)
    return [shlex.split(line.replace("...", "").split("&&")[0]) for line in lines]


LABELS = {words[words.index("--annotations") + 1]: words for words in typed(README) if
          words[0] == "prepro.labels"}  # fmt: skip


def coco(first: int) -> dict:
    """COCO's captions files know no split but the one in their names."""
    ids = range(first, first + 4)
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "license": 1} for i in ids]
    results = [{"id": 9 * i, "image_id": i, "caption": f"A dog number {i}."} for i in ids]
    return {"info": {}, "licenses": [], "images": images, "annotations": results}


def karpathy(**more: object) -> dict:
    """Four pictures, one a split; COCO's have `filepath` and `cocoid`, Flickr's have not."""
    return {
        "dataset": "made up",
        "images": [
            {
                "filename": f"{i}.jpg", "imgid": i, "split": split, "sentids": [i],
                "sentences": [{"raw": f"A cat, {i}.", "tokens": ["a", "cat"], "sentid": i}],
                **({"filepath": "val2014", "cocoid": 100 + i} if more else {}),
            }
            for i, split in enumerate(("train", "restval", "val", "test"))
        ],
    }  # fmt: skip


TOKENS = "".join(f"{i}.jpg#{k}\tA cow , {k} .\n" for i in range(4) for k in range(2))
CSV = "image,caption\n" + "".join(f'{i}.jpg,"A cow, again"\n' for i in range(10))
JSONL = "".join(json.dumps({"image": f"{i}.jpg", "captions": ["A", "B"]}) + "\n" for i in range(10))
FILES = {
    "captions_train2017.json": coco(0),
    "captions_val2017.json": coco(4),
    "dataset_coco.json": karpathy(filepath="val2014"),
    "dataset_flickr8k.json": karpathy(),
    "dataset_flickr30k.json": karpathy(),
    "Flickr8k.token.txt": TOKENS,
    "Flickr_8k.trainImages.txt": "0.jpg\n1.jpg\n",
    "Flickr_8k.devImages.txt": "2.jpg\n",
    "Flickr_8k.testImages.txt": "3.jpg\n",
    "pictures/captions.csv": CSV,
    "pictures/captions.jsonl": JSONL,
}


@pytest.mark.parametrize(
    ("example", "file", "splits", "ids"),
    [
        ("captions_train2017.json", "", "4 train, 4 val", list(range(8))),
        ("dataset_coco.json", "", "2 train, 1 val, 1 test", [100, 101, 102, 103]),
        ("dataset_coco.json", "dataset_flickr8k.json", "2 train, 1 val, 1 test", [0, 1, 2, 3]),
        ("dataset_coco.json", "dataset_flickr30k.json", "2 train, 1 val, 1 test", [0, 1, 2, 3]),
        ("Flickr8k.token.txt", "", "2 train, 1 val, 1 test", ["0", "1", "2", "3"]),
        ("pictures/captions.csv", "", "8 train", [f"{i}.jpg" for i in range(10)]),
        ("pictures/captions.csv", "pictures/captions.jsonl", "8 train", None),
    ],
)
def test_the_four_formats_as_the_readme_types_them(tmp_path, example, file, splits, ids):
    words = [file if file and word == example else word for word in LABELS[example]]
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    images = tmp_path / words[words.index("--images") + 1]
    (images / "val2014").mkdir(parents=True, exist_ok=True)
    for name in [*(f"{i:012d}.jpg" for i in range(8)), *(f"{i}.jpg" for i in range(10))]:
        for folder in (images, images / "val2014"):
            Image.new("RGB", (8, 8)).save(folder / name)
    ran = must(*words, cwd=tmp_path)
    assert splits in ran.out
    assert "error" not in ran.err and "missing" not in ran.err and "none of" not in ran.err
    made = json.loads((tmp_path / words[-1] / "labels.json").read_text())
    assert ids is None or [image["id"] for image in made["images"]] == ids


def test_every_command_and_flag_in_the_readme_exists():
    used: dict[str, set[str]] = {}
    for module, *words in typed(README):
        used.setdefault(module, set()).update(word for word in words if word.startswith("--"))
    for module, flags in used.items():
        if module in ("caption", "prepro", "eval"):  # they list their commands
            continue
        assert module in commands()
        talk = must(module, "--help").out
        missing = [flag for flag in flags if not re.search(rf"{flag}[\s,]", talk)]
        assert not missing, module


@pytest.mark.parametrize("package", ["caption", "eval", "prepro"])
def test_the_file_tree_names_every_file(package):
    tree = README[README.index(f"\n{package}/ ") + 1 :].partition("\n```")[0]
    own = re.match(r".*(\n .*)*", tree)[0]
    names = {path.stem for path in (ROOT / package).glob("[a-z]*.py")}
    missing = {name for name in names if not re.search(rf"\b{name}\b", own)}
    assert not missing


def test_the_scores_from_python_are_scores():
    block = re.search(r"```python\n(from eval.score .*?)\n\n(score\(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(block[1], names)
    corpus = eval(block[2], names)
    assert corpus["BLEU-3"] == pytest.approx(1) and corpus["ROUGE-L"] == pytest.approx(1)


def test_python_captions_as_the_command_does(pipeline, tmp_path):
    code = re.search(r"```python\n(from caption.captioner .*?)```", README, re.DOTALL)[1]
    run = tmp_path / "runs" / "default"
    run.parent.mkdir()
    run.symlink_to(pipeline.run)
    Image.open(pipeline.pictures[0]).resize((900, 700)).save(tmp_path / "photo.jpg")
    text, _, log_prob = run_python("-c", code, cwd=tmp_path).out.rpartition(" ")
    flags = ("--run", run, "--beam", 5, "--n", 3, "--json")
    said = json.loads(must("caption.sample", "photo.jpg", *flags, cwd=tmp_path).out)
    assert text == said["captions"][0]["caption"]
    assert float(log_prob) == pytest.approx(said["captions"][0]["log_prob"], abs=1e-4)
