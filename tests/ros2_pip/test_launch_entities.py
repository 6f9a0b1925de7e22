"""Substitutions, conditions, scopes, includes and events, in one process."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("ros2_pip") is None:
    pytest.skip("the stand-in ros2_pip is not installed", allow_module_level=True)

from launch import LaunchContext, LaunchDescription, LaunchService, Substitution
from launch import substitutions as subs
from launch.actions import (
    AppendEnvironmentVariable,
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
    UnsetEnvironmentVariable,
    UnsetLaunchConfiguration,
)
from launch.conditions import (
    IfCondition,
    InvalidConditionExpressionError,
    LaunchConfigurationEquals,
    LaunchConfigurationNotEquals,
    UnlessCondition,
)
from launch.event_handlers import OnProcessExit, OnProcessIO, OnProcessStart, OnShutdown
from launch.events.process import ShutdownProcess, SignalProcess, matches_action
from launch.launch_description_sources import PythonLaunchDescriptionSource

LC = subs.LaunchConfiguration
SLEEP = ["sleep", "600"]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> LaunchContext:
    monkeypatch.setenv("MBRL_TEST_X", "env")
    context = LaunchContext()
    context.launch_configurations.update(a="1", name="husky", yes="True", no="false")
    context.extend_locals(
        {"current_launch_file_path": "/l/x.py", "current_launch_file_directory": "/l"}
    )
    return context


@pytest.fixture
def run() -> Iterator[Callable[..., int]]:
    """Carries out entities and returns the exit code; the environment is put back."""
    before = dict(os.environ)

    def run(*entities: Any) -> int:
        service = LaunchService()
        service.include_launch_description(LaunchDescription(list(entities)))
        return service.run()

    yield run
    os.environ.clear()
    os.environ.update(before)


def note(into: list[str], *names: str) -> OpaqueFunction:
    """An action that notes the values of launch configurations."""

    def function(context: LaunchContext) -> None:
        into.append(" ".join(context.launch_configurations.get(name, "-") for name in names))

    return OpaqueFunction(function=function)


@pytest.mark.parametrize(
    ("substitution", "text"),
    [
        (subs.TextSubstitution(text="x"), "x"),
        (LC("name"), "husky"),
        (LC("nothing", default=["a", LC("a")]), "a1"),
        (LC("nothing", default=5), "5"),
        (subs.PathJoinSubstitution(["/r", LC("name"), ["f", ".yaml"]]), "/r/husky/f.yaml"),
        (subs.EnvironmentVariable("MBRL_TEST_X"), "env"),
        (subs.EnvironmentVariable("MBRL_TEST_Y", default_value="no"), "no"),
        (subs.PythonExpression(["2 * ", LC("a"), " + floor(1.5)"]), "3"),
        (subs.PythonExpression(["'", LC("name"), "' == 'husky'"]), "True"),
        (subs.ThisLaunchFile(), "/l/x.py"),
        (subs.ThisLaunchFileDir(), "/l"),
        (subs.AndSubstitution(LC("yes"), LC("no")), "false"),
        (subs.OrSubstitution(LC("yes"), LC("no")), "true"),
        (subs.NotSubstitution(LC("no")), "true"),
        (subs.EqualsSubstitution(LC("a"), "1.0"), "true"),
        (subs.EqualsSubstitution(LC("yes"), "true"), "true"),
        (subs.NotEqualsSubstitution(LC("name"), "panda"), "true"),
        (subs.IfElseSubstitution(LC("no"), "x", LC("name")), "husky"),
        (subs.Command(["echo ", "'a b'"]), "a b\n"),
    ],
    ids=lambda value: value.describe() if isinstance(value, Substitution) else "",
)
def test_a_substitution_yields_its_text(
    context: LaunchContext, substitution: Substitution, text: str
) -> None:
    assert substitution.perform(context) == text


def test_find_executable_yields_its_path(context: LaunchContext) -> None:
    assert os.access(subs.FindExecutable(name="sh").perform(context), os.X_OK)


@pytest.mark.parametrize(
    "substitution",
    [
        LC("nothing"),
        subs.EnvironmentVariable("MBRL_TEST_Y"),
        subs.FindExecutable(name="mbrl_no_such_program"),
        subs.PythonExpression("1 +"),
        subs.NotSubstitution("perhaps"),
        subs.Command("false"),
    ],
    ids=lambda value: value.describe(),
)
def test_a_substitution_that_fails_says_so(
    context: LaunchContext, substitution: Substitution
) -> None:
    with pytest.raises(subs.SubstitutionFailure):
        substitution.perform(context)


def test_conditions_hold_as_their_names_say(context: LaunchContext) -> None:
    assert IfCondition(LC("yes")).evaluate(context)
    assert not IfCondition(LC("no")).evaluate(context)
    assert UnlessCondition("0").evaluate(context)
    assert LaunchConfigurationEquals("name", "husky").evaluate(context)
    assert LaunchConfigurationEquals("nothing", None).evaluate(context)
    assert LaunchConfigurationNotEquals("name", ["pan", "da"]).evaluate(context)
    with pytest.raises(InvalidConditionExpressionError, match="husky"):
        IfCondition(LC("name")).evaluate(context)


def test_an_action_is_skipped_where_its_condition_does_not_hold(run: Callable[..., int]) -> None:
    seen: list[str] = []
    run(
        SetLaunchConfiguration("x", "1"),
        SetLaunchConfiguration("x", "2", condition=IfCondition("false")),
        SetLaunchConfiguration("y", "3", condition=UnlessCondition("false")),
        note(seen, "x", "y"),
        UnsetLaunchConfiguration("x"),
        note(seen, "x", "y"),
    )
    assert seen == ["1 3", "- 3"]


def test_a_group_keeps_what_it_sets_unless_it_has_no_scope(run: Callable[..., int]) -> None:
    seen: list[str] = []
    run(
        SetLaunchConfiguration("x", "out"),
        SetEnvironmentVariable("MBRL_TEST_X", "out"),
        GroupAction(
            [
                note(seen, "x", "y"),
                SetLaunchConfiguration("x", "in"),
                SetEnvironmentVariable("MBRL_TEST_X", "in"),
                note(seen, "x", "y"),
            ],
            launch_configurations={"y": ["<", LC("x"), ">"]},
        ),
        note(seen, "x", "y"),
        OpaqueFunction(function=lambda context: seen.append(os.environ["MBRL_TEST_X"])),
        GroupAction([note(seen, "x")], forwarding=False),
        GroupAction([SetLaunchConfiguration("x", "in")], scoped=False),
        note(seen, "x"),
    )
    assert seen == ["out <out>", "in <out>", "out -", "out", "-", "in"]


def test_the_environment_of_a_process_is_what_was_set_before(run: Callable[..., int]) -> None:
    show = ExecuteProcess(
        cmd=["sh", "-c", "echo $MBRL_TEST_P $MBRL_TEST_Q $MBRL_TEST_R"],
        additional_env={"MBRL_TEST_R": ["r", "!"]},
        cached_output=True,
    )
    code = run(
        SetEnvironmentVariable("MBRL_TEST_P", "/a"),
        AppendEnvironmentVariable("MBRL_TEST_P", "/b"),
        AppendEnvironmentVariable("MBRL_TEST_P", "/0", prepend=True),
        SetEnvironmentVariable("MBRL_TEST_Q", "q"),
        UnsetEnvironmentVariable("MBRL_TEST_Q"),
        show,
    )
    assert code == 0
    assert show.get_stdout() == "/0:/a:/b r!\n"
    assert show.return_code == 0


def test_an_include_gets_its_arguments_and_knows_where_it_is(
    run: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "inner.launch.py").write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import *\n"
        "from launch.substitutions import *\n"
        "def generate_launch_description():\n"
        "    return LaunchDescription([DeclareLaunchArgument('speed', default_value='1'),\n"
        "        SetLaunchConfiguration('where', ThisLaunchFileDir())])\n"
    )
    seen: list[str] = []
    path = [str(tmp_path), "/inner.launch.py"]
    run(
        SetLaunchConfiguration("x", "2"),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(path), launch_arguments={"speed": LC("x")}.items()
        ),
        note(seen, "speed", "where"),
    )
    assert seen == [f"2 {tmp_path}"]


def test_an_argument_without_a_value_ends_the_launch_with_code_1(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(DeclareLaunchArgument("map", description="where")) == 1
    assert 'Required launch argument "map"' in capsys.readouterr().err


def test_handlers_see_a_process_start_print_and_end(run: Callable[..., int]) -> None:
    seen: list[str] = []
    process = ExecuteProcess(cmd=["sh", "-c", "echo out; echo err >&2; exit 3"])
    run(
        RegisterEventHandler(
            OnProcessStart(target_action=process, on_start=lambda e, c: seen.append("start"))
        ),
        RegisterEventHandler(
            OnProcessIO(
                target_action=process,
                on_stdout=lambda event: seen.append(event.text.decode()),
                on_stderr=lambda event: seen.append(event.text.decode()),
            )
        ),
        RegisterEventHandler(
            OnProcessExit(on_exit=lambda event, context: seen.append(str(event.returncode)))
        ),
        RegisterEventHandler(OnShutdown(on_shutdown=lambda e, c: seen.append(e.reason))),
        process,
    )
    assert seen[0] == "start"
    assert sorted(seen[1:3]) == ["err\n", "out\n"]
    assert seen[3:] == ["3", "idle"]


def test_the_end_of_one_process_can_end_the_launch(run: Callable[..., int]) -> None:
    other = ExecuteProcess(cmd=SLEEP)
    assert run(other, ExecuteProcess(cmd=["true"], on_exit=[Shutdown(reason="done")])) == 0
    assert other.return_code == -2


def test_a_timer_acts_after_its_period_and_not_after_the_end(run: Callable[..., int]) -> None:
    seen: list[str] = []
    run(
        TimerAction(period=600.0, actions=[note(seen, "x")]),
        TimerAction(period=0.01, actions=[note(seen, "x"), Shutdown()]),
    )
    assert seen == ["-"]


def test_an_event_can_shut_one_process_down(run: Callable[..., int]) -> None:
    process = ExecuteProcess(cmd=SLEEP)
    event = ShutdownProcess(process_matcher=matches_action(process))
    handler = OnProcessStart(target_action=process, on_start=[EmitEvent(event=event)])
    assert run(RegisterEventHandler(handler), process) == 0
    assert process.return_code == -2


def test_an_event_can_send_one_process_a_signal(run: Callable[..., int]) -> None:
    process = ExecuteProcess(cmd=SLEEP)
    event = SignalProcess(signal_number="SIGTERM", process_matcher=matches_action(process))
    handler = OnProcessStart(target_action=process, on_start=[EmitEvent(event=event)])
    assert run(RegisterEventHandler(handler), process) == 0
    assert process.return_code == -15


def test_a_process_that_cannot_be_started_is_reported(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run(ExecuteProcess(cmd=["/no/such/program"]))
    output = capsys.readouterr().out
    assert "[ERROR] [program-" in output
    assert "could not be started" in output


def test_a_process_can_have_a_terminal_to_print_on(run: Callable[..., int]) -> None:
    command = ["sh", "-c", "test -t 1 && test -t 2 && echo terminal"]
    process = ExecuteProcess(cmd=command, emulate_tty=True, cached_output=True)
    run(process)
    assert process.get_stdout() == "terminal\n"
