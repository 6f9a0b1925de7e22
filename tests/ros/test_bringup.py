"""The whole system, launched as a user launches it. The tests share one launch and run in order."""

import itertools
import math
import signal
from pathlib import Path

import numpy as np

from mbrl_node.data import RunStore
from mbrl_node.ros.stamps import from_time
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")
PERIOD = round(SPEC.dt * 1e9)


def test_it_explores_learns_and_plans_with_what_it_learned(system):
    system.wait_for(lambda: len(system.models) >= 2, "a second model")
    system.wait_for(lambda: any(t.controller == "mppi" for t in system.transitions), "planning")
    system.wait_for(lambda: system.plans, "a plan")
    assert system.transitions[0].controller == "random"
    first, second = system.models[:2]  # the first that was heard of; discovery takes its time
    assert second.version == first.version + 1
    plan = system.plans[-1]
    states = np.array(plan.states).reshape(plan.horizon + 1, len(plan.state_names))
    assert list(plan.state_names) == list(SPEC.state_names) and np.isfinite(states).all()
    assert len(plan.actions) == plan.horizon and np.abs(plan.actions).max() <= 5.0
    assert from_time(plan.header.stamp) % PERIOD == 0


def test_no_process_uses_memory_that_would_be_spoilt_when_it_is_killed(system):
    nodes = [pid for pid, command in system.processes().items() if "lib/mbrl/" in command]
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in nodes]
    assert len(maps) == 3 and not any("/dev/shm/fastrtps" in text for text in maps)


def test_transitions_are_numbered_without_gaps_and_follow_from_each_other(system):
    recent = system.wait_for_more(system.transitions, 20, "transitions")
    assert [t.sequence for t in system.transitions] == list(range(len(system.transitions)))
    for a, b in itertools.pairwise(recent):
        if a.episode == b.episode and from_time(a.next_stamp) == from_time(b.stamp):
            assert a.next_state == b.state
    assert all(abs(t.action[0]) <= 5.0 and math.isfinite(t.reward) for t in recent)


def test_the_status_tells_people_and_programs_what_is_going_on(system):
    system.wait_for(
        lambda: any(s.model_version > 1 for s in system.status), "a status with a model"
    )
    last = system.status[-1]
    assert last.robot == "cartpole" and last.active_controller == "mppi" and last.rate > 0
    system.wait_for(lambda: any("| mppi |" in line for line in system.output), "a line for people")


def test_controllers_are_swapped_while_it_runs_without_a_tick_without_a_command(system):
    for name in ("random_shooting", "hold", "mppi"):
        begin, commands = len(system.transitions), len(system.commands)
        response = system.switch(name)
        assert response.ok and f"to '{name}'" in response.message
        system.wait_for(
            lambda begin=begin, name=name: any(
                t.controller == name for t in system.transitions[begin:]
            ),
            f"a transition of {name}",
        )
        during = system.transitions[begin:]
        assert len(system.commands) - commands >= len(during) - 1  # a command for every tick
        names = [t.controller for t in during]
        assert names == sorted(names, key=lambda n: n == name)  # from one to the other, once
    assert system.controllers()["mppi"].state == "active"


def test_a_switch_that_does_not_fit_is_refused_with_a_reason(system):
    response = system.switch("nonsense")
    assert not response.ok and "no controller 'nonsense'; there are" in response.message
    assert not system.switch("mppi", "hold").ok
    assert system.controllers()["mppi"].state == "active"


def test_training_never_stalls_control(system):
    system.wait_for_more(system.models, 1, "models")
    system.kill("learner", signal.SIGSTOP)  # hangs, as in the longest of all trainings
    recent = system.wait_for_more(system.transitions, 40, "transitions while the learner hangs")
    system.kill("learner", signal.SIGCONT)
    stamps = [from_time(t.stamp) for t in recent if t.session == recent[-1].session]
    gaps = [b - a for a, b in itertools.pairwise(stamps)]
    assert sorted(gaps)[len(gaps) // 2] == PERIOD and recent[-1].controller == "mppi"


def test_kill_9_of_the_learner_loses_and_doubles_no_transition(system):
    system.wait_for_more(system.models, 1, "models")
    system.kill("learner")
    system.wait_for_more(system.transitions, 10, "transitions with no learner")
    assert system.status[-1].active_controller == "mppi"
    version = system.models[-1].version
    system.wait_for(lambda: system.models[-1].version > version, "a model from the new learner")
    assert sum("run " in line and "transitions, model" in line for line in system.output) == 2


def test_kill_9_of_the_controller_begins_a_new_session(system):
    first = system.transitions[-1].session
    system.kill("controller")
    system.wait_for(lambda: system.transitions[-1].session != first, "a new session")
    system.wait_for_more(system.transitions, 5, "transitions of the new session")
    session = system.transitions[-1].session
    sequences = [t.sequence for t in system.transitions if t.session == session]
    assert sequences == list(range(len(sequences)))
    system.wait_for(
        lambda: system.transitions[-1].model_version > 0, "planning with the model again"
    )


def test_kill_9_of_the_simulator_is_survived(system):
    system.kill("sim")
    system.wait_for(
        lambda: from_time(system.transitions[-1].stamp) < 2 * 10**9, "time beginning again"
    )
    recent = system.wait_for_more(system.transitions, 10, "transitions in the new time")
    assert all(from_time(t.next_stamp) > from_time(t.stamp) for t in recent)
    sequences = [t.sequence for t in system.transitions if t.session == recent[-1].session]
    assert sequences == list(range(len(sequences)))


def test_the_end_by_sigterm_is_clean_and_leaves_the_robot_safe(system):
    system.wait_for_more(system.transitions, 5, "transitions")
    assert system.stop(signal.SIGTERM) == 0
    assert system.commands[-1] == [0.0]
    assert system.processes() == {}
    text = "".join(system.output)
    assert "Traceback" not in text and text.count("stopped; the robot has its safe command") == 1


def test_the_store_has_every_transition_once(system):
    records = RunStore(system.run_dir / "transitions.db", SPEC).records()
    published: dict[int, list[int]] = {}
    for t in system.transitions:
        published.setdefault(t.session, []).append(t.sequence)
    assert len(published) == 2
    for session, sequences in published.items():
        stored = records["sequence"][records["session"] == session].tolist()
        assert stored == list(range(len(stored)))
        # The newest of a process that is killed may not have reached the learner, or not yet the
        # watcher.
        assert abs(len(stored) - len(sequences)) <= 5
