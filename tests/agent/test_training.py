import json
import math
import struct
import sys

import gymnasium
import numpy as np
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from mbrl_node.agent import AgentConfig, Progress, RunError, RunInfo, evaluate, train
from mbrl_node.models import newest_checkpoint

LINE = "line_env:Line-v0"


def last_model(result):
    _, world, _ = newest_checkpoint(result.run_dir / "models", result.agent.system)
    return world


def test_the_same_seed_gives_the_same_returns_and_another_one_others(tmp_path, small):
    def returns(name, seed):
        return train(LINE, 80, seed, tmp_path / name, config=small).returns

    first = returns("a", 1)
    assert len(first) >= 4
    assert returns("b", 1) == first
    assert returns("c", 2) != first


def test_a_run_goes_on_to_the_steps_in_total_and_remembers_its_episodes(tmp_path, small):
    first = train(LINE, 45, 3, tmp_path, config=small)
    second = train(run_dir=tmp_path, steps=90)
    assert (first.steps, second.steps) == (45, 90)
    assert second.returns[: len(first.returns)] == first.returns
    assert len(second.returns) > len(first.returns)
    assert second.agent.learner.lost == 0
    assert second.agent.learner.latest.version > first.agent.learner.latest.version
    assert second.agent.config == first.agent.config


def test_a_run_that_goes_on_meets_other_starts(tmp_path, small):
    train(LINE, 20, 3, tmp_path, config=small)
    train(run_dir=tmp_path, steps=40)
    stored = train(run_dir=tmp_path, steps=40).agent.learner.buffer.batch().state
    assert not torch.equal(stored[0], stored[20])


def test_a_run_without_more_steps_to_go_is_only_told_of(tmp_path, small):
    first = train(LINE, 40, 0, tmp_path, config=small)
    again = train(run_dir=tmp_path)
    assert (again.steps, again.returns) == (first.steps, first.returns)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"env": "Pendulum-v1"}, "env is 'line_env:Line-v0', not 'Pendulum-v1'"),
        ({"seed": 4}, "seed is 3, not 4"),
        ({"angles": [0]}, r"angles is \(\), not \(0,\)"),
        ({"reward": "line_env:reward"}, "reward is None, not 'line_env:reward'"),
        ({"config": {"model": {"members": 3}}}, "model.members is 2, not 3"),
        ({"config": AgentConfig()}, "mppi.samples is 20, not 120"),
    ],
)
def test_a_run_does_not_go_on_with_something_else(tmp_path, small, change, words):
    train(LINE, 20, 3, tmp_path, config=small)
    with pytest.raises(RunError, match=words):
        train(**{"run_dir": tmp_path, "steps": 40, **change})


def test_a_run_goes_on_where_the_same_is_said_again(tmp_path, small):
    train(LINE, 20, 3, tmp_path, config=small, env_kwargs={"push": 3.0})
    train(LINE, 30, 3, tmp_path, config={"model": {"members": 2}}, env_kwargs={"push": 3.0})
    assert RunInfo.read(tmp_path).env_kwargs == {"push": 3.0}
    assert RunInfo.read(tmp_path).steps == 30


def test_reward_and_end_are_learned_where_none_are_given(tmp_path, small):
    settings = {**small, "learner": {"period": 2.0, "gradient_steps": 120}}
    result = train(LINE, 160, 1, tmp_path, config=settings)
    world, seen = last_model(result), result.agent.learner.buffer.batch()
    predicted = world.reward(seen.state, seen.action, seen.next_state)
    assert (predicted - seen.reward).square().mean() < 0.1 * seen.reward.var()
    ended = seen.terminated > 0
    assert ended.sum() >= 3
    assert world.termination(seen.next_state)[ended].all()
    assert world.termination(seen.next_state)[~ended].sum() <= 2


def test_what_is_given_is_not_learned(tmp_path, small):
    import line_env

    result = train(
        LINE,
        40,
        0,
        tmp_path,
        config=small,
        reward=line_env.reward,
        termination="line_env:termination",
    )
    world = last_model(result)
    assert world.reward is None
    assert world.termination is None
    assert RunInfo.read(tmp_path).reward == "line_env:reward"
    assert len(evaluate(tmp_path, 1)) == 1  # finds both by name


def test_a_function_that_has_no_name_to_import_is_given_again(tmp_path, small):
    def reward(state, action, next_state):
        return -next_state[..., 0].abs()

    train(LINE, 40, 0, tmp_path, config=small, reward=reward)
    with pytest.raises(RunError, match="reward: cannot be imported"):
        evaluate(tmp_path, 1)
    assert len(evaluate(tmp_path, 1, reward=reward)) == 1


def test_an_agent_that_has_been_trained_acts(tmp_path, small):
    agent = train(LINE, 40, 0, tmp_path, config=small).agent
    agent.begin_episode()
    action = agent.act(np.array([0.5, 0.5]))
    assert action.shape == (1,)
    assert abs(action[0]) <= 1


def test_plans_and_updates_of_an_environment_are_counted_in_its_steps(tmp_path):
    train("Pendulum-v1", 1, run_dir=tmp_path)
    config = RunInfo.read(tmp_path).config
    assert (config.mppi.horizon, config.icem.horizon) == (2.0, 2.0)  # 40 steps of 0.05 s
    assert config.learner.period == 1.0


def test_a_robot_keeps_the_settings_of_robots(tmp_path):
    train("sim:mbrl/Cartpole-v0", 1, run_dir=tmp_path)
    assert RunInfo.read(tmp_path).config == AgentConfig()


