"""The simulator's node, as a robot's drivers over real DDS."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from mbrl_msgs.srv import ChangeRobot, Step  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from mbrl_node.ros.process import ConfigurationError  # noqa: E402
from mbrl_node.ros.stamps import from_time  # noqa: E402
from mbrl_node.ros.taken import Taken  # noqa: E402
from sim.node import SimNode  # noqa: E402

PATIENCE = 20.0  # s of wall time for anything awaited
PERIOD = 10_000_000  # ns, of the cart-pole's states


class Simulation:
    """A simulator with the threads it has in a process of its own, and who commands and watches
    it."""

    def __init__(self, *parameters: str) -> None:
        rclpy.init(args=["--ros-args", *(part for p in parameters for part in ("-p", p))])
        try:
            self.sim = SimNode()
        except Exception:
            rclpy.shutdown()
            raise
        self._stop = threading.Event()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.sim)
        self._threads = [
            threading.Thread(target=self._executor.spin, daemon=True),
            threading.Thread(target=self.sim.run, args=(self._stop,), daemon=True),
        ]
        self.node = rclpy.create_node("watcher")
        self.states = Taken(self.node, JointState, "/joint_states")
        self.clock = Taken(self.node, Clock, "/clock")
        topic = "/effort_controller/commands"
        self.commands = self.node.create_publisher(Float64MultiArray, topic, 1)
        for thread in self._threads:
            thread.start()

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Waits until it holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen"
            time.sleep(0.001)

    def state(self) -> JointState:
        """The next state that comes."""
        found: list[JointState] = []

        def look() -> bool:
            if (newest := self.states.newest()) is not None:
                found.append(newest)
            return bool(found)

        self.wait_for(look, "a state")
        return found[0]

    def effort(self) -> float:
        """What the cart is driven by now."""
        state = self.state()
        return state.effort[state.name.index("slider_to_cart")]

    def command(self, *values: float) -> None:
        """Sends one command; it arrives."""
        self.wait_for(lambda: self.commands.get_subscription_count(), "somebody to command")
        self.commands.publish(Float64MultiArray(data=values))

    def call(self, kind, name: str, request):
        """A service call's response."""
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=PATIENCE)
        return future.result()

    def pause(self, value: bool) -> None:
        """Calls ~/pause."""
        assert self.call(SetBool, "/mbrl_sim/pause", SetBool.Request(data=value)).success

    def change(self, what: str, of: str, value: float) -> ChangeRobot.Response:
        """Calls ~/change."""
        request = ChangeRobot.Request(what=what, of=of, value=value)
        return self.call(ChangeRobot, "/mbrl_sim/change", request)

    def close(self) -> None:
        """Ends all of it."""
        self._stop.set()
        self._threads[1].join(PATIENCE)
        self._executor.shutdown()
        self._threads[0].join(PATIENCE)
        self.sim.close()
        self.sim.destroy_node()
        self.node.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def start() -> Iterator[Callable[..., Simulation]]:
    running: list[Simulation] = []

    def start(*parameters: str) -> Simulation:
        running.append(Simulation(*parameters))
        return running[-1]

    yield start
    for simulation in running:
        simulation.close()


def stamp(state: JointState) -> int:
    return from_time(state.header.stamp)


def test_states_carry_simulated_time_in_whole_periods_and_so_does_the_clock(start):
    it = start()
    first = it.state()
    it.wait_for(lambda: stamp(it.state()) > stamp(first), "time going on")
    times: list[int] = []

    def look() -> bool:
        if (newest := it.clock.newest()) is not None:
            times.append(from_time(newest.clock))
        return len(times) >= 5

    it.wait_for(look, "the clock")
    assert all(t % PERIOD == 0 for t in [stamp(first), *times]) and times == sorted(set(times))
    assert times[-1] < PATIENCE * 1e9


