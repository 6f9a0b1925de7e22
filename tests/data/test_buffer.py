"""The buffer knows which steps followed each other, and what a model with history looks at."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_node.data import ReplayBuffer, Transition, records_of
from mbrl_node.models import DynamicsModel, ModelConfig
from mbrl_node.spec.system import BoxSystem

N, M = 2, 1
SYSTEM = BoxSystem("toy", 0.1, ("x", "y"), ("u",), -1.0, 1.0)


def transition(k: int, episode: int = 0, session: int = 1, **changes) -> Transition:
    """The k-th step of a robot whose every number tells where it comes from."""
    values = {
        "session": session,
        "sequence": k,
        "episode": episode,
        "step": k,
        "stamp": 0,
        "next_stamp": 0,
        "state": np.array([k, 100 * session + episode], float),
        "action": np.array([1000.0 + k]),
        "action_requested": np.zeros(M),
        "next_state": np.array([k + 1, 100 * session + episode], float),
        "reward": float(-k),
        "terminated": False,
        "truncated": False,
        "controller": "",
        "model_version": 0,
    }
    return Transition(**{**values, **changes})


def filled(transitions: list[Transition]) -> ReplayBuffer:
    buffer = ReplayBuffer(N, M)
    buffer.add(records_of(transitions, N, M))
    return buffer


# Lengths of the unbroken runs of each episode; between runs of one episode a step is missing.
EPISODES = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=4)


def robot_log(episodes: list[list[int]]) -> tuple[list[Transition], list[list[Transition]]]:
    """All transitions, and the same by unbroken run."""
    runs, k = [], 0
    for episode, lengths in enumerate(episodes):
        for length in lengths:
            runs.append([transition(j, episode) for j in range(k, k + length)])
            k += length + 1
        k -= 1
    return [t for run in runs for t in run], runs


@settings(max_examples=50, deadline=None, derandomize=True)
@given(EPISODES, st.integers(1, 4))
def test_history_of_the_buffer_of_the_model_and_of_a_rollout_are_the_same(episodes, history):
    model = DynamicsModel(SYSTEM, ModelConfig(members=1, hidden=(4,), history=history))
    transitions, runs = robot_log(episodes)
    rows = iter(filled(transitions).batch(history).state)
    for run in runs:
        states = torch.tensor(np.array([t.state for t in run]), dtype=torch.float32)
        actions = torch.tensor(np.array([t.action for t in run]), dtype=torch.float32)
        rolled = model.model_state(states[:1], actions[:0])
        for t in range(len(run)):
            row = next(rows)
            assert torch.equal(row, model.model_state(states[: t + 1], actions[:t]))
            assert torch.equal(row, rolled)
            if t + 1 < len(run):
                difference = model.difference(rolled, states[t + 1])
                rolled = model._advance(rolled, actions[t], difference)


def test_history_is_written_out_newest_first_and_padded_with_a_robot_that_stood():
    rows = filled([transition(k) for k in (5, 6, 7)]).batch(3).state
    here = 100.0
    assert rows.tolist() == [
        [5, here, 5, here, 0, 5, here, 0],
        [6, here, 5, here, 1005, 5, here, 0],
        [7, here, 6, here, 1006, 5, here, 1005],
    ]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(EPISODES, st.integers(2, 4))
def test_nothing_of_another_episode_or_from_beyond_a_gap_is_in_a_history(episodes, history):
    transitions, runs = robot_log(episodes)
    buffer = filled(transitions)
    known = {(float(t.state[0]), float(t.state[1])): i for i, r in enumerate(runs) for t in r}
    run_of = [i for i, r in enumerate(runs) for _ in r]
    for i, row in zip(run_of, buffer.batch(history).state, strict=True):
        for past in row[N:].split(N + M):
            assert known[(float(past[0]), float(past[1]))] == i
    starts = [0, *np.cumsum([len(r) for r in runs]).tolist()]
    assert buffer.first().tolist() == [starts[i] for i in run_of]


def test_an_episode_with_a_gap_is_two_sequences_and_one_episode():
    buffer = filled([transition(0), transition(1), transition(3), transition(4, episode=1)])
    assert buffer.first().tolist() == [0, 0, 2, 3]
    assert buffer.episode().tolist() == [0, 0, 0, 3]


def test_the_same_episode_number_in_another_session_is_another_episode():
    buffer = filled([transition(0), transition(1, session=2)])
    assert buffer.first().tolist() == buffer.episode().tolist() == [0, 1]


@pytest.mark.parametrize("history", [1, 3])
def test_rows_from_a_start_are_the_last_rows_of_all(history):
    transitions, _ = robot_log([[4], [2, 3]])
    buffer = filled(transitions)
    for start in range(len(buffer) + 1):
        some, every = buffer.batch(history, start), buffer.batch(history)[slice(start, None)]
        assert all(
            torch.equal(getattr(some, name), getattr(every, name))
            for name in ("state", "action", "next_state", "reward", "terminated")
        )


def test_what_is_added_in_parts_over_many_growths_is_what_is_added_at_once():
    transitions = [transition(k, episode=k // 700) for k in range(5000)]
    whole, parts = filled(transitions), ReplayBuffer(N, M)
    for start in range(0, 5000, 37):
        parts.add(records_of(transitions[start : start + 37], N, M))
    assert len(parts) == len(whole) == 5000
    assert torch.equal(parts.batch(2).state, whole.batch(2).state)
    assert torch.equal(parts.first(), whole.first())
    assert torch.equal(parts.episode(), whole.episode())
    assert parts.batch().reward[4321] == -4321 and not parts.batch().terminated.any()


def test_a_batch_is_indexed_by_any_shape():
    batch = filled([transition(k) for k in range(5)]).batch()
    picked = batch[torch.tensor([[0, 1, 2], [4, 4, 3]])]
    assert picked.state.shape == (2, 3, N) and picked.reward.tolist() == [[0, -1, -2], [-4, -4, -3]]
    assert len(batch) == 5 and len(picked) == 2


def test_a_batch_taken_while_another_thread_adds_is_in_itself_consistent():
    buffer, transitions = ReplayBuffer(N, M), [transition(k) for k in range(6000)]
    records = records_of(transitions, N, M)
    buffer.add(records[:2])
    parts = [records[k : k + 1] for k in range(2, 6000)]
    adding = threading.Thread(target=lambda: list(map(buffer.add, parts)))
    adding.start()
    while adding.is_alive():
        batch = buffer.batch(history=3)
        assert len(batch.state) == len(batch.reward)
        assert float(batch.state[-1, 0]) == len(batch) - 1
        assert float(batch.state[-1, 2]) == len(batch) - 2
    adding.join()
    assert len(buffer) == 6000


def test_the_buffer_grows_and_keeps_the_order():
    buffer, records = ReplayBuffer(N, M), records_of([transition(k) for k in range(2100)], N, M)
    for start in (0, 700, 1400):
        buffer.add(records[start : start + 700])
    batch = buffer.batch(start=1000)
    assert len(buffer) == 2100 and batch.state.shape == (1100, N)
    assert batch.state[0, 0] == 1000.0 and batch.next_state[-1, 0] == 2100.0
