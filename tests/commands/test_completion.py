"""What the shell completes, asked of the shell itself."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from mbrl_node.commands.completion import CONTROLLERS, PLANNERS


@pytest.fixture
def script(mbrl):
    """The file that `mbrl completion bash` writes."""
    code, out, err = mbrl("completion", "bash")
    assert (code, err) == (0, "")
    Path("completion.bash").write_text(out)
    return Path("completion.bash")


def completed(script: Path, line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    program = (
        f"source {script}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
        '_mbrl; printf "%s\\n" "${COMPREPLY[@]}"; complete -p mbrl'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, check=True
    )
    *found, how = done.stdout.splitlines()
    assert how == "complete -o default -F _mbrl mbrl"  # files, where nothing is offered
    return [word for word in found if word]


def test_bash_understands_it_and_completes_commands_options_and_names(script):
    subprocess.run(["bash", "-n", script], check=True)
    assert completed(script, "mbrl di") == ["diagnose"]
    assert completed(script, "mbrl train --pl") == ["--planner"]
    assert completed(script, "mbrl train --planner i") == ["icem"]
    assert completed(script, "mbrl diagnose run --robot cart") == ["cartpole", "cartpole_pilco"]
    assert completed(script, "mbrl check husk") == ["husky"]
    assert completed(script, "mbrl switch rand") == ["random_shooting", "random"]
    assert completed(script, "mbrl bench adap") == ["adapt"]
    assert completed(script, "mbrl eval ru") == []


def test_the_names_are_those_that_there_are():
    planning = pytest.importorskip("mbrl_node.planning")
    assert set(PLANNERS) == set(planning.PLANNERS)
    pytest.importorskip("rclpy")
    from mbrl_node.ros.controllers import CONTROLLERS as KINDS

    assert set(CONTROLLERS) == set(KINDS)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_there_is_one_for_other_shells(mbrl, shell):
    code, out, _ = mbrl("completion", shell)
    assert code == 0 and "diagnose" in out
