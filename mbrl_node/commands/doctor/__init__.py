"""`mbrl doctor`: is everything here that is needed, does it work, and how is it mended.

Nothing but Python's own library is imported, so that it works where little is installed:
`python3 -m mbrl_node.commands.doctor` in the checkout. What may be missing, crash or hang is tried
in a process of its own, with a time limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from mbrl_node.commands.doctor import machine, packages, python, ros
from mbrl_node.commands.doctor.checks import LEVELS, Check, end_trials
from mbrl_node.commands.doctor.show import show, waiting

GROUPS: dict[str, tuple[Callable[[], Iterable[Check]], ...]] = {
    "Python": (python.version, packages.core, packages.extras, python.setup),
    "computing": (machine.computing, machine.simulator, machine.compiler),
    "ROS 2": (ros.installation, ros.discovery),
    "this machine": (machine.run_folder, machine.real_time, machine.shared_memory),
}
_AT_ONCE = 4  # groups, which mostly wait for other processes


def doctor(as_json: bool = False) -> bool:
    """Prints what was found.

    Returns:
        Whether there is no problem.
    """
    steps = [(group, check) for group, checks in GROUPS.items() for check in checks]
    found: dict[str, list[Check]] = {group: [] for group in GROUPS}
    with waiting("examining", len(steps)) as advance, ThreadPoolExecutor(_AT_ONCE) as pool:

        def examine(step: tuple[str, Callable[[], Iterable[Check]]]) -> list[Check]:
            result = _examined(step[1])
            advance()
            return result

        try:
            for (group, _), checks in zip(steps, pool.map(examine, steps), strict=True):
                found[group] += checks
        except KeyboardInterrupt:
            end_trials()
            raise
    everything = [check for checks in found.values() for check in checks]
    counts = {level: sum(check.level == level for check in everything) for level in LEVELS}
    if as_json:
        rows = [
            {"group": group, **check.as_dict()}
            for group, checks in found.items()
            for check in checks
        ]
        facts = {"problems": counts["problem"], "warnings": counts["warning"], "checks": rows}
        print(json.dumps(facts))
    else:
        show(found, counts)
    return not counts["problem"]


def _examined(check: Callable[[], Iterable[Check]]) -> list[Check]:
    """What a check found, and if it failed itself, that."""
    result: list[Check] = []
    try:
        result.extend(check())
    except Exception as error:  # whatever it is, the others go on
        name = (check.__doc__ or check.__name__).splitlines()[0].rstrip(".")
        text = f"could not be examined: {type(error).__name__}: {error}"
        result.append(Check(name, "problem", text, "report it, with this line"))
    return result
