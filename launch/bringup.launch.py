"""Brings up a robot (simulated by default), its controller and its learner.

ros2 launch mbrl bringup.launch.py --show-args     explains the arguments
"""

import os
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

CONFIGURATION_ERROR = 2  # exit code of a node that says it cannot work as configured
CONTROLLERS = [
    *("random_shooting", "cem", "icem", "mppi", "policy", "inverse_dynamics"),
    *("pd", "teleop", "external", "random", "hold"),
]
PLUGINS = [*entry_points(group="mbrl.planners"), *entry_points(group="mbrl.controllers")]

ARGUMENTS = [
    DeclareLaunchArgument(
        "robot", default_value="cartpole", description="name of a robot, or path to its YAML file"
    ),
    DeclareLaunchArgument(
        "task",
        default_value="",
        description="what the robot is to do: name of one of its tasks, or path to a task's YAML "
        "file; empty: the task of the robot's file",
    ),
    DeclareLaunchArgument(
        "controller",
        default_value="",
        choices=["", *CONTROLLERS, *(plugin.name for plugin in PLUGINS)],
        description="controller that is active at the start; empty: as the robot's file says, or "
        "mppi; swap it with ~/switch_controller",
    ),
    DeclareLaunchArgument(
        "sim",
        default_value="true",
        choices=["true", "false"],
        description="simulate the robot; false: a real robot's drivers are running",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value=LaunchConfiguration("sim"),
        choices=["true", "false"],
        description="the simulator's clock paces control; false: the machine's, as on a robot",
    ),
    DeclareLaunchArgument(
        "sync",
        default_value="false",
        choices=["true", "false"],
        description="lock-step: simulator and learner wait for the controller, as fast as it goes",
    ),
    DeclareLaunchArgument(
        "dry_run",
        default_value="false",
        choices=["true", "false"],
        description="plan and log, but command nothing",
    ),
    DeclareLaunchArgument(
        "gui",
        default_value="false",
        choices=["true", "false"],
        description="open PyBullet's window",
    ),
    DeclareLaunchArgument(
        "view",
        default_value=str(sys.stdout.isatty() and not os.environ.get("CI")).lower(),
        choices=["true", "false"],
        description="serve the live view, a page for a browser on this machine",
    ),
    DeclareLaunchArgument(
        "record",
        default_value="false",
        choices=["true", "false"],
        description="film the robot, and what the controller says, into video.mp4 in run_dir",
    ),
    DeclareLaunchArgument(
        "speed", default_value="1.0", description="simulated seconds a second (sim:=true)"
    ),
    DeclareLaunchArgument(
        "rate", default_value="0.0", description="control rate in Hz; 0: as the robot's file says"
    ),
    DeclareLaunchArgument(
        "change",
        default_value="",
        description="how the simulated robot changes by itself: TIME WHAT OF VALUE, several "
        "separated by commas, such as: 30 mass pole 3, 60 gain all 0.5",
    ),
    DeclareLaunchArgument("seed", default_value="0", description="of all random numbers"),
    DeclareLaunchArgument(
        "learn",
        default_value="true",
        choices=["true", "false"],
        description="learn while running; false: the newest model in run_dir is used as it is",
    ),
    DeclareLaunchArgument(
        "run_dir",
        default_value="",
        description="folder of the run's transitions and models; an existing one is continued; "
        "empty: a new one in $XDG_DATA_HOME/mbrl/runs or ~/.local/share/mbrl/runs",
    ),
    DeclareLaunchArgument(
        "resume",
        default_value="",
        description="goes on with a run in that folder: its name, or latest: this robot's newest",
    ),
    DeclareLaunchArgument(
        "duration",
        default_value="0.0",
        description="robot time in s after which all ends; 0: never",
    ),
    DeclareLaunchArgument(
        "device", default_value="cpu", choices=["cpu", "cuda"], description="where torch computes"
    ),
    DeclareLaunchArgument(
        "params",
        default_value="",
        description="ROS parameter file: planners, learner, model; see config/mbrl.yaml; what it "
        "does not have is as the robot's file says, or the default",
    ),
]