def test_an_update_that_fails_does_not_end_the_run(tmp_path, small, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise FloatingPointError("the training loss is not finite")

    monkeypatch.setattr("mbrl_node.learning.learner.Learner.update", fail)
    result = train(LINE, 40, 0, tmp_path, config=small)
    assert result.steps == 40
    assert "the model stays as it was: the training loss is not finite" in caplog.text


def test_an_environment_may_give_the_same_array_each_time(tmp_path, small):
    import line_env

    class Reusing(line_env.Line):
        observation = np.zeros(2, np.float32)

        def _state(self):
            self.observation[:] = super()._state()
            return self.observation

    gymnasium.register("Reusing-v0", Reusing, max_episode_steps=20)
    batch = train("Reusing-v0", 10, 0, tmp_path, config=small).agent.learner.buffer.batch()
    assert not torch.equal(batch.state, batch.next_state)
    assert torch.equal(batch.state[1:], batch.next_state[:-1])


def test_progress_is_told_after_every_step(tmp_path, small):
    seen: list[Progress] = []
    result = train(LINE, 60, 0, tmp_path, config=small, report=seen.append)
    assert [now.steps for now in seen] == list(range(1, 61))
    assert math.isnan(seen[0].last_return)
    assert seen[0].version == 0
    last = seen[-1]
    assert last.version == result.agent.learner.latest.version
    assert last.episodes == len(result.returns)
    assert last.mean_return == pytest.approx(np.mean(result.returns[-10:]))
    assert last.held_out_error > 0
    assert last.train_steps_per_s > 0
    assert last.plan_time > 0


def test_training_ends_when_it_is_told_to(tmp_path, small):
    asked = iter([False, False, False, True])
    result = train(LINE, 1000, 0, tmp_path, config=small, stop=lambda: next(asked))
    assert result.steps == 3
    assert train(run_dir=tmp_path, steps=10).steps == 10


def test_two_cannot_learn_in_one_run_at_a_time(tmp_path, small):
    def second(progress):
        with pytest.raises(RunError, match="another process is learning in this run"):
            train(run_dir=tmp_path, steps=100)

    assert train(LINE, 2, 0, tmp_path, config=small, report=second).steps == 2


def test_curves_are_written_for_tensorboard(tmp_path, small):
    result = train(LINE, 60, 0, tmp_path, config=small)
    (file,) = (tmp_path / "tensorboard").glob("events*")
    curves = {}
    for event in events(file.read_bytes()):
        for value in event.summary.value:
            curves.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert set(curves) == {
        "episode/return",
        "time/plan_ms",
        "model/held_out_error",
        "model/held_out_loss",
        "time/train_steps_per_s",
    }
    returns = [value for _, value in curves["episode/return"]]
    assert returns == pytest.approx(result.returns, rel=1e-6)
    steps = [step for step, _ in curves["time/train_steps_per_s"]]
    assert steps == sorted(set(steps))


def events(data):
    """The records of an event file: length, its checksum, the event, its checksum."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_without_the_package_for_curves_training_goes_on(tmp_path, small, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert train(LINE, 20, 0, tmp_path, config=small).steps == 20
    assert "pip install tensorboardX" in caplog.text
    assert not (tmp_path / "tensorboard").exists()


def test_an_environment_of_discrete_actions_is_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(RunError, match="action space is Discrete"):
        train("CartPole-v1", 10, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_are_refused(tmp_path):
    class Images(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 255, (96, 96, 3), np.uint8)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    gymnasium.register("Images-v0", Images)
    with pytest.raises(RunError, match=r"shape \(96, 96, 3\), as of an image; the agent needs"):
        train("Images-v0", 10, run_dir=tmp_path / "run")


def test_actions_without_limits_are_refused(tmp_path):
    class Unlimited(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    gymnasium.register("Unlimited-v0", Unlimited)
    with pytest.raises(RunError, match="not finite"):
        train("Unlimited-v0", 10, run_dir=tmp_path / "run")


def test_a_folder_of_another_robot_is_refused_and_left_as_it_was(tmp_path, small):
    train(LINE, 20, 0, tmp_path, config=small)
    (tmp_path / "run.json").unlink()  # as of a learner node
    with pytest.raises(RunError, match="holds transitions of another robot"):
        train("Pendulum-v1", 20, run_dir=tmp_path, config=small)
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is damaged"),
        ('{"env": "Pend', "is damaged"),
        ("[]", "is damaged"),
        ('{"env": "Pendulum-v1", "steps": "many"}', "is damaged: steps: "),
        ('{"env": "Pendulum-v1", "steps": 1, "foo": 1}', "is damaged: foo: "),
    ],
)
def test_a_damaged_run_json_is_named(tmp_path, text, words):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=words) as error:
        train(run_dir=tmp_path)
    assert "\n" not in str(error.value)


def test_run_json_tells_what_the_run_was_started_with(tmp_path, small):
    train(LINE, 20, 5, tmp_path, config=small, env_kwargs={"push": 3.0})
    data = json.loads((tmp_path / "run.json").read_text())
    assert (data["env"], data["seed"], data["steps"]) == (LINE, 5, 20)
    assert data["env_kwargs"] == {"push": 3.0}
    assert data["config"]["model"]["hidden"] == [16, 16]
    assert data["version"]
    assert not list(tmp_path.glob(".run.json*"))
