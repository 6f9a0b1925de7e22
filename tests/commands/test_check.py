"""`mbrl check` on files: what they say, what is wrong in them, what is mostly a mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl_node.spec import RobotSpec, load_spec
from mbrl_node.spec.advice import advice

CARTPOLE = yaml.safe_load(load_spec("cartpole").path.read_text())


@pytest.fixture
def write(mbrl):
    """Writes the cart-pole's file with other values at some keys, `None` for none; gives its
    path."""

    def it(path: str = "robot.yaml", **changes: Any) -> str:
        robot = {**CARTPOLE, "trust": {"initial": 0.5}, **changes}
        robot = {key: value for key, value in robot.items() if value is not None}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(yaml.safe_dump(robot))
        return path

    return it


def warnings_of(**changes: Any) -> dict[str, str]:
    """Advice on a cart-pole with some keys changed; text by place."""
    robot = {**CARTPOLE, "trust": {"initial": 0.5}, **changes}
    robot = {key: value for key, value in robot.items() if value is not None}
    found = list(advice(RobotSpec.from_dict(robot)))
    assert {finding.level for finding in found} <= {"warning"}
    return {finding.at: finding.text for finding in found}


def test_a_good_file_is_shown_and_valid(mbrl, write, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = mbrl("check", write())
    assert (code, err) == (0, "")
    for words in (
        "cartpole: control at 25 Hz",
        "state, from /joint_states (sensor_msgs/msg/JointState), timeout 0.25 s",
        "action, to /effort_controller/commands (std_msgs/msg/Float64MultiArray)",
        "beyond(x, limit 3)",
        "termination: x -5 to 5",
        "constraints: x -4.5 to 4.5",
        "goal: cos(theta) at least 0.95, for 5 s",
        "episode: 30 s, reset /reset",
        "trust: 50% of the commands at first",
        "simulation: joints, cartpole.urdf",
        "robot.yaml is valid\n",
    ):
        assert words in out
    rows = [line.split() for line in out.splitlines()]
    assert ["theta", "rad,", "angle", "cart_to_pole", "position"] in rows
    assert ["force", "N", "-5", "5", "0", "–", "slider_to_cart"] in rows
    assert ["x_dot", "-15", "–", "–", "15"] in rows


def test_a_file_that_is_not_valid_has_every_problem_named(mbrl, write):
    reward = [{"term": "cos", "of": "thta", "weight": 1.0}]
    code, out, _ = mbrl("check", write(rate=-1, reward=reward))
    assert code == 1
    assert "problem  robot.yaml: rate: -1 must be above 0\n" in out
    assert (
        "reward[0].of: 'thta' is not a field of the state or action; did you mean 'theta'?" in out
    )
    assert out.endswith("robot.yaml: 2 problems\n")
    code, out, _ = mbrl("check", "nowhere.yaml")
    assert code == 1 and "nowhere.yaml: no such file" in out


def test_what_is_found_is_told_to_programs_as_json(mbrl, write):
    code, out, _ = mbrl("check", write(trust=None), "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["file"], result["robot"], result["task"]) == (
        "robot.yaml",
        "cartpole",
        "swing_up",
    )
    assert (result["problems"], result["warnings"]) == (0, 1)
    (finding,) = result["findings"]
    assert (finding["level"], finding["at"]) == ("warning", "trust")
    assert finding["change"].startswith("trust: {initial: 0.2}")
    code, out, _ = mbrl("check", write(rate=0), "--json")
    assert code == 1 and json.loads(out)["problems"] == 1


def test_tasks_are_checked_all_or_the_one_that_is_named(mbrl, write):
    write()
    task = {"reward": [{"term": "square", "of": "x", "weight": -1.0}], "goal": None}
    write_task = Path("tasks/robot")
    write_task.mkdir(parents=True)
    (write_task / "stay.yaml").write_text(yaml.safe_dump(task))
    (write_task / "bad.yaml").write_text("reward: []")
    code, out, _ = mbrl("check", "robot.yaml", "--task", "stay")
    assert code == 0 and "cartpole, task stay" in out and "other tasks: bad" in out
    code, out, _ = mbrl("check", "robot.yaml")
    assert code == 1 and "tasks/robot/bad.yaml: reward: is an empty list" in out
    code, out, _ = mbrl("check", "robot.yaml", "--task", "sty")
    assert code == 1 and "sty: no such task; did you mean 'stay'?" in out


def test_what_a_stop_does_is_thought_about():
    field = {**CARTPOLE["action"]["fields"][0], "safe": 0.5}
    found = warnings_of(action={**CARTPOLE["action"], "fields": [field]})
    assert "a stop commands 0.5 N, not 0" in found["action.fields[0].safe"]


def test_a_robot_without_an_envelope_or_trust_is_warned_of():
    assert warnings_of() == {}
    assert set(warnings_of(envelope=None, trust=None)) == {"envelope", "trust"}


def test_a_position_that_nothing_keeps_in_place_is_warned_of():
    reward = [{"term": "cos", "of": "theta", "weight": 1.0}]
    free = {"reward": reward, "termination": None, "constraints": None, "envelope": None}
    found = warnings_of(**free)
    assert "nothing keeps x where it should be" in found["state[0].fields[0]"]
    assert "state[0].fields[1]" not in found  # an angle comes round again
    bounded = {**free, "termination": CARTPOLE["termination"]}
    assert set(warnings_of(**bounded)) == {"envelope"}


def test_times_that_are_too_short_are_warned_of():
    topic = {**CARTPOLE["state"][0], "timeout": 0.015}
    found = warnings_of(state=[topic])
    assert "0.015 s is shorter than 2 periods of the state, 0.02 s" in found["state[0].timeout"]
    found = warnings_of(rate=60.0)
    assert "100 is less than twice the control rate" in found["sim.state_rate"]
    found = warnings_of(sim=None, state=[{**CARTPOLE["state"][0], "timeout": 0.05}])
    assert "shorter than 2 periods of the state, 0.08 s" in found["state[0].timeout"]


def test_a_target_that_the_reward_does_not_name_is_warned_of():
    field = {"name": "goal_x", "path": "point.x", "unit": "m", "min": -1.0, "max": 1.0}
    topic = {"topic": "/goal", "type": "geometry_msgs/msg/PointStamped", "fields": [field]}
    found = warnings_of(targets=[topic])
    assert "no term of the reward names goal_x" in found["targets[0].fields[0]"]
    reward = [{"term": "square", "of": "x", "target": "goal_x", "weight": -1.0}]
    assert warnings_of(targets=[topic], reward=reward) == {}


def test_message_types_and_paths_are_looked_up_where_ros_is(mbrl, write):
    pytest.importorskip("rclpy")
    field = {"name": "x", "unit": "m"}
    imu = {"topic": "/imu", "type": "sensor_msgs/msg/Imu", "timeout": 0.5}
    state = [
        {**imu, "fields": [{**field, "path": "linear_aceleration.x"}]},
        {**imu, "topic": "/b", "type": "sensor_msgs/msg/Imus", "fields": [{**field, "path": "a"}]},
        {**imu, "topic": "/c", "type": "my_msgs/msg/A", "fields": [{**field, "path": "a"}]},
    ]
    for number, topic in enumerate(state):
        topic["fields"][0]["name"] = f"x{number}"
    command = {**field, "name": "u", "path": "linear.w", "min": -1.0, "max": 1.0, "safe": 0.0}
    path = write(
        state=state,
        action={"topic": "/cmd_vel", "type": "geometry_msgs/msg/Twist", "fields": [command]},
        targets=[
            {
                "topic": "/g",
                "type": "std_msgs/msg/Bol",
                "fields": [{"name": "g", "path": "data", "unit": "m", "min": 0.0, "max": 1.0}],
            }
        ],
        reward=[{"term": "linear", "of": "x0", "target": "g", "weight": 1.0}],
        **dict.fromkeys(("envelope", "termination", "constraints", "goal", "sim", "display")),
    )
    code, out, _ = mbrl("check", path, "--json")
    problems = {f["at"]: f["text"] for f in json.loads(out)["findings"] if f["level"] == "problem"}
    assert code == 1
    assert set(problems) == {
        "state[0].fields[0].path",
        "state[1].type",
        "state[2].type",
        "targets[0].type",
        "action.fields[0].path",
    }
    assert "it has header, orientation" in problems["state[0].fields[0].path"]
    assert "did you mean 'Imu'?" in problems["state[1].type"]
    assert "no package 'my_msgs' is here; is it sourced?" in problems["state[2].type"]
    assert "linear has x, y, z" in problems["action.fields[0].path"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [("cartpole --live --seconds 0", "--seconds: 0 is not above 0")],
)
def test_what_cannot_be_done_is_one_line(mbrl, arguments, words):
    code, out, err = mbrl("check", *arguments.split())
    assert (code, out) == (2, "") and words in err


def test_without_ros_the_file_is_checked_and_live_is_refused(mbrl, write, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert mbrl("check", write())[0] == 0
    code, _, err = mbrl("check", write(), "--live")
    assert code == 2 and "--live needs ROS 2, which is not here" in err