def test_without_a_clock_it_stamps_as_a_real_robot_does(start):
    it = start("clock:=false")
    states = [it.state() for _ in range(20)]
    assert abs(stamp(states[-1]) - time.time_ns()) < 1e9
    gaps = [(stamp(b) - stamp(a)) / PERIOD for a, b in itertools.pairwise(states)]
    assert 0.3 < sorted(gaps)[len(gaps) // 2] < 3.0
    assert it.node.count_publishers("/clock") == 0


def test_a_command_acts_until_the_next(start):
    it = start("command_timeout:=0.0", "speed:=5.0")
    it.command(2.0)
    it.wait_for(lambda: it.effort() == 2.0, "the command's effect")
    begin = stamp(it.state())
    it.wait_for(lambda: stamp(it.state()) > begin + 10**9, "a second without a command")
    assert it.effort() == 2.0
    it.command(-1.0)
    it.wait_for(lambda: it.effort() == -1.0, "the next command's effect")


@pytest.mark.parametrize("bad", [[], [1.0, 1.0], [math.nan], [math.inf]])
def test_a_command_of_the_wrong_size_or_not_finite_is_refused_and_counted(start, bad):
    it = start("command_timeout:=0.0")
    it.command(2.0)
    it.wait_for(lambda: it.effort() == 2.0, "the command's effect")
    it.command(*bad)
    it.wait_for(lambda: it.sim.refused == 1, "a refusal")
    assert it.effort() == 2.0


def test_without_commands_the_robot_gets_its_safe_one_until_they_come_again(start):
    it = start("command_timeout:=0.5")
    it.command(2.0)
    it.wait_for(lambda: it.effort() == 2.0, "the command's effect")
    begin = stamp(it.state())
    while (now := it.state()).effort[now.name.index("slider_to_cart")] == 2.0:
        it.command(math.nan)  # is no command, however often it comes
    assert it.effort() == 0.0
    assert 0.2e9 < stamp(now) - begin < 1.5e9
    it.command(1.0)
    it.wait_for(lambda: it.effort() == 1.0, "the command's effect")


def test_patience_is_never_shorter_than_three_control_periods(start):
    it = start("command_timeout:=0.01", "rate:=5.0", "speed:=2.0")
    it.command(2.0)
    it.wait_for(lambda: it.effort() == 2.0, "the command's effect")
    begin = stamp(it.state())
    it.wait_for(lambda: it.effort() == 0.0, "the safe command")
    assert stamp(it.state()) - begin > 0.5e9


def test_a_reset_puts_the_robot_back_with_its_safe_command_and_time_goes_on(start):
    it = start()
    it.command(5.0)
    it.wait_for(lambda: it.state().position[0] > 0.1, "motion")
    before = it.state()
    assert it.call(Trigger, "/reset", Trigger.Request()).success
    it.states.newest()
    after = it.state()
    assert abs(after.position[0]) < 0.05 and max(after.effort) == 0.0
    assert stamp(after) > stamp(before)


def test_a_paused_simulator_publishes_nothing_and_makes_up_for_nothing(start):
    it = start()
    before = it.state()
    it.pause(True)
    time.sleep(0.05)  # for what was published before
    last = it.states.newest() or before
    it.clock.newest()
    time.sleep(0.4)
    assert it.states.newest() is None and it.clock.newest() is None
    resumed = time.monotonic_ns()
    it.pause(False)
    first = it.state()
    passed = time.monotonic_ns() - resumed
    assert 0 < stamp(first) - stamp(last) <= passed + 2 * PERIOD
    it.wait_for(lambda: stamp(it.state()) > stamp(first), "time going on")


def test_the_robot_is_changed_by_a_service_and_a_reset_does_not_undo_it(start):
    it = start("command_timeout:=0.0")
    it.command(2.0)
    it.wait_for(lambda: it.effort() == 2.0, "the command's effect")
    response = it.change("gain", "force", 0.5)
    assert response.success and response.message == "force: what comes out is 0.5 times the command"
    it.wait_for(lambda: it.effort() == 1.0, "a weaker drive")
    assert it.call(Trigger, "/reset", Trigger.Request()).success
    it.command(4.0)
    it.wait_for(lambda: it.effort() == 2.0, "a drive that is still weaker")


def test_a_change_that_cannot_be_is_refused_in_words(start):
    it = start("command_timeout:=0.0")
    response = it.change("mass", "poel", 3.0)
    assert not response.success
    assert response.message == "mass: there is no 'poel', but cart, pole"


def test_planned_changes_come_in_their_order_at_their_times(start):
    it = start("command_timeout:=0.0", "change:=3 gain all 2.0, 2 gain all 0.5", "speed:=2.0")
    it.command(2.0)
    it.wait_for(lambda: it.effort() == 2.0, "the command's effect")
    seen: list[tuple[float, float]] = []

    def look() -> bool:
        state = it.state()
        seen.append((stamp(state) / 1e9, max(state.effort)))
        return seen[-1][1] == 4.0

    it.wait_for(look, "the second change")
    for time_, effort in seen:
        expected = 2.0 if time_ <= 2.0 else 1.0 if time_ <= 3.0 else 4.0
        assert effort == expected, time_
    assert any(effort == 1.0 for _, effort in seen)


def test_in_lock_step_changes_come_at_their_very_step_and_by_service(start):
    it = start("sync:=true", "change:=0.1 gain all 0.5")

    def step(duration: float) -> float:
        request = Step.Request(command=[2.0], duration=duration)
        response = it.call(Step, "/mbrl_sim/step", request)
        assert response.success, response.message
        return response.state[2]  # the cart's speed

    first = step(0.1)
    gained = step(0.1) - first
    assert gained == pytest.approx(first / 2, rel=0.1)
    assert it.change("gain", "all", 0.0).success
    before = step(0.0)
    assert step(0.1) == pytest.approx(before, abs=0.02)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (["speed:=0.0"], "speed: 0.0 must be above 0"),
        (["command_timeout:=-1.0"], "command_timeout: -1.0 is below 0"),
        (["clock:=false", "speed:=2.0"], "speed: 2.0 must be 1"),
        (["clock:=false", "sync:=true"], "clock: false must be true"),
        (["sync:=true", "rate:=30.0"], "no whole number of physics steps"),
        (["change:=30 mass pole"], "change: '30 mass pole' is not TIME WHAT OF VALUE, such as"),
        (["change:=30 mass poel 3"], "change: mass: there is no 'poel', but cart, pole"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(start, parameters, words):
    with pytest.raises(ConfigurationError, match=words):
        start(*parameters)
