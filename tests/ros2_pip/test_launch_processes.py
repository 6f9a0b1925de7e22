"""`ros2 launch` and its processes: what is printed, and how all of it ends."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Running

Start = Callable[..., Running]
LaunchFile = Callable[..., Path]

COUNTER = """
import os, signal, sys, threading
count = 0
def on_sigint(*_):
    global count
    count += 1
    threading.Timer(0.3, lambda: (os.write(1, b"SIGINT %d\\n" % count), os._exit(0))).start()
signal.signal(signal.SIGINT, on_sigint)
os.write(1, b"ready %d\\n" % os.getpid())
while True:
    signal.pause()
"""
"""Says how many SIGINTs have come 0.3 s after the first, and ends."""
STUBBORN = """
import os, signal
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda n, _: os.write(1, signal.Signals(n).name.encode() + b"\\n"))
os.write(1, b"ready %d\\n" % os.getpid())
while True:
    signal.pause()
"""
"""Ends only by SIGKILL."""


def python(code: str, more: str = "") -> str:
    return (
        f"ExecuteProcess(cmd=[{sys.executable!r}, '-S', '-E', '-c', {code!r}], "
        f"output='screen', name='child'{more})"
    )


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Process ids that must be gone at the end; what is left of them is killed."""
    pids: list[int] = []
    yield pids
    left = [pid for pid in pids if not has_ended(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"


def has_ended(pid: int) -> bool:
    """Wait for the end of a process that may be no child of ours."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 20.0)[0])
    finally:
        os.close(fd)


def ready(running: Running, pids: list[int], count: int = 1) -> None:
    """Wait until so many children are ready, and note their process ids."""
    for index in range(count):
        pids.append(int(running.wait_for(r"ready (\d+)", index + 1)[1]))


def test_the_lines_are_those_of_the_official_launch(start: Start, launch_file: LaunchFile) -> None:
    script = "echo out; echo err >&2; printf rest; exit 3"
    running = start(
        "launch",
        launch_file(
            f"ExecuteProcess(cmd=['sh', '-c', {script!r}], output='screen'),"
            "ExecuteProcess(cmd=['true'], name='nothing')"
        ),
    )
    assert running.wait() == 0
    pid = running.wait_for(r"\[INFO\] \[sh-1\]: process started with pid \[(\d+)\]")[1]
    other = running.wait_for(r"\[INFO\] \[nothing-2\]: process started with pid \[(\d+)\]")[1]
    for line in (
        "[sh-1] out",
        "[sh-1] err",
        "[sh-1] rest",
        f"[ERROR] [sh-1]: process has died [pid {pid}, exit code 3, cmd 'sh -c {script}'].",
        f"[INFO] [nothing-2]: process has finished cleanly [pid {other}]",
    ):
        assert line in running.lines


def test_output_goes_where_it_is_told_to(
    start: Start, launch_file: LaunchFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    names = ["screen", "log", "both", {"stdout": "screen", "stderr": "own_log"}]
    running = start(
        "launch",
        launch_file(
            ",".join(
                f"ExecuteProcess(cmd=['sh', '-c', 'echo out{i}; echo err{i} >&2'], output={name!r})"
                for i, name in enumerate(names)
            )
        ),
    )
    assert running.wait() == 0
    log = (tmp_path / "log" / "latest" / "launch.log").read_text()
    screen = [word for word in running.text.split() if word[:3] in ("out", "err")]
    logged = [line.split()[-1] for line in log.splitlines() if line.split()[-1][:3] in "out err"]
    assert sorted(screen) == ["err0", "err1", "err2", "out0", "out2", "out3"]
    assert sorted(logged) == ["err1", "err2", "out1", "out2"]
    (own,) = (tmp_path / "log" / "latest").glob("sh-4-stderr.log")
    assert "err3" in own.read_text()


@pytest.mark.parametrize("how", ["ctrl-c", "SIGINT", "SIGTERM", "ctrl-c twice"])
def test_an_interrupt_gives_each_process_one_sigint_and_code_0(
    start: Start, launch_file: LaunchFile, pids: list[int], how: str
) -> None:
    running = start("launch", launch_file(f"{python(COUNTER)}, {python(COUNTER)}"))
    ready(running, pids, 2)
    if how.startswith("ctrl-c"):
        running.press_ctrl_c()
        if how.endswith("twice"):
            running.wait_for("user interrupted")
            running.press_ctrl_c()
            running.wait_for("again, ignoring")
    else:
        running.process.send_signal(signal.Signals[how])
    assert running.wait() == 0
    assert running.text.count("SIGINT 1") == 2
    assert running.text.count("process has finished cleanly") == 2


def test_what_a_shell_has_started_ends_too(
    start: Start, launch_file: LaunchFile, pids: list[int]
) -> None:
    code = "sleep 600 & echo ready $!; wait; echo over"
    running = start(
        "launch", launch_file(f"ExecuteProcess(cmd=[{code!r}], shell=True, output='screen')")
    )
    ready(running, pids)
    running.press_ctrl_c()
    assert running.wait() == 0


def test_what_does_not_end_gets_sigterm_and_then_sigkill(
    start: Start, launch_file: LaunchFile, pids: list[int]
) -> None:
    more = ", sigterm_timeout='0.2', sigkill_timeout=LaunchConfiguration('kill')"
    path = launch_file(f"DeclareLaunchArgument('kill'), {python(STUBBORN, more)}")
    running = start("launch", path, "kill:=0.3")
    ready(running, pids)
    running.press_ctrl_c()
    assert running.wait() == 0
    lines = [line for line in running.lines if "child-1]" in line][2:]
    assert lines == [
        "[child-1] SIGINT",
        "[ERROR] [child-1]: process[child-1] failed to terminate '0.2' seconds after receiving "
        "'SIGINT', escalating to 'SIGTERM'",
        "[child-1] SIGTERM",
        "[ERROR] [child-1]: process[child-1] failed to terminate '0.3' seconds after receiving "
        "'SIGTERM', escalating to 'SIGKILL'",
        next(line for line in lines if f"process has died [pid {pids[0]}, exit code -9" in line),
    ]


def test_the_processes_end_when_the_launch_itself_is_killed(
    start: Start, launch_file: LaunchFile, pids: list[int], tmp_path: Path
) -> None:
    done = tmp_path / "done"
    code = COUNTER.replace('os.write(1, b"SIGINT %d\\n" % count)', f"open({str(done)!r}, 'x')")
    assert code != COUNTER
    running = start("launch", launch_file(python(code)))
    ready(running, pids)
    running.process.kill()
    assert running.wait() == -signal.SIGKILL
    assert has_ended(pids[0])
    assert done.exists()


def test_respawn_starts_a_process_again_but_not_while_the_launch_ends(
    start: Start, launch_file: LaunchFile, pids: list[int]
) -> None:
    running = start("launch", launch_file(python(COUNTER, ", respawn=True, respawn_delay=0.05")))
    ready(running, pids, 1)
    os.kill(pids[0], signal.SIGKILL)
    running.wait_for(rf"process has died \[pid {pids[0]}, exit code -9")
    pids.append(int(running.wait_for(r"ready (\d+)", 2)[1]))
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert running.text.count("process started with pid") == 2


def test_a_process_whose_end_ends_the_launch_is_not_respawned(
    start: Start, launch_file: LaunchFile
) -> None:
    running = start(
        "launch", launch_file("ExecuteProcess(cmd=['true'], respawn=True, on_exit=[Shutdown()])")
    )
    assert running.wait() == 0
    assert running.text.count("process started with pid") == 1


def test_a_process_is_respawned_only_so_often(start: Start, launch_file: LaunchFile) -> None:
    running = start(
        "launch",
        launch_file("ExecuteProcess(cmd=['false'], respawn=True, respawn_max_retries=2)"),
    )
    assert running.wait() == 0
    assert running.text.count("process has died") == 3


def test_the_launch_sleeps_while_nothing_happens(
    start: Start, launch_file: LaunchFile, pids: list[int]
) -> None:
    running = start("launch", launch_file(python(COUNTER)))
    ready(running, pids)

    def switches() -> int:
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)

    before = switches()
    time.sleep(0.5)  # there is nothing to wait for: that is the point
    assert switches() - before <= 2
    running.press_ctrl_c()
    assert running.wait() == 0
