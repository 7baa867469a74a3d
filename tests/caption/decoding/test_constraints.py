"""Each constraint against its own definition, checked on the captions that come out."""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caption.decoding.constraints import (
    FORBIDDEN_ENDINGS,
    at_least,
    filters,
    forbid,
    never,
    no_trigram_twice,
)
from caption.decoding.decode import DecodeOptions, decode
from prepro.vocabulary import UNK, Vocabulary
from tests.caption.decoding.test_search import caption_tokens
from tests.caption.decoding.tree import Tree

VOCABULARY = Vocabulary(("dog", "a", "runs", UNK))
LENGTH = 5
TREE = Tree(len(VOCABULARY), LENGTH)
ALL = {
    "min_length": 3, "block_repeats": True, "block_trigrams": True, "block_bad_endings": True,
    "never": ("runs",),
}  # fmt: skip


def holds(name, words):
    """Whether a caption, a list of words, keeps a constraint."""
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return {
        "min_length": len(words) >= 3,
        "block_repeats": all(a != b for a, b in itertools.pairwise(words)),
        "block_trigrams": len(set(triples)) == len(triples),
        "block_bad_endings": not words or words[-1] not in FORBIDDEN_ENDINGS,
        "never": "runs" not in words,
        "suppress_unk": UNK not in words,
    }[name]


def stuck(words, names):
    """Whether the constraints leave no word to continue with, so that the caption ends there."""
    firm = set(names) - {"min_length", "block_bad_endings"}

    def fits(word):
        last = len(words) == LENGTH - 1 and "block_bad_endings" in names
        return all(holds(name, [*words, word]) for name in firm) and not (
            last and word in FORBIDDEN_ENDINGS
        )

    return len(words) < LENGTH and not any(map(fits, VOCABULARY.words))


WAYS = st.sampled_from([{"beam": 1}, {"beam": 4, "n": 2}, {"sample": "temperature=1.5", "n": 3}])
SOME = st.sets(st.sampled_from(sorted(ALL)), max_size=3)


@settings(deadline=None, max_examples=60)
@given(WAYS, SOME, st.booleans(), st.integers(0, 999))
def test_captions_keep_all_constraints(way, names, suppress_unk, seed):
    chosen = {name: ALL[name] for name in names}
    options = DecodeOptions(max_length=LENGTH, suppress_unk=suppress_unk, **way, **chosen)
    features = TREE.features(3, seed)
    for image, captions in enumerate(decode(TREE, features, options, VOCABULARY, seed=seed)):
        for caption in captions:
            words = VOCABULARY.decode(caption.token_ids)
            kept = {*names, *(["suppress_unk"] if suppress_unk else [])}
            for name in kept:
                may_end = name in ("min_length", "block_bad_endings") and stuck(words, kept)
                assert holds(name, words) or may_end, name
            own = (*caption.token_ids, 0)[:LENGTH]
            assert caption.log_probs == pytest.approx(TREE.log_probs(features, image, own))


@settings(deadline=None, max_examples=40)
@given(SOME.filter(len), st.integers(0, 999))
def test_constrained_search_finds_the_best_allowed_caption(names, seed):
    """No constraint forbids more than it says: the enumeration knows the captions alone."""
    chosen = {name: ALL[name] for name in names}
    options = DecodeOptions(beam=5**4, max_length=4, suppress_unk=False, **chosen)
    tree = Tree(len(VOCABULARY), 4)
    features = tree.features(1, seed)
    allowed = [
        c for c in tree.captions() if all(holds(name, VOCABULARY.decode(c)) for name in names)
    ]
    best = max(allowed, key=lambda c: (0 in c, sum(tree.log_probs(features, 0, c))))
    ((caption,),) = decode(tree, features, options, VOCABULARY)
    assert tuple(caption.token_ids) == tuple(word for word in best if word)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 3), max_size=14))
def test_only_trigrams_that_were_said_are_blocked(tokens):
    log_probs = torch.zeros(1, 1, 4)
    no_trigram_twice(log_probs, torch.tensor(tokens, dtype=torch.int64).view(1, 1, -1))
    triples = set(zip(tokens, tokens[1:], tokens[2:], strict=False))
    blocked = [len(tokens) > 1 and (*tokens[-2:], word) in triples for word in range(4)]
    assert (log_probs[0, 0] == -torch.inf).tolist() == blocked