def typed(name: str, kind: type) -> ParameterValue:
    """A launch argument as a ROS parameter of this type."""
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def check(context: LaunchContext) -> list[Node]:
    """Refuses what cannot work before any process starts; the nodes, where all can."""
    from mbrl_node.spec import SpecError, load_spec
    from sim.changes import parse_changes

    argument = context.launch_configurations
    for name, kind in (("rate", float), ("speed", float), ("duration", float), ("seed", int)):
        try:
            value = kind(argument[name])
        except ValueError:
            raise RuntimeError(f"argument {name}: '{argument[name]}' is not a number") from None
        if value < 0 or value != value:
            raise RuntimeError(f"argument {name}: {argument[name]} is below 0")
    try:
        changes_planned = parse_changes(argument["change"])
    except ValueError as error:
        raise RuntimeError(f"argument change: {error}") from None
    if changes_planned and argument["sim"] != "true":
        raise RuntimeError("argument change: only a simulated robot changes; use sim:=true")
    try:
        spec = load_spec(argument["robot"], task=argument["task"])
        simulated = argument["sim"] == "true"
        changes = {} if simulated else {"sim": None}
        if float(argument["rate"]):
            changes["rate"] = float(argument["rate"])
        if simulated and spec.sim is None:
            raise RuntimeError(f"{argument['robot']}: has no sim section; use sim:=false")
        spec.with_overrides(**changes)
    except SpecError as error:
        raise RuntimeError(str(error)) from None
    argument["controller"] = argument["controller"] or spec.settings.get("controller", "mppi")
    if argument["params"] and not Path(argument["params"]).is_file():
        raise RuntimeError(f"argument params: no file '{argument['params']}'")
    argument["run_dir"] = run_dir(argument["run_dir"], argument["resume"], spec.name)
    try:
        os.makedirs(argument["run_dir"], exist_ok=True)
    except OSError as error:
        raise RuntimeError(f"argument run_dir: '{argument['run_dir']}': {error.strerror}") from None
    return nodes([argument["params"]] if argument["params"] else [])


def run_dir(given: str, resume: str, robot: str) -> str:
    """The run's folder: the one given, the one to go on with, or a new one."""
    if given and resume:
        raise RuntimeError("argument resume: a run_dir is given as well; use one of the two")
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    runs = Path(data) / "mbrl" / "runs"
    if not resume:
        return given or str(runs / time.strftime(f"{robot}-%Y%m%d-%H%M%S"))
    there = sorted(path for path in runs.glob(f"{robot}-{'?' * 8}-{'?' * 6}") if path.is_dir())
    if resume == "latest" and there:
        return str(max(there, key=lambda path: path.stat().st_mtime))
    if resume == "latest" or not (runs / resume).is_dir():
        names = ", ".join(path.name for path in there[-5:]) or "there is none"
        raise RuntimeError(f"argument resume: no run '{resume}' of {robot} in {runs} ({names})")
    return str(runs / resume)


def on_exit(event, context: LaunchContext) -> list[Shutdown]:
    """A process that ended by itself ends the launch; one that died is started again by
    `respawn`. Nobody misses the live view, or a film."""
    if event.process_name.startswith(("view-", "record-")):
        return []
    if event.returncode == CONFIGURATION_ERROR and not context.is_shutdown:
        raise RuntimeError(f"{event.process_name} cannot work as it is configured, see above")
    return [Shutdown(reason=f"{event.process_name} has ended")] if event.returncode == 0 else []


def node(
    executable: str,
    condition: IfCondition | None,
    files: list,
    parameters: dict,
    respawn: bool = True,
) -> Node:
    """One of our processes; its log lines go to the terminal, and it comes back when it dies."""
    return Node(
        package="mbrl",
        executable=executable,
        name=f"mbrl_{executable}",
        condition=condition,
        output="screen",
        respawn=respawn,
        respawn_delay=1.0,
        parameters=[
            *files,
            {
                "robot": typed("robot", str),
                "task": typed("task", str),
                "rate": typed("rate", float),
                "seed": typed("seed", int),
                **parameters,
            },
        ],
    )


def nodes(files: list[str]) -> list[Node]:
    """The robot, the controller and the learner.

    Args:
        files: of ROS parameters.
    """
    run = {"run_dir": typed("run_dir", str), "device": typed("device", str)}
    return [
        node(
            "sim",
            IfCondition(LaunchConfiguration("sim")),
            files,
            {
                "gui": typed("gui", bool),
                "change": typed("change", str),
                "speed": typed("speed", float),
                "clock": typed("use_sim_time", bool),
                "sync": typed("sync", bool),
            },
        ),
        node(
            "controller",
            None,
            files,
            {
                **run,
                "controller": typed("controller", str),
                "learn": typed("learn", bool),
                "duration": typed("duration", float),
                "use_sim_time": typed("use_sim_time", bool),
                "sync": typed("sync", bool),
                "dry_run": typed("dry_run", bool),
            },
        ),
        node(
            "learner",
            IfCondition(LaunchConfiguration("learn")),
            files,
            {**run, "sync": typed("sync", bool)},
        ),
        node("view", IfCondition(LaunchConfiguration("view")), files, {}, respawn=False),
        node(
            "record",
            IfCondition(LaunchConfiguration("record")),
            files,
            {"run_dir": typed("run_dir", str)},
            respawn=False,
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """What is checked, and then launched."""
    return LaunchDescription(
        [
            *ARGUMENTS,
            SetEnvironmentVariable(
                "RCUTILS_CONSOLE_OUTPUT_FORMAT",
                EnvironmentVariable(
                    "RCUTILS_CONSOLE_OUTPUT_FORMAT", default_value="[{severity}] {message}"
                ),
            ),
            RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
            OpaqueFunction(function=check),
        ]
    )
