"""prepro.picture_changes: where random crops lie. tests/prepro/test_augment.py has the pictures."""

from hypothesis import given
from hypothesis import strategies as st

from prepro.picture_changes import random_box


@given(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.integers(0, 10**9))
def test_a_crop_keeps_at_least_four_fifths_of_each_side(size, seed):
    left, top, right, bottom = random_box(size, (seed, 1, False))
    for low, high, side in ((left, right, size[0]), (top, bottom, size[1])):
        assert 0 <= low < high <= side and high - low >= 0.8 * side - 0.5
