"""`mbrl completion`: what makes a shell complete mbrl's commands, options and names.

tyro writes it; for bash, names are added that tyro does not know of, and files where it knows none.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

from mbrl_node.spec import robot_directories

# Names of what needs torch or ROS to be imported, which takes seconds; a test compares them.
PLANNERS = ("mppi", "icem", "cem", "random_shooting")
CONTROLLERS = (
    *PLANNERS,
    *("policy", "inverse_dynamics", "pd", "teleop", "external", "random", "hold"),
)
_BASH = """
_mbrl() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" names=
    case "${{COMP_WORDS[COMP_CWORD - 1]}}" in
        --robot | check) names="{robots}" ;;
        --planner) names="{planners}" ;;
        --device) names="cpu cuda" ;;
        --node) names="/mbrl_controller" ;;
        switch) names="{controllers}" ;;
        bench) names="{benchmarks}" ;;
        completion) names="bash zsh fish" ;;
    esac
    if [ -n "$names" ]; then
        COMPREPLY=($(compgen -W "$names" -- "$current"))
    else
        _tyro_mbrl "$@"
    fi
    [ -n "${{COMPREPLY[*]}}" ] || COMPREPLY=() # then bash completes files
}}
complete -o default -F _mbrl mbrl
"""


def completion(shell: str, tyro_app: Callable[[list[str]], object]) -> None:
    """Prints the script for a shell.

    Args:
        shell: bash, zsh or fish.
        tyro_app: runs the command line with some words.
    """
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro_app(["--tyro-write-completion", shell, "-"])
    script = written.getvalue().rstrip()
    if shell == "bash":
        folder = Path(__file__).resolve().parents[2] / "benchmarks"
        robots = {path.stem for place in robot_directories() for path in place.glob("*.yaml")}
        script += _BASH.format(
            robots=" ".join(sorted(robots)),
            planners=" ".join(PLANNERS),
            controllers=" ".join(CONTROLLERS),
            benchmarks=" ".join(_runnable(folder)),
        )
    print(script)


def _runnable(folder: Path) -> list[str]:
    from mbrl_node.commands import bench

    return list(bench.benchmarks()) if folder.is_dir() else []