@pytest.mark.parametrize(
    "way, seed", [({"sample": "temperature=1.5", "n": 3}, 580), ({"beam": 1}, 516)]
)
def test_a_caption_that_no_word_may_continue_ends(way, seed):
    """ "dog a dog a": "dog" would repeat a trigram, all other words are forbidden."""
    names = set(ALL) - {"min_length", "block_repeats"}
    chosen = {name: ALL[name] for name in names}
    options = DecodeOptions(max_length=LENGTH, suppress_unk=True, **way, **chosen)
    found = decode(TREE, TREE.features(3, seed), options, VOCABULARY, seed=seed)
    ended = [VOCABULARY.decode(caption.token_ids) for captions in found for caption in captions]
    early = [words for words in ended if not holds("block_bad_endings", words)]
    assert early and all(stuck(words, {*names, "suppress_unk"}) for words in early)


def test_a_hypothesis_with_nothing_left_to_say_ends():
    words = Vocabulary(("dog",))
    options = DecodeOptions(beam=1, min_length=4, block_repeats=True)
    tree = Tree(1, 6)
    ((caption,),) = decode(tree, tree.features(1, 0), options, words)
    assert caption.token_ids == [1]
    assert caption.log_prob > -torch.inf


def test_without_constraints_there_are_no_filters():
    plain = DecodeOptions(suppress_unk=False)
    assert filters(plain, VOCABULARY, "cpu") == []
    assert filters(DecodeOptions(), Vocabulary(("dog",)), "cpu") == []  # no UNK to suppress
    endless = dataclasses.replace(plain, block_bad_endings=True)
    assert filters(endless, Vocabulary(("dog",)), "cpu") == []  # no bad ending to avoid


@pytest.mark.parametrize("option", ["must", "never"])
def test_an_unknown_word_is_named_with_its_neighbour(option):
    options = DecodeOptions(**{option: ("dogs",)})
    with pytest.raises(ValueError, match=f"{option}: 'dogs' is not .*; did you mean 'dog'?"):
        decode(TREE, TREE.features(1, 0), options, VOCABULARY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"must": ("a",), "max_length": 1, "block_bad_endings": True},
            "no caption of at most 1 word",
        ),
        ({"must": (UNK,), "max_length": LENGTH}, "UNK cannot be required"),
    ],
)
def test_required_words_that_there_is_no_room_for(options, message):
    with pytest.raises(ValueError, match=message):
        decode(TREE, TREE.features(2, 0), DecodeOptions(**options), VOCABULARY)


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.sampled_from(["dog", "a", "runs"]), min_size=1), SOME, st.integers(1, 3),
    st.integers(0, 2), st.integers(0, 999),
)  # fmt: skip
def test_required_words_go_with_all_constraints(must, names, beam, room, seed):
    """Whenever a caption exists that keeps them all, a beam of any size finds one."""
    names, length = names - {"never"}, len(must) + room
    chosen = {name: ALL[name] for name in names if name != "min_length" or length >= 3}
    options = DecodeOptions(beam=beam, max_length=length, must=tuple(must), **chosen)
    tree = Tree(len(VOCABULARY), length)
    kept = [
        words
        for words in (VOCABULARY.decode(caption) for caption in tree.captions())
        if must <= set(words) and all(holds(name, words) for name in {*chosen, "suppress_unk"})
    ]
    if not kept:
        with pytest.raises(ValueError, match="no caption of at most"):
            decode(tree, tree.features(2, seed), options, VOCABULARY)
        return
    for (caption,) in decode(tree, tree.features(2, seed), options, VOCABULARY):
        assert VOCABULARY.decode(caption.token_ids) in kept


def test_greedy_with_a_required_word():
    options = DecodeOptions(beam=1, max_length=LENGTH, must=("dog", "runs"))
    for (caption,) in decode(TREE, TREE.features(9, 0), options, VOCABULARY):
        assert {"dog", "runs"} <= set(VOCABULARY.decode(caption.token_ids))
        assert caption_tokens(torch.tensor(caption.token_ids)) == tuple(caption.token_ids)


def test_a_stuck_hypothesis_ends_with_the_probability_of_the_end():
    log_probs = torch.tensor([[[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]]).log()
    history = torch.zeros(1, 2, 0, dtype=torch.int64)
    given = log_probs.clone()
    forbid([at_least(3), never(torch.tensor([1, 2]))], log_probs, history)
    assert torch.equal(log_probs[..., 0], given[..., 0])
    assert (log_probs[..., 1:] == -torch.inf).all()
