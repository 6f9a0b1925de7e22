"""Bookkeeping of sequence numbers, against sets that hold every one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_node.data.sequences import Sequences

NUMBERS = st.lists(st.integers(0, 30), max_size=12)
# What happens to a session: numbers come, or what is missing below one is given up.
STEPS = st.lists(st.one_of(NUMBERS, st.integers(0, 35)), max_size=8)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STEPS)
def test_it_knows_what_a_set_knows(steps):
    it, known, skipped = Sequences.of(), set(), 0
    for step in steps:
        if isinstance(step, int):
            skipped = max(skipped, step)
            it = Sequences(it.first, it.end, skipped)
        else:
            numbers = np.unique(np.array(step, np.int64))
            new = numbers[~it.contain(numbers)]
            assert new.tolist() == sorted(set(step) - known)
            it, known = it.extended(new), known | set(step)
        assert it.contain(np.arange(40)).tolist() == [k in known for k in range(40)]
        assert it.complete == min(k for k in range(skipped, 50) if k not in known)
        assert it.lost == len(set(range(skipped)) - known)
        assert (it.first[1:] > it.end[:-1]).all()  # runs that touch are one


def test_it_is_made_from_runs_in_any_order():
    it = Sequences.of([(7, 9), (0, 3)], skipped=5)
    assert np.flatnonzero(it.contain(np.arange(12))).tolist() == [0, 1, 2, 7, 8]
    assert it.complete == 5 and it.lost == 2
