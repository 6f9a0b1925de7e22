"""Films a robot as a ROS 2 node: what its state topics say, drawn, and the controller's figures."""

from __future__ import annotations

import math
import os
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mbrl_msgs.msg import ControllerStatus
from rclpy.node import Node

from mbrl_node.ros.extract import message_class
from mbrl_node.ros.parameters import declare
from mbrl_node.ros.process import ConfigurationError
from mbrl_node.ros.qos import qos_of
from mbrl_node.ros.stamps import from_time
from mbrl_node.ros.taken import Taken
from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.extract import TopicError
from sim.camera import target_place
from sim.film import FRAMES, PACKAGES, SIZE, Caption, Film, FrameClock, captioned, free_path
from sim.robots import make_robot

POLL = 0.25 / FRAMES  # s


class RecordNode(Node):
    """Draws the robot in a PyBullet world of its own, which only shows what the messages say, so
    that a real robot can be filmed as well as the simulator's.

    The film is RUN/video.mp4, and video-2.mp4 and so on where there is one. A second of it is a
    second of the robot's clock: where drawing is slower, a frame is seen for longer.
    """

    def __init__(self) -> None:
        super().__init__("mbrl_record")
        robot = declare(self, "robot", "cartpole", "robot name or path to its YAML file")
        task = declare(
            self, "task", "", "task name or path to its YAML file; empty: the file's own"
        )
        rate = declare(self, "rate", 0.0, "control rate, Hz; 0: the robot's own")
        run_dir = declare(self, "run_dir", "", "the run's folder, where the film comes to be")
        if not run_dir:
            raise ConfigurationError("mbrl_record: parameter run_dir: must be given")
        if missing := [name for name in PACKAGES if find_spec(name) is None]:
            raise ConfigurationError(
                f"mbrl_record: there is no film: {', '.join(missing)} not installed; install the "
                "extra 'viz' (pip install 'mbrl-node[viz]'), or use record:=false"
            )
        self._spec = spec = load_spec(robot, task=task)
        self._dt = 1.0 / rate if rate > 0 else spec.dt
        if spec.sim is None:
            raise ConfigurationError(
                f"mbrl_record: {spec.name} cannot be drawn: its file has no sim section, which "
                "names its URDF; add one, or use record:=false"
            )
        self._robot, self._sources = make_robot(spec), []
        for topic in spec.state:
            try:
                kind = message_class(topic.type)
            except TopicError as error:
                raise ConfigurationError(f"mbrl_record: {topic.topic}: {error}") from None
            taken: Taken[Any] = Taken(self, kind, topic.topic, qos_of(topic.qos, 1))
            self._sources.append((topic.type, taken))
        self._statuses: Taken[Any] = Taken(self, ControllerStatus, "/mbrl_controller/status", 1)
        self._status: Any = None
        self._clock, self._now = FrameClock(), 0
        self._folder = Path(run_dir)
        self._film: Film | None = None

    def run(self, stop: threading.Event) -> None:
        """Films until told to stop, or the disk is full; only when nobody else wants the processor,
        as the learner trains: what is filmed must not learn more slowly than need be."""
        os.sched_setscheduler(
            0, os.SCHED_IDLE, os.sched_param(0)
        )  # 0: this thread, and the encoder
        while not stop.wait(POLL):
            self._status = self._statuses.newest() or self._status
            if not self._look():
                continue
            count = self._clock.due(self._now)
            if count > 0:
                try:
                    self._add(count)
                except OSError as error:
                    self.get_logger().error(f"the film ends: {str(error).splitlines()[0]}")
                    return

    def _look(self) -> bool:
        """Shows what has come; tells whether something has."""
        some = False
        for kind, taken in self._sources:
            message = taken.newest()
            if message is None:
                continue
            self._robot.show(kind, message)
            stamp = from_time(message.header.stamp) if hasattr(message, "header") else 0
            self._now, some = stamp or time.time_ns(), True
        return some

    def _add(self, count: int) -> None:
        if self._status is not None and (place := target_place(self._spec, self._status.targets)):
            self._robot.mark(place)
        caption = caption_of(self._spec, self._dt, self._status, self._now)
        frame = captioned(self._robot.picture(*SIZE), caption)
        if self._film is None:
            path = free_path(self._folder)
            self._film = Film(path)
            self.get_logger().info(f"films into {path}")
        self._film.add(frame, count)

    def close(self) -> None:
        """Ends the film."""
        if self._film is not None:
            self._film.close()
        self._robot.close()


def caption_of(spec: RobotSpec, dt: float, s: Any, now: int) -> Caption:
    """What is said of a robot.

    Args:
        dt: the control period, s.
        s: the controller's newest status; None: there was none.
        now: of the robot's clock, ns.
    """
    title = f"{spec.name}: {spec.task}"
    if s is None:
        return Caption(title, [], "no controller yet")
    slots = s.ticks + s.deadline_misses
    seconds = slots * dt + (now - from_time(s.header.stamp)) * 1e-9
    error = "" if math.isnan(s.held_out_error) else f", error {100 * s.held_out_error:.1f} %"
    goal = "goal held", f"{s.held_time:.1f} s"
    if spec.targets:
        goal = "targets", f"{s.reached_in_a_row} in a row"
    elif spec.goal is None:
        goal = "episode time", f"{s.episode_time:.1f} s"
    figures = [
        ("robot time", f"{max(0.0, seconds):.1f} s"),
        ("episode", str(s.episode)),
        ("return so far", f"{s.episode_return:.1f}"),
        goal,
        ("controller", s.acting_controller),
        ("model", f"{s.model_version}{error}" if s.model_version else "none yet"),
        ("rate", "-" if math.isnan(s.rate) else f"{s.rate:.1f} Hz, {s.deadline_misses} missed"),
        ("a plan", "-" if math.isnan(s.plan_time) else f"{1e3 * s.plan_time:.1f} ms"),
    ]
    alarm = f"failed: {s.failure}" if s.failure else ""
    if s.safe_reason:
        alarm = f"stopped: {s.safe_reason}" if s.stopped else f"safe command: {s.safe_reason}"
    elif s.waits_for:
        alarm = f"waits for {s.waits_for}"
    return Caption(title, figures, alarm)
