"""`mbrl models`, `promote` and `rollback` on a run with versions that are known."""

import json
import math
from pathlib import Path

import pytest
import torch

from mbrl_node.data import RunStore, Version
from mbrl_node.learning import lock_run
from mbrl_node.models import ModelConfig, WorldModel, newest_checkpoint, save_checkpoint
from mbrl_node.models.checkpoint import checkpoint_path
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")
RUN = Path("run")
VERSIONS = (  # and whether there is a file: versions 1, 3, 4 and the refused 5
    (Version(1, 0, 10**18, 20, "accepted", "refit", {"held_out_error": math.nan}), True),
    (Version(2, 1, 0, 40, "accepted", "warm update", {"held_out_error": 0.5}), False),
    (Version(3, 2, 10**18, 60, "accepted", "warm update", {"held_out_error": 0.25}), True),
    (
        Version(4, 3, 10**18, 80, "accepted", "", {"held_out_error": 0.125, "horizon_error": 0.75}),
        True,
    ),
    (Version(5, 4, 10**18, 90, "refused", "horizon error 0.9 [was 0.75]", {}), True),
)


def model(number: int) -> WorldModel:
    """Its weights tell which version it is."""
    world = WorldModel(SPEC, ModelConfig(members=1, hidden=(4,)))
    with torch.no_grad():
        for weights in world.parameters():
            weights.fill_(number)
    return world


@pytest.fixture
def run(mbrl, monkeypatch):
    """A run with these versions, in the folder that commands run in; on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")
    store = RunStore(RUN / "transitions.db", SPEC)
    for version, kept in VERSIONS:
        store.add_version(version)
        folder = RUN / "models" / ("refused" if version.state == "refused" else "")
        if kept:
            info = {"version": version.number, "transitions": version.transitions}
            save_checkpoint(model(version.number), checkpoint_path(folder, version.number), info)
    store.close()
    return RUN


def versions() -> list[Version]:
    store = RunStore(RUN / "transitions.db", read_only=True)
    result = store.versions()
    store.close()
    return result


def in_use() -> tuple[int, float]:
    """The version that a controller would take, and what its weights say."""
    path, world, info = newest_checkpoint(RUN / "models", SPEC)
    assert path == checkpoint_path(RUN / "models", info["version"])
    return info["version"], float(next(iter(world.parameters())).flatten()[0])


def test_models_lists_what_there_was_what_is_in_use_and_why(mbrl, run):
    code, out, err = mbrl("models", run)
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if line.startswith("│")]
    assert len(lines) == 5
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    assert rows[1] == ["2", "1", "–", "40", "0.5", "–", "accepted", "no", "warm update"]
    assert rows[3][3:] == ["80", "0.125", "0.75", "in use", "yes", ""]
    assert rows[4][6:] == ["refused", "yes", "horizon error 0.9 [was 0.75]"]
    assert rows[0][1] == "–" and rows[0][2].startswith("2001-09-")


def test_models_as_json_has_every_metric(mbrl, run):
    code, out, _ = mbrl("models", run, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["run"], found["robot"], found["active"]) == ("run", "cartpole", 4)
    first, *_, fourth, refused = found["versions"]
    assert first["metrics"] == {"held_out_error": None} and first["parent"] is None
    assert fourth["metrics"] == {"held_out_error": 0.125, "horizon_error": 0.75}
    assert [v["kept"] for v in found["versions"]] == [True, False, True, True, True]
    assert [v["active"] for v in found["versions"]] == [False, False, False, True, False]
    assert refused["reason"] == "horizon error 0.9 [was 0.75]"


def test_the_newest_twenty_are_listed_unless_all_are_asked_for(mbrl, run):
    store = RunStore(RUN / "transitions.db")
    for number in range(6, 31):
        store.add_version(Version(number, number - 1, 0, 100, "accepted", "", {}))
    store.close()
    assert mbrl("models", run)[1].endswith("10 older versions are not shown: --all\n")
    assert mbrl("models", run, "--all")[1].count("│") == 30 * 10


def test_a_run_without_a_model_says_so(mbrl):
    RunStore(RUN / "transitions.db", SPEC).close()
    assert mbrl("models", RUN) == (0, "run: there has been no model yet\n", "")


@pytest.mark.parametrize("number", [3, 5])
def test_promote_makes_a_copy_the_newest_version(mbrl, run, number):
    code, out, err = mbrl("promote", run, number)
    assert (code, err) == (0, "")
    path = checkpoint_path(RUN / "models", 6)
    assert out == f"version {number} is in use again, as version 6: {path}\n"
    assert in_use() == (6, number)
    new = versions()[-1]
    assert (new.number, new.parent, new.state) == (6, number, "accepted")
    assert new.reason == f"promoted from {number}"
    assert new.transitions == versions()[number - 1].transitions


def test_rollback_goes_to_the_accepted_version_before(mbrl, run):
    code, out, _ = mbrl("rollback", run)
    assert (code, out) == (0, "version 3 is in use; taken back: 4\n")
    assert in_use() == (3, 3)
    assert [v.state for v in versions()][3:] == ["rolled back", "refused"]
    assert mbrl("rollback", run)[0] == 0  # 2 has no file any more
    assert in_use() == (1, 1)
    code, _, err = mbrl("rollback", run)
    assert code == 2 and "there is no accepted version of the model to go back to" in err
    assert mbrl("promote", run, 4)[0] == 0
    assert in_use() == (6, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("models nowhere", "nowhere: no such folder"),
        ("models .", "it has no transitions.db"),
        ("promote nowhere 3", "nowhere: no such folder"),
        ("promote run 2", "version 2 has no file; kept are 1, 3, 4, 5"),
        ("promote run 7", "version 7 has no file"),
        ("promote run 4", "version 4 is in use already"),
        ("rollback nowhere", "nowhere: no such folder"),
    ],
)
def test_what_cannot_work_is_one_line_and_changes_nothing(mbrl, run, arguments, words):
    before = {path: path.read_bytes() for path in RUN.rglob("*.safetensors")}
    code, out, err = mbrl(*arguments.split())
    assert (code, out) == (2, "")
    assert words in err and len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in RUN.rglob("*.safetensors")} == before
    assert len(versions()) == 5 and not Path("nowhere").exists()


@pytest.mark.parametrize(("command", "version"), [(("promote", RUN, 1), 1), (("rollback", RUN), 3)])
def test_where_a_learner_works_it_is_told_what_to_ask(mbrl, run, command, version):
    with lock_run(RUN):
        code, _, err = mbrl(*command)
    assert code == 2 and "a learner is working on this run" in err
    service = "ros2 service call /mbrl_learner/promote mbrl_msgs/srv/Promote"
    assert f"{service} '{{version: {version}}}'" in err
    assert in_use() == (4, 4)
