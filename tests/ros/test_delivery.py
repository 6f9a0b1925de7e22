"""Transitions reach the disk whoever dies or cannot write. The tests share one launch, in order."""

import resource
import signal

import numpy as np
from mbrl_msgs.msg import LearnerStatus
from mbrl_msgs.srv import Promote
from std_srvs.srv import SetBool

from mbrl_node.data import RunStore
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")


def stored(system) -> dict[int, list[int]]:
    """The sequence numbers in the database, by session."""
    records = RunStore(system.run_dir / "transitions.db", SPEC, read_only=True).records()
    return {
        int(session): records["sequence"][records["session"] == session].tolist()
        for session in np.unique(records["session"])
    }


def acknowledged(system) -> None:
    """Waits until the controller knows that all it had is on disk."""
    begin = len(system.status)
    system.wait_for(
        lambda: any(s.unacknowledged < 5 for s in system.status[begin + 1 :]), "acknowledgement"
    )


def said(system) -> list[LearnerStatus]:
    """What the learner says of itself, from now on."""
    heard: list[LearnerStatus] = []
    system.node.create_subscription(LearnerStatus, "/mbrl_learner/status", heard.append, 10)
    return heard


def ask(system, kind, name, **request):
    client = system.node.create_client(kind, f"/mbrl_learner/{name}")
    return system.call(client, kind.Request(**request))


def test_what_a_killed_controller_had_for_a_learner_that_hangs_is_sent_by_the_next_one(system):
    system.wait_for(lambda: len(system.models) >= 2 and system.transitions, "a second model")
    system.kill("learner", signal.SIGSTOP)
    first = system.transitions[-1].session
    system.wait_for_more(system.transitions, 20, "transitions while the learner hangs")
    system.kill("controller")
    published = max(t.sequence for t in system.transitions if t.session == first)
    system.wait_for(lambda: system.transitions[-1].session != first, "a new session")
    system.wait_for_more(system.transitions, 10, "transitions of the new session")
    system.kill("learner", signal.SIGCONT)
    system.wait_for(lambda: len(stored(system).get(first, [])) > published, "all of the first")
    acknowledged(system)
    sessions = stored(system)
    assert len(sessions) == 2
    for sequences in sessions.values():
        assert sequences == list(range(len(sequences)))


def test_a_learner_that_is_paused_stores_and_does_not_learn(system):
    heard = said(system)
    assert ask(system, SetBool, "pause", data=True).success
    system.wait_for(lambda: heard and heard[-1].paused, "the pause")
    models, count = len(system.models), heard[-1].transitions
    system.wait_for(lambda: heard[-1].transitions > count + 20, "more transitions")
    assert len(system.models) - models <= 1  # one may have been under way
    assert ask(system, SetBool, "pause", data=False).success
    system.wait_for_more(system.models, 1, "models")


def test_an_older_version_is_promoted_as_a_new_one(system):
    assert ask(system, SetBool, "pause", data=True).success
    answer = ask(system, Promote, "promote", version=1)
    assert answer.success and answer.version > system.models[0].version
    system.wait_for(lambda: system.models[-1].version == answer.version, "the offer")
    versions = RunStore(system.run_dir / "transitions.db", SPEC, read_only=True).versions()
    assert (versions[-1].number, versions[-1].reason) == (answer.version, "promoted from 1")
    answer = ask(system, Promote, "promote", version=12345)
    assert not answer.success and "version 12345 has no file; kept are" in answer.message
    assert ask(system, SetBool, "pause", data=False).success


def test_with_a_full_disk_control_goes_on_and_all_is_stored_when_there_is_room(system):
    heard = said(system)
    [pid] = [p for p, words in system.processes().items() if "lib/mbrl/learner " in words]
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000, limits[1]))
    system.wait_for(lambda: heard and "cannot be written" in heard[-1].problem, "a problem")
    system.wait_for_more(system.transitions, 20, "transitions")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    system.wait_for(lambda: heard[-1].problem == "", "recovery")
    acknowledged(system)
    for sequences in stored(system).values():
        assert sequences == list(range(len(sequences)))


def test_the_history_of_the_run_is_in_the_database(system):
    assert system.stop() == 0
    store = RunStore(system.run_dir / "transitions.db", SPEC, read_only=True)
    said = {(event.kind, event.subject) for event in store.events()}
    assert ("problem", "store") in said and any(kind == "model" for kind, _ in said)
    assert len(store.episodes()) >= 2 and store.lost == 0
