"""From a robot's name or file to its spec."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from mbrl_node.spec.errors import Problem, SpecError, did_you_mean, line, one_line, show
from mbrl_node.spec.robot import DEFAULT_TASK, TASK_KEYS, RobotSpec


def load_spec(
    robot: str | os.PathLike[str],
    search: Sequence[str | Path] | None = None,
    task: str = "",
) -> RobotSpec:
    """Loads a robot.

    Args:
        robot: a path to a YAML file (anything with a slash or ending in .yaml or .yml), or the name
            of a robot, which is NAME.yaml in one of the search directories.
        search: where names are looked for, in order; by default `robot_directories()`.
        task: what it is to do, if not the task of its own file: a path to a task's YAML file, or a
            name, which is tasks/ROBOT/NAME.yaml beside the robot's file. What such a file says
            takes the place of what the robot's says under the same keys.

    Raises:
        SpecError: there is no such robot or task, or a file is not valid; one line for every
            problem.
    """
    directories = robot_directories() if search is None else [Path(entry) for entry in search]
    path, source = _find(robot, directories)
    data, repeated = _read(path, source, "a robot's file has keys such as name, rate, state")
    sources: dict[str, str] = {}
    if task and task != data.get("task", DEFAULT_TASK):
        file, task_source = _find_task(task, path)
        told, again = _read(file, task_source, f"a task's file has keys of {', '.join(TASK_KEYS)}")
        repeated += again
        repeated += [
            line(task_source, Problem((key,), f"is no key of a task ({', '.join(TASK_KEYS)})"))
            for key in told
            if key not in TASK_KEYS
        ]
        told = {"task": file.stem, **told}
        data = {**data, **told}
        sources = dict.fromkeys(map(str, told), task_source)
    try:
        spec = RobotSpec.from_dict(data, source, path.absolute(), sources)
    except SpecError as error:
        raise SpecError([*repeated, *error.problems]) from None
    if repeated:
        raise SpecError(repeated)
    return spec


def tasks_of(robot_file: Path) -> dict[str, Path]:
    """The files of a robot's other tasks, by name."""
    return {file.stem: file for file in sorted(_tasks(robot_file).glob("*.yaml"))}


def _tasks(robot_file: Path) -> Path:
    return robot_file.parent / "tasks" / robot_file.stem


def _find_task(task: str, robot_file: Path) -> tuple[Path, str]:
    """A task's file, and what to call it in errors."""
    path = Path(os.path.expanduser(task))
    is_path = os.sep in task or path.suffix in (".yaml", ".yml")
    known = tasks_of(robot_file)
    if is_path and path.exists():
        return path, task
    if not is_path and task in known:
        return known[task], _relative(known[task])
    what = "no such file" if is_path else "no such task"
    hint = did_you_mean(path.stem, list(known))
    listed = f"other tasks of {robot_file.stem}: {', '.join(known) or 'none'}"
    raise SpecError([f"{task if task.isprintable() else show(task)}: {what}{hint} ({listed})"])


def _read(path: Path, source: str, keys: str) -> tuple[dict[str, Any], list[str]]:
    """What a file says, and a line for every key that it has twice in one mapping."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([f"{source}: byte {error.start} is not UTF-8; save it as UTF-8"]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([f"{source}: cannot be read: {reason}"]) from None
    data, repeated = _parse(text, source)
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"{show(data)} is not a mapping"
        raise SpecError([f"{source}: {found}: {keys}"])
    return data, repeated


def robot_directories() -> list[Path]:
    """Where robots are looked for: beside this code (symlinks followed), then the ament shares."""
    repository = Path(__file__).resolve().parents[2]
    prefixes = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    candidates = [repository, *(Path(prefix) / "share" / "mbrl" for prefix in prefixes)]
    directories = (candidate / "config" / "robots" for candidate in candidates)
    return [directory for directory in dict.fromkeys(directories) if directory.is_dir()]


def _find(robot: str | os.PathLike[str], directories: Iterable[Path]) -> tuple[Path, str]:
    """The robot's file, and what to call it in errors."""
    text = os.fspath(robot)
    path = Path(os.path.expanduser(text))
    is_path = not isinstance(robot, str) or os.sep in text or path.suffix in (".yaml", ".yml")
    if is_path and os.path.exists(path):
        return path, text
    known: dict[str, Path] = {}
    for directory in directories:
        for file in sorted(directory.glob("*.yaml")):
            known.setdefault(file.stem, file)
    if not is_path and text in known:
        return known[text], _relative(known[text])
    listed = f"known robots: {', '.join(known)}" if known else "no robots are known"
    what = "no such file" if is_path else "no such robot"
    hint = did_you_mean(path.stem if is_path else text, list(known))
    raise SpecError([f"{text if text.isprintable() else show(text)}: {what}{hint} ({listed})"])


def _relative(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


class _SpecLoader(yaml.SafeLoader):
    """SafeLoader that remembers repeated keys, reads 1e-3 as a number and locates bad values."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.repeated: list[Problem] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in first:
                text = f"{show(key.value)} is given again; it is already on line {first[key.value]}"
                self.repeated.append(Problem((), f"{_position(key.start_mark)}: {text}"))
            else:
                first[key.value] = key.start_mark.line + 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, IndexError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                problem=f"{show(node.value)} is not a valid {kind}", problem_mark=node.start_mark
            ) from error


_SpecLoader.add_implicit_resolver(  # YAML 1.1 wants a dot and a sign: 1.0e-3
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), "-+0123456789"
)


def _parse(text: str, source: str) -> tuple[object, list[str]]:
    """The document, and a line for every key that is given twice in one mapping."""
    try:
        loader = _SpecLoader(text)
        try:
            data = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{_position(mark)}: " if mark else ""
        what = " ".join(filter(None, (error.context, error.problem)))
        raise SpecError([f"{source}: {where}not valid YAML: {one_line(what)}"]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
        raise SpecError(
            [f"{source}: {where}: not valid YAML: {text[error.position]!r} is not allowed"]
        ) from None
    except RecursionError:
        raise SpecError([f"{source}: not valid: it is nested too deeply"]) from None
    return data, [line(source, problem) for problem in loader.repeated]


def _position(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
