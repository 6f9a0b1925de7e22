"""Bags: runs that are written and read again, and bags of every kind that are read."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from recorded import (
    COMMANDS,
    SECOND,
    START,
    STATES,
    STORE,
    floats,
    joint_state,
    mcap,
    ramp,
    write,
)
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from mbrl_node import cli
from mbrl_node.data import Records, RunStore, SessionTask, record_type
from mbrl_node.data.bags import BagError, read_bag, write_bag
from mbrl_node.data.bags.bag import Bag
from mbrl_node.data.bags.types import TRANSITION
from mbrl_node.learning import lock_run
from mbrl_node.spec import RobotSpec
from mbrl_node.spec.robot import DEFAULT_TASK
from mbrl_node.spec.system import BoxSystem
from tests.data.tasks import REACH, SPEC

MESSAGES = Path(__file__).parents[2] / "ros2_ws" / "src" / "mbrl_msgs" / "msg"


def run(session=START, steps=200, spec=SPEC, first=0, clock=0) -> Records:
    """A run's transitions: two episodes without a gap in time, in simulated time."""
    rng = np.random.default_rng(session % 1000)
    n, m, t = spec.state_dim, spec.action_dim, len(spec.target_names)
    records, step = np.zeros(steps, record_type(n, m, t)), np.arange(steps)
    states = rng.normal(size=(steps + 1, n)).clip(-3, 3)
    records["session"], records["sequence"] = session, step + first
    records["episode"], records["step"] = 1 + step // 100, step % 100
    records["stamp"] = clock + step * round(spec.dt * SECOND)
    records["next_stamp"] = records["stamp"] + round(spec.dt * SECOND)
    records["state"], records["next_state"] = states[:-1], states[1:]
    records["action"] = rng.uniform(-5, 5, (steps, m))
    records["action_requested"] = 3 * records["action"]
    records["reward"], records["truncated"] = rng.normal(size=steps), step % 100 == 99
    records["controller"], records["model_version"] = b"mppi", step // 50
    records["targets"] = 0.001 * (step // 40)[:, None] + 0.1 * np.arange(t)  # new every 40 steps
    return records


@pytest.fixture
def mbrl(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def mbrl(*arguments):
        monkeypatch.setattr(sys, "argv", ["mbrl", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return mbrl


def store(folder, *records, spec=SPEC):
    opened = RunStore(folder / "transitions.db", spec)
    for part in records:
        opened.add(part)
    opened.close()


# Runs as bags.


def test_a_run_that_is_exported_and_imported_is_the_same_bit_for_bit(mbrl, tmp_path):
    first, second = run(), run(START + 60 * SECOND, first=5)
    first["reward"][7] = np.nan
    first["controller"][3] = "größer".encode()
    store(tmp_path / "run", first, second)
    assert mbrl("export", "run", "--mcap", "bag") == (0, "400 transitions written to bag\n", "")

    code, out, err = mbrl("import", "bag", "--robot", "cartpole", "--run-dir", "again")
    assert (code, err) == (0, "")
    assert "400 transitions in 4 episodes, as they were recorded" in out
    assert "400 transitions added to again" in out
    again = RunStore(tmp_path / "again" / "transitions.db", SPEC)
    assert again.records().tobytes() == np.concatenate((first, second)).tobytes()
    again.close()

    _, out, _ = mbrl("import", "bag", "--robot", "cartpole", "--run-dir", "again")
    assert "0 transitions added to again, 400 were there already" in out


def test_without_a_folder_a_run_is_made_where_the_launch_file_makes_them(mbrl, tmp_path):
    write(tmp_path / "bag", ramp())
    code, out, _ = mbrl("import", "bag", "--robot", "cartpole")
    (folder,) = (tmp_path / "data" / "mbrl" / "runs").iterdir()
    assert code == 0
    assert folder.name.startswith("cartpole-")
    assert f"robot:=cartpole run_dir:={folder}" in out
    assert len(RunStore(folder / "transitions.db", read_only=True)) > 90


def test_a_bag_of_a_run_has_the_robots_own_topics(tmp_path):
    records = run(steps=150)
    assert write_bag(tmp_path / "bag", SPEC, records, {}) == []
    with AnyReader([tmp_path / "bag"]) as reader:  # as others read it, by its index
        found = {topic: info.msgtype for topic, info in reader.topics.items()}
        assert found == {
            STATES: "sensor_msgs/msg/JointState",
            COMMANDS: "std_msgs/msg/Float64MultiArray",
            "/mbrl_controller/transitions": TRANSITION,
        }
        messages = [
            (connection.topic, time, reader.deserialize(data, connection.msgtype))
            for connection, time, data in reader.messages()
        ]
    times = [time for _, time, _ in messages]
    assert times == sorted(times)
    assert times[0] == START  # the clock of a simulation begins when the session did
    states = [message for topic, _, message in messages if topic == STATES]
    assert len(states) == 151
    assert states[4].name == ["slider_to_cart", "cart_to_pole"]
    assert [*states[4].position, *states[4].velocity] == records["state"][4].tolist()
    assert states[4].header.stamp.sec * SECOND + states[4].header.stamp.nanosec == START + 4 * (
        SECOND // 25
    )
    commands = [message.data[0] for topic, _, message in messages if topic == COMMANDS]
    assert commands == records["action"][:, 0].tolist()
    metadata = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())
    information = metadata["rosbag2_bagfile_information"]
    assert information["message_count"] == 151 + 150 + 150
    assert information["storage_identifier"] == "mcap"
    assert all(
        topic["topic_metadata"]["type_description_hash"].startswith("RIHS01_")
        for topic in information["topics_with_message_count"]
    )


def test_the_exported_states_and_commands_give_the_same_steps(tmp_path):
    spec = SPEC.with_overrides(action={"delay": 0.08})
    records = run(spec=spec)
    write_bag(tmp_path / "bag", spec, records, {})
    # Another robot's transitions are not taken, so that the topics are.
    other = spec.with_overrides(action={"delay": 0.08}, rate=25.0, name="other")
    assert other.hash == spec.hash
    other = other.with_overrides(state=[_with_unit(spec, "km")])
    found = read_bag(tmp_path / "bag", other)
    assert "200 transitions are of another robot" in "\n".join(found.report)
    assert len(found.records) == 200
    for name in ("state", "action", "next_state"):
        assert (found.records[name] == records[name]).all()


def _with_unit(spec: RobotSpec, unit: str) -> dict:
    topic = spec.state[0].model_dump(mode="json", exclude_unset=True)
    topic["fields"][0]["unit"] = unit
    return topic


def test_a_run_of_several_tasks_is_exported_and_imported_bit_for_bit_with_their_names(
    mbrl, tmp_path
):
    reach, swing_up = run(spec=REACH), run(START + 60 * SECOND)
    (tmp_path / "robots" / "tasks" / "cartpole").mkdir(parents=True)
    robot = tmp_path / "robots" / "cartpole.yaml"
    robot.write_text(yaml.safe_dump(_written(SPEC)))
    keys = ("targets", "reward", "goal")
    told = {key: value for key, value in _written(REACH).items() if key in keys}
    (robot.parent / "tasks" / "cartpole" / "reach.yaml").write_text(yaml.safe_dump(told))
    store(tmp_path / "run", reach, spec=REACH)
    store(tmp_path / "run", swing_up)
    before = RunStore(tmp_path / "run" / "transitions.db", read_only=True)
    assert mbrl("export", "run", "--robot", robot, "--mcap", "bag") == (
        0,
        "the targets of the task 'reach' are in the transitions only: the topics are those of "
        "'swing_up'\n400 transitions written to bag\n",
        "",
    )
    code, out, err = mbrl("import", "bag", "--robot", robot, "--run-dir", "again")
    assert (code, err) == (0, "") and "400 transitions added" in out
    again = RunStore(tmp_path / "again" / "transitions.db", read_only=True)
    assert again.records().tobytes() == before.records().tobytes()
    assert again.tasks == before.tasks
    assert again.tasks[START] == SessionTask("reach", ("goal_x", "goal_z", "speed"))

    # On the topics of the other task, from which the same is made as was recorded.
    assert mbrl("export", "run", "--robot", robot, "--task", "reach", "--mcap", "of_reach")[0] == 0
    with AnyReader([tmp_path / "of_reach"]) as reader:
        told = [
            (connection.topic, time, reader.deserialize(data, connection.msgtype))
            for connection, time, data in reader.messages()
            if connection.topic in ("/goal", "/speed")
        ]
    assert [topic for topic, *_ in told] == ["/goal", "/speed"] * 5
    assert [time - START for _, time, _ in told[::2]] == [40 * k * SECOND // 25 for k in range(5)]
    assert told[2][2].header.frame_id == "rail"
    assert (told[2][2].point.x, told[2][2].point.z) == (0.001, 0.101)
    assert told[3][2].data.tolist() == [0.0, 0.201]


def test_a_task_that_is_not_known_any_more_has_to_be_named(mbrl, tmp_path):
    store(tmp_path / "run", run(spec=REACH), spec=REACH)
    code, _, err = mbrl("export", "run", "--npz", "run.npz")
    assert code == 2
    assert err.startswith("mbrl: reach: no such task") and "name the run's task with --task" in err
    assert mbrl("export", "run", "--npz", "run.npz", "--task", "swing_up")[0] == 0
    with np.load(tmp_path / "run.npz") as found:
        assert found["target_names"].tolist() == ["goal_x", "goal_z", "speed"]
        assert (found["targets"] == run(spec=REACH)["targets"]).all()


def test_a_task_without_a_name_is_the_one_in_the_robots_own_file(mbrl, tmp_path):
    store(tmp_path / "run", run(), spec=SPEC.with_overrides(task=DEFAULT_TASK))
    assert mbrl("export", "run", "--npz", "run.npz")[0] == 0


def _written(spec: RobotSpec) -> dict:
    return spec.model_dump(mode="json", by_alias=True, exclude_unset=True)


def test_a_bag_that_does_not_name_a_task_gives_transitions_that_have_it_unnamed(tmp_path):
    write_bag(tmp_path / "bag", REACH, run(spec=REACH), {})
    found = read_bag(tmp_path / "bag", SPEC)
    assert found.tasks == {START: SessionTask("", ("target_0", "target_1", "target_2"))}
    assert "with 3 targets, where the task 'swing_up' has 0: --task names" in "\n".join(
        found.report
    )
    assert found.records.tobytes() == run(spec=REACH).tobytes()
    of_reach = read_bag(tmp_path / "bag", REACH)
    assert of_reach.tasks == {START: SessionTask.of(REACH)}


def test_transitions_from_before_there_were_targets_are_read(tmp_path):
    write_bag(tmp_path / "bag", SPEC, run(), {})
    old = get_typestore(Stores.ROS2_JAZZY)
    text = (MESSAGES / "Transition.msg").read_text(encoding="utf-8")
    without = "".join(line for line in text.splitlines(True) if "targets" not in line)
    old.register(get_types_from_msg(without, TRANSITION))
    with (
        AnyReader([tmp_path / "bag"]) as reader,
        Writer(tmp_path / "old", version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        connection = writer.add_connection("/t", TRANSITION, typestore=old)
        for of, time, data in reader.messages():
            if of.msgtype == TRANSITION:
                message = vars(reader.deserialize(data, TRANSITION))
                del message["targets"]
                data = old.serialize_cdr(old.types[TRANSITION](**message), TRANSITION)
                writer.write(connection, time, data)
    assert read_bag(tmp_path / "old", SPEC).records.tobytes() == run().tobytes()


def test_commands_of_any_type_are_written_and_read_by_path(tmp_path):
    data = _written(SPEC) | {"sim": None}
    data["action"] = {
        "topic": "/cmd_vel",
        "type": "geometry_msgs/msg/TwistStamped",
        "frame": "cart",
        "delay": 0.04,
        "fields": [
            {"name": name, "path": path, "min": -5, "max": 5, "safe": 0, "unit": "m/s"}
            for name, path in (("force", "twist.linear.x"), ("turn", "twist.angular.z"))
        ],
    }
    spec = RobotSpec.from_dict(data)
    records = run(spec=spec)
    assert write_bag(tmp_path / "bag", spec, records, {}) == []
    with AnyReader([tmp_path / "bag"]) as reader:
        sent = [
            (time, reader.deserialize(data, connection.msgtype))
            for connection, time, data in reader.messages()
            if connection.topic == "/cmd_vel"
        ]
    assert len(sent) == 200
    time, command = sent[7]
    assert [command.twist.linear.x, command.twist.angular.z] == records["action"][7].tolist()
    assert command.header.frame_id == "cart"
    stamp = command.header.stamp
    assert time == stamp.sec * SECOND + stamp.nanosec == START + 6 * SECOND // 25
    data["state"][0]["fields"][0]["unit"] = "km"  # so that it is another robot
    other = RobotSpec.from_dict(data)
    found = read_bag(tmp_path / "bag", other).records
    assert len(found) == 200 and (found["action"] == records["action"]).all()

    data["action"]["fields"][1]["path"] = "twist.angular"
    with pytest.raises(BagError, match=r"action\.fields\[1\]\.path: 'twist\.angular' is not a num"):
        read_bag(tmp_path / "bag", RobotSpec.from_dict(data))
    data["action"]["type"] = "my_msgs/msg/Command"
    (omitted,) = write_bag(tmp_path / "own", RobotSpec.from_dict(data), records, {})
    assert omitted.startswith("/cmd_vel is left out: my_msgs/msg/Command is none of the types")


def test_sessions_of_simulations_lie_one_after_another(tmp_path):
    records = np.concatenate((run(7), run(8), run(START, clock=START + SECOND)))
    write_bag(tmp_path / "bag", SPEC, records, {})
    bag = Bag(tmp_path / "bag")
    times = [time for topic, time, _ in bag.messages() if topic.name == STATES]
    assert len(times) == 3 * 201
    assert (np.diff(times) > 0).all()
    assert times[-201] == START + SECOND  # a real clock stays
    assert read_bag(tmp_path / "bag", SPEC).records.tobytes() == records.tobytes()


def test_states_at_paths_are_written_where_they_were(tmp_path):
    data = SPEC.model_dump(mode="json", by_alias=True, exclude_unset=True) | {
        "sim": None,
        "state": [
            {
                "topic": "odom",
                "type": "nav_msgs/msg/Odometry",
                "timeout": 0.2,
                "fields": [
                    {"name": "x", "path": "pose.pose.position.x", "unit": "m"},
                    {
                        "name": "theta",
                        "path": "pose.pose.orientation.yaw",
                        "unit": "rad",
                        "angle": True,
                    },
                ],
            },
            {
                "topic": "/poses",
                "type": "geometry_msgs/msg/PoseArray",
                "timeout": 0.2,
                "fields": [{"name": "x_dot", "path": "poses[2].position.z", "unit": "m/s"}],
            },
            {
                "topic": "/values",
                "type": "std_msgs/msg/Float64MultiArray",
                "timeout": 0.2,
                "size": 3,
                "fields": [{"name": "theta_dot", "path": "data[1]", "unit": "rad/s"}],
            },
        ],
    }
    spec = RobotSpec.from_dict(data)
    records = run(spec=spec)
    assert write_bag(tmp_path / "bag", spec, records, {}) == []
    data["state"][0]["fields"][0]["unit"] = "km"  # so that it is another robot
    found = read_bag(tmp_path / "bag", RobotSpec.from_dict(data)).records
    assert len(found) == 200
    np.testing.assert_allclose(found["state"], records["state"], atol=1e-12)


def test_a_type_that_is_not_ros_2s_own_is_left_out_and_told(tmp_path):
    data = SPEC.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"sim": None}
    fields = [
        {"name": field.name, "path": field.name, "unit": field.unit} for field in SPEC.state_fields
    ]
    data["state"] = [
        {"topic": "/own", "type": "my_msgs/msg/State", "timeout": 0.2, "fields": fields}
    ]
    spec = RobotSpec.from_dict(data)
    (omitted,) = write_bag(tmp_path / "bag", spec, run(spec=spec), {})
    assert omitted == "/own is left out: my_msgs/msg/State is none of the types of ROS 2 itself"
    assert len(read_bag(tmp_path / "bag", spec).records) == 200


def test_a_run_in_an_environment_is_a_bag_of_its_transitions(tmp_path):
    system = BoxSystem("box", 0.04, ("a", "b", "c", "d"), ("u",), np.array([-1]), np.array([1]))
    write_bag(tmp_path / "bag", system, run(), {})
    bag = Bag(tmp_path / "bag")
    assert {topic.name for topic, *_ in bag.messages()} == {"/mbrl_controller/transitions"}


def test_the_definition_of_a_transition_is_that_of_its_message():
    text = (MESSAGES / "Transition.msg").read_text(encoding="utf-8")
    assert STORE.fielddefs[TRANSITION] == get_types_from_msg(text, TRANSITION)[TRANSITION]


# Bags that are whole.


def test_every_kind_of_file_gives_the_same(tmp_path):
    messages = ramp()
    kinds = [
        {},
        {"storage": StoragePlugin.SQLITE3},
        {"compression": CompressionMode.STORAGE},
        {"compression": CompressionMode.MESSAGE},
        {"compression": CompressionMode.FILE},
        {"storage": StoragePlugin.SQLITE3, "compression": CompressionMode.MESSAGE},
        {"storage": StoragePlugin.SQLITE3, "compression": CompressionMode.FILE},
        {"flush_every": 30},
    ]
    found = []
    for number, how in enumerate(kinds):
        file = write(tmp_path / f"bag{number}", messages, **how)
        for path in (file.parent, file):
            bag = read_bag(path, SPEC)
            assert bag.warnings == ()
            found.append(bag.records.tobytes())
    assert len(found[0]) > 90
    assert set(found) == {found[0]}


def test_unchunked_files_and_those_with_lz4_are_read(tmp_path):
    (tmp_path / "plain.mcap").write_bytes(mcap(ramp()))
    (tmp_path / "lz4.mcap").write_bytes(mcap(ramp(), "lz4"))
    write(tmp_path / "bag", ramp())
    expected = read_bag(tmp_path / "bag", SPEC).records.tobytes()
    for name in ("plain.mcap", "lz4.mcap"):
        found = read_bag(tmp_path / name, SPEC)
        assert found.warnings == ()
        assert found.records.tobytes() == expected


def test_a_bag_in_several_files_is_read_in_their_order(tmp_path):
    messages = ramp(6.0)
    (tmp_path / "bag").mkdir()
    for number in range(12):
        part = messages[number * 60 : (number + 1) * 60] if number < 11 else messages[660:]
        file = write(tmp_path / f"part{number}", part)
        shutil.copy(file, tmp_path / "bag" / f"bag_{number}.mcap")
    write(tmp_path / "whole", messages)
    found = read_bag(tmp_path / "bag", SPEC)
    assert found.records.tobytes() == read_bag(tmp_path / "whole", SPEC).records.tobytes()
    assert found.warnings == (
        f"{tmp_path}/bag: has no metadata.yaml, as where a recorder was killed",
    )


def test_a_bag_without_definitions_is_read_with_those_of_ros_2(tmp_path):
    file = write(tmp_path / "bag", ramp(), StoragePlugin.SQLITE3)
    with sqlite3.connect(file) as db:  # as rosbag2 wrote until Iron
        db.execute("DROP TABLE message_definitions")
        db.execute("DROP TABLE schema")
    db.close()
    assert len(read_bag(file, SPEC).records) > 90
    with sqlite3.connect(file) as db:
        db.execute("UPDATE topics SET type = 'my_msgs/msg/Joints' WHERE name = ?", (STATES,))
    db.close()
    data = SPEC.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"sim": None}
    fields = [
        {"name": field.name, "path": field.name, "unit": field.unit} for field in SPEC.state_fields
    ]
    topic = {"topic": STATES, "type": "my_msgs/msg/Joints", "timeout": 0.2, "fields": fields}
    with pytest.raises(BagError, match=r"no definition of my_msgs/msg/Joints; bags in MCAP"):
        read_bag(file, RobotSpec.from_dict(data | {"state": [topic]}))


def test_definitions_in_idl_are_read(tmp_path):
    file = write(tmp_path / "bag", ramp(), StoragePlugin.SQLITE3)
    idl = """\
================================================================================
IDL: std_msgs/msg/MultiArrayDimension
module std_msgs { module msg {
  struct MultiArrayDimension { string label; uint32 size; uint32 stride; };
}; };
================================================================================
IDL: std_msgs/msg/MultiArrayLayout
module std_msgs { module msg {
  struct MultiArrayLayout {
    sequence<std_msgs::msg::MultiArrayDimension> dim; uint32 data_offset;
  };
}; };
================================================================================
IDL: std_msgs/msg/Float64MultiArray
module std_msgs { module msg {
  struct Float64MultiArray { std_msgs::msg::MultiArrayLayout layout; sequence<double> data; };
}; };
"""
    with sqlite3.connect(file) as db:
        db.execute(
            "UPDATE message_definitions SET encoding = 'ros2idl', encoded_message_definition = ? "
            "WHERE topic_type = 'std_msgs/msg/Float64MultiArray'",
            (idl,),
        )
    db.close()
    assert len(read_bag(file, SPEC).records) > 90


def test_the_session_is_the_start_of_the_bag_or_tells_simulated_ones_apart(tmp_path):
    write(tmp_path / "real", ramp())
    assert set(read_bag(tmp_path / "real", SPEC).records["session"]) == {START}
    sessions = set()
    for number, shift in enumerate((0.0, 0.1, 0.0)):
        messages = []
        for topic, time, message in ramp():  # recorded with use_sim_time
            if topic == STATES:
                state = [message.position[1] + shift, 0.5, 1.0, 0.0]
                message = joint_state(state, time - START + 1)
            messages.append((topic, time - START, message))
        write(tmp_path / f"simulated{number}", messages)
        records = read_bag(tmp_path / f"simulated{number}", SPEC).records
        assert len(records) > 90
        sessions |= set(records["session"].tolist())
    assert len(sessions) == 2


# The command.


def test_a_cut_bag_is_imported_with_a_warning_and_later_the_rest(mbrl, tmp_path):
    file = write(tmp_path / "bag", ramp(), flush_every=50)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    code, out, err = mbrl("import", "bag", "--robot", "cartpole", "--run-dir", "run")
    assert code == 0
    assert err.startswith("mbrl: warning: bag/bag.mcap: is damaged or cut off at byte ")
    file.write_bytes(data)
    _, again, err = mbrl("import", "bag", "--robot", "cartpole", "--run-dir", "run")
    assert err == ""
    first, rest = (int(text.split(" transitions added")[0].split()[-1]) for text in (out, again))
    assert 20 < first < 80 < first + rest
    assert len(RunStore(tmp_path / "run" / "transitions.db", read_only=True)) == first + rest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("import nowhere --robot cartpole", "nowhere: no such file or folder"),
        ("import bag --robot cartpol", "did you mean 'cartpole'?"),
        ("import bag --robot cartpole --run-dir other", "holds transitions of another robot"),
        ("import empty --robot cartpole", "gives no transitions of cartpole"),
        ("export run", "name what to write: --mcap, --npz, --parquet or --minari"),
        ("export nowhere --npz x.npz", "nowhere"),
        ("export run --mcap bag", "bag: exists already"),
        ("export other --mcap new", "other"),
        ("export none --mcap new", "none: has no transitions yet"),
        ("export run --npz nowhere/x.npz", "nowhere/x.npz: cannot be written: No such file"),
    ],
)
def test_what_cannot_work_is_told_and_changes_nothing(mbrl, tmp_path, arguments, words):
    write(tmp_path / "bag", ramp())
    write(
        tmp_path / "empty", [m for m in ramp(0.02)] + [(COMMANDS, START + 60 * SECOND, floats(0))]
    )
    store(tmp_path / "run", run())
    store(tmp_path / "none")
    other = SPEC.with_overrides(rate=50.0, name="other", sim={"state_rate": 100})
    store(tmp_path / "other", run(), spec=other)
    before = sorted(path for path in tmp_path.rglob("*") if "-wal" not in path.name)
    code, _, err = mbrl(*arguments.split())
    assert code == 2
    assert err.startswith("mbrl: ") and words in err
    made = {path.name for path in set(tmp_path.rglob("*")) - set(before)}
    assert made <= {"learner.lock", "transitions.db-wal", "transitions.db-shm"}


def test_a_run_that_is_being_learned_in_is_not_imported_into(mbrl, tmp_path):
    write(tmp_path / "bag", ramp())
    with lock_run(tmp_path / "run"):
        code, _, err = mbrl("import", "bag", "--robot", "cartpole", "--run-dir", "run")
    assert (code, "another process is learning in this run" in err) == (2, True)


def test_without_the_library_a_line_says_what_to_install(tmp_path):
    store(tmp_path / "run", run())
    code = "import sys; sys.modules['rosbags'] = None; from mbrl_node.cli import main; main()"
    for command in (["export", "run", "--mcap", "bag"], ["import", "bag", "--robot", "cartpole"]):
        result = subprocess.run(
            [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert result.returncode == 2
        assert result.stderr == (
            "mbrl: rosbags is not installed: pip install -c constraints.txt -e '.[data]'\n"
        )
