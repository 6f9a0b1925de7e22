"""Every command of README.md and docs, run as a reader would type it; long ones are shortened.

Those of `ros2` are told to one launched cart-pole, with the boat of docs/your_robot.md beside it;
those of `mbrl` work on the run that came of it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.docs.extraction import ROOT, Command, commands

pytest.importorskip("rclpy")
launch = pytest.importorskip("launch")
pybullet_data = pytest.importorskip("pybullet_data")

NOT_HERE = {  # a part of a command: why it is not run here
    ". ./setup.bash": "tests/setup runs it, from nothing and again",
    "ros2 control ": "of ros2_control, which is not among pip's packages",
    "ros2 bag ": "of rosbag2, which is not among pip's packages; tests/ros/test_bags.py has one",
    "ros2 run mbrl controller": "one controller is here already; tests/ros/test_lifecycle.py",
    "pip install ": "takes packages from the network",
    "controller:=hill_climber": "of the package that the page writes; tests/test_extend.py",
    "controller:=brake": "as above",
    "[brake]": "as above",
    "BAG --robot ROBOT": "a synopsis; the commands below it on the page are run",
    "python -m pytest": "this is it",
    "tensorboard ": "a package of its own, which is no dependency",
    "ssh ": "to a robot",
}
SHORTER = (  # what is put in the place of what would not end, or take long
    (r"^ros2 topic echo (?!--once)", "ros2 topic echo --once "),
    (r"^ros2 topic hz (\S+)", r"timeout -s INT 15 ros2 topic hz \1 | grep -m 1 average"),
    (r"^ros2 topic pub -r 10 ", "ros2 topic pub -r 10 -t 3 "),
    (r"^ros2 topic pub -1 /goal_pose ", "ros2 topic pub -1 -w 0 /goal_pose "),
    (r"^(mbrl check .*--live)", r"\1 --seconds 3"),
)
RELEASE = "ros2 service call /mbrl_controller/release_estop std_srvs/srv/Trigger"
RESET = "ros2 service call /reset std_srvs/srv/Trigger"  # a cart that is let go rolls away
BEFORE = {
    "lifecycle set /mbrl_controller configure": (
        "ros2 param set /mbrl_controller controller mppi",
        "ros2 lifecycle set /mbrl_controller deactivate",
        "ros2 lifecycle set /mbrl_controller cleanup",
    ),
    "/mbrl_controller/release_estop": (RESET,),
    "unload_controller": ("ros2 param set /mbrl_controller controller mppi",),
}
AFTER = {
    "lifecycle set /mbrl_controller deactivate": ("ros2 lifecycle set /mbrl_controller activate",),
    "/mbrl_controller/estop std_msgs": (
        'ros2 topic pub -1 /mbrl_controller/estop std_msgs/msg/Bool "{data: false}"',
        RESET,
        RELEASE,
    ),
}
# What the moment decides, and what says that it was done already when it is told again.
MAY_REFUSE = ("/mbrl_controller/go", "/mbrl_controller/rollback", "/load_controller")
VERSION = "1"  # of the model: kept for ever
SMALL = {
    "model": {"members": 2, "hidden": [16, 16]},
    "mppi": {"samples": 10, "horizon": 0.25},
    "learner": {"period": 1.0, "gradient_steps": 5},
}
LIMIT = "20"  # s for one command, on a machine that does other things
LATE = 124  # the exit code of one that took longer


def kind(command: Command) -> str:
    """What runs a command; '': nothing does."""
    words = command.words
    if any(part in command.text for part in NOT_HERE):
        return "not here"
    if words[:2] == ["ros2", "launch"]:
        return "launch"
    if words[0] == "ros2" or "--live" in words or words[:2] == ["mbrl", "switch"]:
        return "help" if command.inline else "system"
    if words[0] == "mbrl":
        return "help" if command.inline else "mbrl"
    if words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        return "help"
    return ""


def of(*kinds: str) -> Any:
    """Parametrizes a test with the commands of these kinds."""
    chosen = [c for c in commands() if kind(c) in kinds]
    return pytest.mark.parametrize("command", chosen, ids=str)


@dataclass
class Told:
    """What the system was told, and where its run is."""

    answers: dict[str, subprocess.CompletedProcess[str]]  # by page and command
    folder: Path  # that a reader is in
    run: Path


def tell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line in a shell."""
    for pattern, instead in SHORTER:
        text = re.sub(pattern, instead, text)
    text = text.replace("version: 12", f"version: {VERSION}")
    return subprocess.run(
        ["timeout", "-s", "INT", LIMIT, "bash", "-c", text],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def tell_all(folder: Path) -> dict[str, subprocess.CompletedProcess[str]]:
    """Tells the system every command that is for it, in the order of the pages; one at a time, as
    who comes and goes in a hurry is not always seen by all others."""
    answers = {}
    for command in commands():
        if kind(command) != "system":
            continue
        for line in _lines(BEFORE, command):
            tell(line, folder)
        answer = tell(command.text, folder)
        if answer.returncode == LATE:  # now and then DDS loses an answer under load
            answer = tell(command.text, folder)
        answers[str(command)] = answer
        for line in _lines(AFTER, command):
            tell(line, folder)
    return answers


def _lines(table: dict[str, tuple[str, ...]], command: Command) -> list[str]:
    return [line for part, lines in table.items() if part in command.text for line in lines]


def fill(folder: Path) -> None:
    """The files that the pages speak of."""
    panda = Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf"
    (folder / "arm").mkdir()
    for name in ("my_robot.urdf", "arm/my_arm.urdf"):
        shutil.copy(panda, folder / name)
    for name in ("my_robot", "my_arm"):
        shutil.copy(ROOT / "config" / "robots" / "cartpole.yaml", folder / f"{name}.yaml")
    page = (ROOT / "docs" / "your_robot.md").read_text(encoding="utf-8")
    boat = next(t for t in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "name: boat" in t)
    (folder / "my_boat.yaml").write_text(boat)
    (folder / "config").symlink_to(ROOT / "config")
    page = (ROOT / "docs" / "without_ros.md").read_text(encoding="utf-8")
    module = next(t for t in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "# pend" in t)
    (folder / "pendulum_task.py").write_text(module)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """One launched system, and what it answered."""
    from benchmarks.launching import launched

    folder = tmp_path_factory.mktemp("reader")
    fill(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        patch.setenv("COLUMNS", "200")
        boat = subprocess.Popen([sys.executable, str(ROOT / "tests/ros/foreign/boat.py")])
        try:
            with launched(folder / "launch.log", int(os.environ["ROS_DOMAIN_ID"]), "seed:=1"):
                _wait_for(folder / "launch.log", "plan ")
                answers = tell_all(folder)
        finally:
            boat.terminate()
            boat.wait()
        (run,) = (folder / "data" / "mbrl" / "runs").iterdir()
    yield Told(answers, folder, run)


def _wait_for(log: Path, text: str) -> None:
    until = time.monotonic() + 90.0
    while text not in log.read_text():
        assert time.monotonic() < until, log.read_text()[-3000:]
        time.sleep(0.1)


@pytest.mark.parametrize("command", commands(), ids=str)
def test_something_runs_it(command: Command) -> None:
    assert kind(command), f"{command}: no test runs it; see kind() and NOT_HERE in {__file__}"


def test_all_that_is_left_out_is_there() -> None:
    texts = [command.text for command in commands()]
    assert [part for part in NOT_HERE if not any(part in text for text in texts)] == []


@of("system")
def test_the_system_does_what_it_is_told(told: Told, command: Command) -> None:
    done = told.answers[str(command)]
    said = f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    # What a check finds is for tests/ros/test_live_check.py: this graph has two robots in it.
    right = (0, 1) if "--live" in command.text else (0,)
    assert done.returncode in right, said
    assert "Traceback" not in said, said
    if not any(part in command.text for part in MAY_REFUSE):
        assert "success=False" not in said and "ok=False" not in said, said


@pytest.fixture(scope="module")
def bringup() -> Any:
    """The launch file, as a module."""
    path = ROOT / "launch" / "bringup.launch.py"
    spec = importlib.util.spec_from_file_location("bringup", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@of("launch")
def test_the_launch_file_takes_it(
    told: Told, bringup: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word.replace("RUN", str(told.run)) for word in command.words[2:]]
    assert words[:2] == ["mbrl", "bringup.launch.py"]
    given = dict(word.split(":=") for word in words[2:] if word != "--show-args")
    monkeypatch.chdir(told.folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(told.folder / "data"))
    context = launch.LaunchContext()
    context.launch_configurations.update(given)
    known = {argument.name: argument for argument in bringup.ARGUMENTS}
    assert given.keys() <= known.keys()
    for argument in known.values():
        argument.execute(context)
    assert bringup.check(context)


@pytest.fixture
def reader(told: Told, mbrl: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`mbrl` in the folder of a reader, with small defaults."""
    monkeypatch.chdir(told.folder)
    monkeypatch.syspath_prepend(str(told.folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(told.folder / "data"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(told.folder / "minari"))
    monkeypatch.setattr("mbrl_node.agent.training._defaults", lambda dt: SMALL)
    return mbrl


@of("mbrl")
def test_mbrl_does_it(told: Told, reader: Any, command: Command, tmp_path: Path) -> None:
    text = command.text.replace("VERSION", VERSION).replace("RUN 12", f"RUN {VERSION}")
    if " train " in text:
        steps = 60 if "--run-dir" in text else 25
        text = re.sub(r" --steps \d+|$", f" --steps {steps}", text, count=1)
    if " eval " in text or " play " in text:
        text = re.sub(r" --episodes \d+|$", " --episodes 1", text, count=1)
    if " init-robot " in text:  # it writes over nothing
        text += f" --output {tmp_path}/new.yaml"
    bag = told.folder / "bag"
    if " import " in text and not bag.exists():
        reader("export", told.run, "--mcap", bag)
    places = {"RUN": told.run, "FOLDER": tmp_path / "bag", "NAME": "reader/run-v0", "BAG": bag}
    places |= {"FILE": tmp_path / "file.npz", "rosbag2_2026_11_25-10_00_00": bag}
    words = [str(places.get(w, w)) for w in Command(command.page, text).words[1:]]
    code, out, err = reader(*words)
    assert code == 0, f"{command}: exit code {code}\n{out}{err}"


@of("help")
def test_it_has_the_options_that_are_named(
    mbrl: Any, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.words
    if words[0] == "mbrl":
        code, known, _ = mbrl(words[1], "--help")
    else:
        monkeypatch.setattr(sys, "argv", [words[2], "--help"])
        with pytest.raises(SystemExit) as end:
            importlib.import_module(words[2]).main()
        code, known = end.value.code, capsys.readouterr().out
    assert code == 0
    options = {word for word in words if word.startswith("--")}
    assert options <= {*re.findall(r"--[\w-]+", known), "--help"}
