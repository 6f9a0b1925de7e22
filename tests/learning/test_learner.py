"""The learner: learns, resumes, never takes a transition twice, and goes back where it must."""

import math

import numpy as np
import pytest
import torch

from mbrl_node.data import RunStore, SessionTask
from mbrl_node.data.records import with_room
from mbrl_node.learning import (
    Learner,
    LearnerConfig,
    TrainerConfig,
    VersionError,
    refit,
)
from mbrl_node.models import ModelConfig, save_checkpoint
from mbrl_node.models.checkpoint import checkpoint_path, checkpoints
from mbrl_node.spec import load_spec
from mbrl_node.spec.task import Task
from tests.learning.pendulum import PERIOD, records

SPEC = load_spec("cartpole")
GOAL = {"name": "goal", "path": "point.x", "unit": "m", "min": -1, "max": 1}
REACH = SPEC.with_overrides(
    task="reach",
    targets=[{"topic": "/goal", "type": "geometry_msgs/msg/PointStamped", "fields": [GOAL]}],
    reward=[{"term": "distance", "of": "x", "target": "goal", "weight": -5.0}],
)
CONFIG = LearnerConfig(min_transitions=10, gradient_steps=60)
MODEL = ModelConfig(members=2, hidden=(32,))


def learner(path, config: LearnerConfig = CONFIG, **kwargs) -> Learner:
    return Learner(SPEC, Task.of(SPEC), path, config, TrainerConfig(), MODEL, **kwargs)


def numbers(folder) -> list[int]:
    return [int(path.stem[1:]) for path in checkpoints(folder)]


