"""Score captions against references: BLEU-1..4, ROUGE-L, CIDEr-D and CIDEr, as coco-caption does.

In: references and results, by image id. Out: a table on stdout, JSON files where asked.

    python -m eval.score --references captions_val2014.json --results results.json
    python -m eval.score --references labels.json --split test --results a1.json a2.json a3.json \
        --against b1.json b2.json b3.json --table latex

In Python, `eval.scoring` scores captions without files; `score` is also importable from here.
"""

import dataclasses
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import tyro

from eval import command
from eval.caption_files import (
    disagreement,
    read_references,
    read_results,
    read_several,
    split_names,
)
from eval.caption_statistics import CaptionStatistics, caption_statistics, look_up
from eval.comparisons import compare_models
from eval.files import write_json
from eval.metrics import document_frequencies
from eval.metrics.chair import (
    Truth,
    chair,
    hallucinated_objects,
    measured_against,
    read_truth,
)
from eval.metrics.diversity import diversity
from eval.metrics.document_frequencies import Frequencies
from eval.metrics.java import spice
from eval.metrics.meteor import meteor
from eval.metrics.ngram_counts import Scores, pair
from eval.metrics.unavailable import Unavailable
from eval.paper_table import model_names, paper_table
from eval.results_provenance import require_captions
from eval.scoring import Result, result, score
from eval.seeds import average, mean_values, std
from eval.significance import bootstrap
from eval.table import table
from eval.tokenizer import tokenize


@dataclass(frozen=True)
class Options:
    """Score captions against references.

    Example: python -m eval.score --references captions_val2014.json --results results.json
    """

    references: Path
    """COCO captions JSON, Karpathy's JSON, a Flickr token file (.txt) or our labels.json"""
    results: tuple[Path, ...]
    """captions in COCO's results format: [{"image_id": .., "caption": ".."}]; several files are
    seeds of one model: mean and standard deviation"""
    split: str | None = None
    """the split of Karpathy's JSON or labels.json; for a token file, a file that lists images"""
    subset: bool = False
    """score the images on both sides, instead of refusing when ids are missing"""
    coco_exact: bool = False
    """tokenise in file order, accidents included, as the official tool does"""
    df: Path | None = None
    """document frequencies for CIDEr, written by --save-df"""
    save_df: Path | None = None
    """write the document frequencies of the references to this file (.npz)"""
    against: Annotated[tuple[tuple[Path, ...], ...], tyro.conf.UseAppendAction] = ()
    """results of another model, as many seeds as --results: difference, 95 % interval, p-value; may
    be given several times, which adds p-values corrected by Holm's method"""
    bootstrap: int = 0
    """resamplings for 95 % intervals; 1000 is usual"""
    training: Path | None = None
    """the captions trained on, as --references, to see how many results are new"""
    training_split: str | None = None
    """the split of --training"""
    several: Path | None = None
    """results with several captions an image, to measure how different they are"""
    meteor: bool = False
    """METEOR too, where the extra `meteor` is installed; it needs no Java"""
    chair: bool = False
    """CHAIR too: how often captions name COCO objects that no reference names; lower is better"""
    instances: Path | None = None
    """COCO's instances JSON, for CHAIR as its paper computes it, or the annotations.json of the
    drawn scenes: what is in the pictures"""
    spice: bool = False
    """SPICE too, where Java, the extra `java` and SPICE's models are installed"""
    table: Literal["text", "markdown", "latex"] = "text"
    """markdown, latex: the table of a paper, scores times 100, a row for each model"""
    per_image: Path | None = None
    """write the scores of every image to this JSON file"""
    json: Path | None = None
    """write scores and provenance to this JSON file"""

    def __post_init__(self):
        if not 0 <= self.bootstrap <= 100_000:
            raise ValueError("--bootstrap takes 0 to 100,000 resamplings")
        if not self.results:
            raise ValueError("--results needs a file")
        for files in self.against:
            if len(files) != len(self.results):
                raise ValueError(
                    f"--against has {len(files)} seeds of a model, --results {len(self.results)}; "
                    "give equally many, and --against once for each model"
                )


def main(options: Options) -> None:
    """Read, score, print, write."""
    references = read_references(options.references, options.split)
    for path in (*options.results, *chain.from_iterable(options.against)):
        require_captions(path, options.references)
    seeds = [load_and_score(options, path, references) for path in options.results]
    ours = average(seeds)
    names = model_names([options.results, *options.against])
    others = {
        name: [load_and_score(options, path, references) for path in files]
        for name, files in zip(names[1:], options.against, strict=True)
    }
    report = {
        "name": names[0],
        "metrics": ours.corpus,
        "std": std(seeds),
        "seeds": scores_of_seeds(options.results, seeds),
        "intervals": intervals(options, ours),
        "against": compare_models(seeds, others, options.bootstrap or 1000),
        "hallucinated": hallucinated_by_image(options, seeds),
        "health": mean_values([dataclasses.asdict(statistics_of(options, s)) for s in seeds]),
        "diversity": caption_diversity(options, references),
        "provenance": {"split": options.split, **ours.provenance},
    }
    report = {name: value for name, value in report.items() if value}
    write_files(options, report, ours, references)
    print(table(report) if options.table == "text" else paper_table(report, options.table))


