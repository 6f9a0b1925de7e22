import sys

import gymnasium
import imageio_ffmpeg
import numpy as np
import pytest

from mbrl_node.agent import RunError, evaluate, record, train
from mbrl_node.data import RunStore

LINE = "line_env:Line-v0"


@pytest.fixture
def run_dir(tmp_path, small):
    train(LINE, 40, 0, tmp_path / "run", config=small)
    return tmp_path / "run"


def frames(path):
    """Of a film: what the file says of itself, and the pictures."""
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    width, height = about["size"]
    return about, [np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader]


def test_an_evaluation_is_repeatable_and_leaves_the_run_as_it_was(run_dir):
    files = {p: p.read_bytes() for p in run_dir.rglob("*.safetensors")}
    first = evaluate(run_dir, 3, seed=7)
    assert evaluate(run_dir, 3, seed=7) == first
    assert evaluate(run_dir, 3, seed=8) != first
    assert all(episode.steps == 20 or episode.terminated for episode in first)
    assert {p: p.read_bytes() for p in run_dir.rglob("*.safetensors")} == files
    system = train(run_dir=run_dir).agent.system
    assert len(RunStore(run_dir / "transitions.db", system)) == 40


def test_a_run_without_a_model_cannot_be_evaluated(tmp_path, small):
    train(LINE, 5, 0, tmp_path, config=small)
    with pytest.raises(RunError, match="has no model yet"):
        evaluate(tmp_path)


def test_a_film_shows_every_step_in_real_time(run_dir):
    path = record(run_dir, run_dir / "films" / "line.mp4", episodes=2)
    about, pictures = frames(path)
    steps = sum(episode.steps for episode in evaluate(run_dir, 2))
    assert len(pictures) == steps + 2  # and the two starts
    assert about["codec"] == "h264"
    assert about["fps"] == pytest.approx(10)
    assert about["size"] == (64, 32)
    columns = [picture.sum((0, 2)).argmax() for picture in pictures]
    assert len(set(columns)) > 1  # the cart moves
    assert [p.name for p in path.parent.iterdir()] == ["line.mp4"]


def test_a_fast_environment_is_not_filmed_at_every_step(tmp_path, small):
    settings = {**small, "learner": {"period": 0.2, "min_transitions": 2}}
    import line_env

    class Fast(line_env.Line):
        dt = 0.01

    gymnasium.register("Fast-v0", Fast, max_episode_steps=20)
    train("Fast-v0", 40, 0, tmp_path, config=settings)
    about, pictures = frames(record(tmp_path))
    assert about["fps"] == pytest.approx(100 / 3, abs=0.1)
    assert len(pictures) == 7


def test_an_environment_that_draws_nothing_cannot_be_filmed(tmp_path, small):
    train("line_env:Undrawable-v0", 40, 0, tmp_path, config=small)
    with pytest.raises(RunError, match="Undrawable-v0: draws no pictures"):
        record(tmp_path)
    assert not list(tmp_path.glob("*.mp4"))


def test_without_the_package_for_films_it_is_said_how_to_get_it(run_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(RunError, match="pip install imageio-ffmpeg"):
        record(run_dir)


@pytest.mark.parametrize("name", ["film.avi", "run.json/film.mp4"])
def test_a_film_that_cannot_be_written_is_named(run_dir, name):
    with pytest.raises(RunError, match="film"):
        record(run_dir, run_dir / name)


def test_a_picture_of_a_robot_shows_it_and_does_not_disturb_it():
    env = gymnasium.make("sim:mbrl/Cartpole-v0", render_mode="rgb_array")

    def push(drawn):
        states, pictures = [env.reset(seed=0)[0]], []
        for _ in range(10):
            states.append(env.step(np.array([5.0]))[0])
            pictures += [env.render()] if drawn else []
        return np.array(states), pictures

    states, pictures = push(drawn=True)
    assert np.array_equal(push(drawn=False)[0], states)
    env.close()
    for picture in pictures:
        assert picture.shape == (360, 480, 3)
        # The cart is blue, and in the middle however far it has gone; the pole hangs white below.
        blue = (picture[..., 2] > 100) & (picture[..., 0] < 30) & (picture[..., 1] < 30)
        assert blue.sum() > 1000
        assert abs(np.argwhere(blue)[:, 1].mean() - 240) < 20
        white = (picture > 180).all(-1)
        assert white[200:].sum() > 200
