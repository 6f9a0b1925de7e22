"""Films: of a launched system, of messages alone, and what is left of one that was killed."""

import os
import signal
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest

from mbrl_node.spec import load_spec
from sim.film import BAR, FRAMES, SIZE, Caption, Film, FrameClock, captioned, free_path
from sim.robots import make_robot

SECOND = 10**9


def frames_of(path):
    """The frames of a film as arrays, [height, width, 3]."""
    reader = imageio_ffmpeg.read_frames(str(path))
    size = next(reader)["size"]
    return [np.frombuffer(frame, np.uint8).reshape(size[1], size[0], 3) for frame in reader]


def test_a_launched_system_is_filmed_in_robot_time(launched_run):
    frames = frames_of(launched_run.folder / "video.mp4")
    assert frames[0].shape == (SIZE[1] + BAR, SIZE[0], 3)
    # Control begins some time after the simulator, whose clock is that of the wall or slower; the
    # film begins when a process that takes what others leave has started.
    length = len(frames) / FRAMES
    assert 0.3 * launched_run.moved < length < launched_run.lasted
    robot = [frame[: SIZE[1]].astype(int) for frame in frames]
    assert np.abs(robot[-1] - robot[0]).max() > 100  # it has moved
    bar = [frame[SIZE[1] :].astype(int) for frame in frames]
    assert np.abs(bar[-1] - bar[len(bar) // 2]).max() > 100  # and its figures changed


def test_a_film_has_as_many_frames_as_the_robots_clock_has_passed():
    clock = FrameClock()
    assert clock.due(100 * SECOND) == 1
    assert clock.due(100 * SECOND + 10**7) == 0
    assert clock.due(102 * SECOND) == 25  # it was away: what was seen before is seen for longer
    assert clock.due(0) == 0  # a simulator that was started anew
    assert clock.due(SECOND) == 12
    assert clock.due(9000 * SECOND) == 0  # a clock that was set
    assert clock.due(9001 * SECOND) in (12, 13)


def test_each_start_makes_a_film_of_its_own(tmp_path):
    names = [free_path(tmp_path).name for _ in range(3)]
    assert names == ["video.mp4", "video-2.mp4", "video-3.mp4"]


KILLED = """
import sys, numpy as np
from pathlib import Path
from sim.film import BAR, SIZE, Film
film = Film(Path(sys.argv[1]))
rng = np.random.default_rng(0)
for k in range(60):
    film.add(rng.integers(0, 255, (SIZE[1] + BAR, SIZE[0], 3), np.uint8))
print("written", flush=True)
while True:
    film.add(np.zeros((SIZE[1] + BAR, SIZE[0], 3), np.uint8))
"""


def test_a_film_can_be_played_when_all_that_wrote_it_was_killed(tmp_path):
    path = tmp_path / "video.mp4"
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        (encoder,) = children(process.pid)
        os.kill(encoder, signal.SIGKILL)
        process.kill()
    assert len(frames_of(path)) >= 60 - 3 * FRAMES


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def test_a_frame_is_held_until_the_next(tmp_path):
    film = Film(tmp_path / "video.mp4")
    black = np.zeros((SIZE[1] + BAR, SIZE[0], 3), np.uint8)
    film.add(black)
    film.add(black + 255, 20)
    film.close()
    brightness = [frame.mean() for frame in frames_of(tmp_path / "video.mp4")]
    assert len(brightness) == 21 and max(brightness[:20]) < 10 and brightness[20] > 245


@pytest.mark.parametrize("name", ["cartpole", "husky", "half_cheetah", "panda_velocity"])
def test_a_robot_shows_what_the_messages_of_another_say(name):
    spec = load_spec(name)
    robot, shown = make_robot(spec, 1), make_robot(spec, 2)
    for _ in range(100):
        robot.step()
    kinds = [topic.type for topic in spec.state]
    for kind in kinds:
        shown.show(kind, robot.message(kind))
    for kind in kinds:
        assert places(shown.message(kind)) == pytest.approx(places(robot.message(kind)), abs=1e-6)
    picture = captioned(shown.picture(*SIZE), Caption(name, [("a", "b" * 99)] * 8, "late"))
    assert picture.shape == (SIZE[1] + BAR, SIZE[0], 3)
    robot.close()
    shown.close()


def places(message):
    """The positions in a message, and orientations but for their sign."""
    if hasattr(message, "position"):
        return list(message.position)
    pose = getattr(message, "pose", None)
    if pose is None:
        return []
    pose = getattr(pose, "pose", pose)
    turned = [getattr(pose.orientation, axis) for axis in "xyzw"]
    sign = 1 if turned[max(range(4), key=lambda k: abs(turned[k]))] > 0 else -1
    return [*(getattr(pose.position, axis) for axis in "xyz"), *(sign * value for value in turned)]