def scores_of_seeds(paths: Sequence[Path], seeds: Sequence[Result]) -> dict[str, dict] | None:
    """The scores by results file; None for one seed."""
    if len(seeds) == 1:
        return None
    return {str(path): one.corpus for path, one in zip(paths, seeds, strict=True)}


def write_files(options: Options, report: dict, ours: Result, references: Mapping) -> None:
    """The files that were asked for."""
    if options.save_df:
        document_frequencies.save(frequencies_of(references), options.save_df)
    if options.per_image:
        rows = {str(image): row for image, row in ours.per_image.items()}
        write_json(options.per_image, rows)
    if options.json:
        others = report.get("against", {})
        single = {"against": next(iter(others.values()))} if len(others) == 1 else {}
        write_json(options.json, report | single, indent=1)


def load_and_score(options: Options, path: Path, references: Mapping) -> Result:
    """The scores of a results file; warnings about them go to stderr."""
    results = read_results(path)
    repeated = disagreement((), (), results.duplicates)
    if repeated and not options.subset:
        raise ValueError(f"{path}: {repeated[0]}; --subset takes the first of each")
    frequencies = document_frequencies.load(options.df) if options.df else None
    try:
        found = score(
            references,
            results.captions,
            subset=options.subset,
            coco_exact=options.coco_exact,
            frequencies=frequencies,
        )
    except ValueError as error:
        names = split_names(options.references) if options.split is None else []
        mend = (
            f"give --split {' or '.join(names)}"
            if names
            else "--subset scores the images on both sides"
        )
        raise ValueError(f"{path}: {error}; {mend}") from None
    scores = dict(found.scores)
    warnings = [*repeated, *found.warnings]
    scores |= hallucination(options, found)
    for name, wanted, metric in (
        ("METEOR", options.meteor, meteor),
        ("SPICE", options.spice, spice),
    ):
        try:
            scores |= {name: metric(found.pairs)} if wanted else {}
        except Unavailable as reason:
            warnings.append(str(reason))
    for line in warnings:
        print(f"{path}: {line}", file=sys.stderr)
    return result(found.pairs, scores, found.provenance, tuple(warnings))


def hallucination(options: Options, found: Result) -> dict[str, Scores]:
    """CHAIR where it is asked for; what it is measured against goes to provenance."""
    if not (options.chair or options.instances):
        return {}
    truth = truth_of(options)
    if truth and not truth.objects.keys() & set(found.pairs.ids):
        raise ValueError(f"{options.instances}: has none of the scored images")
    found.provenance["chair"] = f"against {measured_against(truth)}"
    return chair(found.pairs, truth)


def truth_of(options: Options) -> Truth | None:
    """What is in the pictures, where a file says so."""
    return read_truth(options.instances) if options.instances else None


def hallucinated_by_image(options: Options, seeds: Sequence[Result]) -> dict | None:
    """The objects that captions of an image name, of any seed, and that are not there."""
    if not (options.chair or options.instances):
        return None
    found = hallucinated_objects([one.pairs for one in seeds], truth_of(options))
    return {str(image): objects for image, objects in found.items()}


def intervals(options: Options, ours: Result) -> dict | None:
    """Bootstrap intervals by metric."""
    if not options.bootstrap:
        return None
    found = bootstrap(ours.scores, options.bootstrap)
    return {name: [interval.low, interval.high] for name, interval in found.items()}


def statistics_of(options: Options, ours: Result) -> CaptionStatistics:
    """The statistics of the captions of the results."""
    said, training = ours.pairs.tokens[ours.pairs.n_references :], None
    if options.training:
        captions = read_references(options.training, options.training_split)
        training = look_up(said, map(tokenize, chain.from_iterable(captions.values())))
    return caption_statistics(said, training)


def caption_diversity(options: Options, references: Mapping) -> dict | None:
    """The diversity of several captions an image."""
    if not options.several:
        return None
    given = document_frequencies.load(options.df) if options.df else frequencies_of(references)
    return dataclasses.asdict(diversity(read_several(options.several), given))


def frequencies_of(references: Mapping[Hashable, Sequence[str]]) -> Frequencies:
    """Document frequencies of raw references by image id."""
    return document_frequencies.count(pair(references, dict.fromkeys(references, "")))


if __name__ == "__main__":
    sys.exit(command.run(Options, main))