def weights(it: Learner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in it.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_held_out_error_falls_as_data_comes(tmp_path):
    it = learner(tmp_path)
    errors = []
    for k in range(8):
        it.add(records(50 * k, 50))
        errors.append(it.update().held_out_error)
    assert math.isnan(errors[0]) and errors[-1] < 0.15 and errors[-1] < 0.5 * errors[1]


def test_a_restart_goes_on_with_the_data_the_weights_and_the_version(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    it.update()
    again = learner(tmp_path)
    assert again.latest.version == 2 and len(again.buffer) == 40 and not again.due
    again.add(records(30, 20))
    assert len(again.buffer) == 50 and again.lost == 0 and again.due
    assert again.update().version == 3
    assert again.store.records()["sequence"].tolist() == list(range(50))


def test_what_was_stored_but_not_learned_is_learned_after_a_restart(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    it.add(records(40, 40))
    again = learner(tmp_path)
    assert again.due and again.update().transitions == 80


def test_a_run_goes_on_with_another_task_of_the_robot(tmp_path):
    it = learner(tmp_path)
    for k in range(4):
        it.add(records(100 * k, 100))
        it.update()
    it.store.close()
    reach = RunStore(tmp_path / "transitions.db", REACH)
    assert reach.target_dim == 1
    reach.close()
    again = Learner(REACH, Task.of(REACH), tmp_path, CONFIG, TrainerConfig(), MODEL)
    aimed = with_room(records(400, 60, session=2), 1)
    aimed["targets"] = 0.5
    again.add(aimed)
    update = again.update()
    # The rewards of before are of another task: what predicts states well predicts this one's.
    assert update.transitions == 460
    assert again.versions.all()[-1].metrics["return_error"] < 0.3
    assert again.store.tasks == {1: SessionTask("swing_up"), 2: SessionTask("reach", ("goal",))}
    assert np.isnan(again.store.records()["targets"][:400]).all()


def test_lost_transitions_are_counted(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 5))
    it.add(records(8, 5))
    assert it.lost == 0  # they may come yet
    it.store.skip(1, 8)
    assert it.lost == 3


def test_steps_of_another_length_are_stored_but_not_learned_from(tmp_path):
    it = learner(tmp_path)
    late = records(0, 3)
    late["next_stamp"][1] += PERIOD
    it.add(late)
    assert len(it.store) == 3 and len(it.buffer) == 2


def test_the_same_seed_gives_the_same_bits(tmp_path):
    weights = []
    for name in ("a", "b"):
        it = learner(tmp_path / name, seed=3)
        it.add(records(0, 40))
        it.update()
        weights.append(it.model.state_dict())
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_a_diverging_update_leaves_the_model_and_the_version_as_they_were(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    before = {k: v.clone() for k, v in it.model.state_dict().items()}
    it.buffer._data[:40] = math.nan
    it.add(records(40, 1))
    with pytest.raises(FloatingPointError):
        it.update()
    after = it.model.state_dict()
    assert it.latest.version == 1 and all(torch.equal(before[k], after[k]) for k in before)


def sabotage(it: Learner) -> None:
    """Every update turns the signs of the last layer round."""
    train = it._trainer._steps

    def sabotaged(*args):
        result = train(*args)
        with torch.no_grad():
            it._trainer.model.dynamics.net.weights[-1].mul_(-1.0)
        return result

    it._trainer._steps = sabotaged


def test_a_retrain_that_is_worse_is_refused_and_kept_with_the_reason(tmp_path, caplog):
    it, said = learner(tmp_path), []
    it.say = lambda *words: said.append(words)
    it.add(records(0, 400))
    for _ in range(5):
        it.update()
    before, good = weights(it), it.latest
    sabotage(it)
    it.add(records(400, 1))
    assert it.update() is None and it.latest == good
    assert it.progress.refused == 1 and "version 6 refused, warm update: states" in caplog.text
    assert said == [("model", "6", f"refused, {it.progress.reason}")]
    assert same(before, weights(it)) and numbers(tmp_path / "models") == [1, 2, 3, 4, 5]
    refused = it.store.versions()[-1]
    assert (refused.number, refused.parent, refused.state) == (6, 5, "refused")
    assert refused.metrics["horizon_error"] > 2 * refused.metrics["horizon_error_before"]
    assert numbers(tmp_path / "models" / "refused") == [6]
    del (
        it._trainer._steps
    )  # it goes on from what it has, and after some refusals from what was good
    it.add(records(401, 50))
    updates = [it.update() for _ in range(6)]
    assert any(updates) and it.progress.refused <= 5 and it.latest.version > 6


def test_a_refused_version_can_be_promoted_and_is_a_new_one_then(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 400))
    it.update()
    sabotage(it)
    it.add(records(400, 1))
    it.update()
    update = it.promote(2)
    assert update.version == 3 and it.latest == update and update.path.exists()
    promoted = it.store.versions()[-1]
    assert (promoted.parent, promoted.state, promoted.reason) == (2, "accepted", "promoted from 2")
    assert learner(tmp_path).latest.version == 3


def test_a_version_without_a_file_cannot_be_promoted(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    with pytest.raises(VersionError, match="version 7 has no file; kept are 1"):
        it.promote(7)


def test_a_version_that_is_not_finite_cannot_be_promoted(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    with torch.no_grad():
        it.model.dynamics.input_mean[0] = math.nan
    save_checkpoint(it.model, checkpoint_path(tmp_path / "models/refused", 2), {"version": 2})
    with pytest.raises(VersionError, match="not finite"):
        it.promote(2)
    assert it.latest.version == 1 and len(it.store.versions()) == 1


def test_a_file_that_a_killed_process_left_without_a_row_gets_one(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    it.update()
    it.update()
    it.store._db.execute("DELETE FROM version WHERE number = 2")
    versions = learner(tmp_path).store.versions()
    assert [(v.number, v.parent, v.transitions, v.reason) for v in versions] == [
        (1, 0, 40, "warm update"),
        (2, 1, 40, "warm update"),
    ]
    assert versions[1].metrics["gradient_steps"] == 60


def test_what_turned_out_worse_is_taken_back_with_all_that_was_made_from_it(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 400))
    it.update()
    good = weights(it)
    it.update()
    it.update()
    it.roll_back(2, 1, "it predicted the last second 4 times worse")
    assert it.latest.version == 1 and same(good, weights(it)) and it.progress.rolled_back == 2
    assert [v.state for v in it.store.versions()] == ["accepted", "rolled back", "rolled back"]
    assert numbers(tmp_path / "models") == [1] and numbers(tmp_path / "models/refused") == [2, 3]
    assert learner(tmp_path).latest.version == 1
    it.add(records(400, 40))
    assert it.update().version == 4 and it.store.versions()[-1].parent == 1


def test_a_rollback_to_a_version_that_is_gone_goes_to_the_newest_before_it(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    for _ in range(3):
        it.update()
    (tmp_path / "models" / "v000002.safetensors").unlink()
    it.roll_back(3, 2, "worse")
    assert it.latest.version == 1


def test_with_much_data_an_update_waits_until_there_is_something_to_gain(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_node.learning.learner.FEW", 100)
    it = learner(tmp_path, CONFIG.model_copy(update={"refit": 0.0}))
    it.add(records(0, 1000))
    it.update()
    it.add(records(1000, 8))
    assert not it.due
    it.add(records(1008, 3))
    assert it.due


def test_a_new_episode_is_worth_an_update(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_node.learning.learner.FEW", 100)
    it = learner(tmp_path, CONFIG.model_copy(update={"refit": 0.0}))
    it.add(records(0, 1000))
    it.update()
    new = records(1000, 2)
    new["episode"] = 2
    it.add(new)
    assert it.due


def test_a_robot_that_has_changed_is_noticed_and_learned_anew(tmp_path, caplog):
    config = LearnerConfig(min_transitions=10, gradient_steps=150)
    model = ModelConfig(members=2, hidden=(64, 64))
    it, said = Learner(SPEC, Task.of(SPEC), tmp_path, config, None, model), []
    it.say = lambda *words: said.append(words)
    for k in range(20):
        it.add(records(0, 600)[30 * k : 30 * k + 30])
        it.update()
    assert it._priorities.era == 0
    for k in range(12):
        it.add(records(600, 240, gain=-1.0)[20 * k : 20 * k + 20])
        it.update()
    era = it._priorities.era
    assert 575 <= era < 700 and ("robot", "changed") in [words[:2] for words in said]
    assert "the robot has changed: the model's error is" in caplog.text
    assert it.store.versions()[-1].metrics["era"] == era
    new = it.buffer.batch(start=800)
    assert it.model.dynamics.error(new.state, new.action, new.next_state) < 0.5
    assert Learner(SPEC, Task.of(SPEC), tmp_path, config, None, model)._priorities.era == era


def test_a_refit_goes_on_a_slice_at_each_update_and_must_be_better(tmp_path, monkeypatch):
    monkeypatch.setattr(refit, "FIRST", 200)
    it = learner(tmp_path, CONFIG.model_copy(update={"gradient_steps": 2}))
    it.add(records(0, 300))
    it.update()
    slices = 0
    while it.due:
        it.update()
        slices += 1
    assert slices > 3
    reasons = [v.reason for v in it.store.versions() if v.state == "accepted"]
    assert reasons == ["warm update", "refit"]
    it.add(records(300, 40))
    it.update()
    assert it._refit is None  # the next is due at twice the data


def test_without_refits_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(refit, "FIRST", 200)
    it = learner(tmp_path, CONFIG.model_copy(update={"refit": 0.0}))
    it.add(records(0, 300))
    it.update()
    assert not it.due


def test_a_cancelled_update_offers_nothing(tmp_path):
    it = learner(tmp_path)
    it.add(records(0, 40))
    assert it.update(cancelled=lambda: True) is None and it.latest is None


def test_every_version_is_kept_with_its_metrics(tmp_path):
    it = learner(tmp_path)
    for k in range(3):
        it.add(records(40 * k, 40))
        it.update()
    first, second, third = it.store.versions()
    assert [v.number for v in (first, second, third)] == [1, 2, 3]
    assert [v.parent for v in (first, second, third)] == [0, 1, 2]
    assert (third.transitions, third.state, third.reason) == (120, "accepted", "warm update")
    assert math.isnan(first.metrics["held_out_error"])
    assert third.metrics["held_out_error"] == it.latest.held_out_error
    assert third.metrics["gradient_steps"] == 60 and third.metrics["train_time"] > 0


def test_old_checkpoints_are_removed_but_for_every_power_of_two(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl_node.learning.versions.KEPT", 10)
    once = LearnerConfig(min_transitions=1, gradient_steps=1)
    it = learner(tmp_path, once)
    it.add(records(0, 10))
    for _ in range(14):
        it.update()
    assert numbers(tmp_path / "models") == [1, 2, 4, *range(5, 15)]
