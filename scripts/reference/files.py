"""Messages, launch arguments, commands and the robot's file: what is told without a node."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mbrl_node import cli
from mbrl_node.commands.overview import GROUPS
from mbrl_node.spec.robot import TASK_KEYS, RobotSpec
from scripts.reference.markdown import code, page, table

ROOT = Path(__file__).parents[2]
INTERFACES = ROOT / "ros2_ws" / "src" / "mbrl_msgs"
MESSAGES = """\
The interfaces of the package `mbrl_msgs`; `ros2 interface show mbrl_msgs/msg/Plan` shows one in a
terminal."""
LAUNCH = """\
`ros2 launch mbrl bringup.launch.py NAME:=VALUE …`; `--show-args` prints these in a terminal. What
cannot work is refused in a sentence before any process starts."""
VIEW = "true in a terminal, unless CI is set"  # the default, which is found out at the start
COMMANDS = """\
`mbrl COMMAND --help` prints these. What cannot work is one line on stderr and exit code 2."""
ROBOT_FILE = """\
A robot is one YAML file. [config/robots/cartpole.yaml](../../config/robots/cartpole.yaml) explains
the keys by an example, [your_robot.md](../your_robot.md) how to write one, and `mbrl check FILE`
says what is wrong with one. A key without a default must be there; other keys than these are
refused. Units are SI."""


def messages() -> str:
    """The page of all messages and services."""
    parts = [
        f"## {path.stem}\n\n{_interface(path)}" for path in sorted(INTERFACES.glob("msg/*.msg"))
    ]
    parts += [
        f"## {path.stem}\n\n{_interface(path)}" for path in sorted(INTERFACES.glob("srv/*.srv"))
    ]
    return page("Messages and services", MESSAGES, parts)


def _interface(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    about = [line[1:].rstrip() for line in text.split("\n\n")[0].splitlines() if line[:1] == "#"]
    lines = "\n".join(about)
    name = f"`mbrl_msgs/{path.parent.name}/{path.stem}`"
    parts = [f"{name}. {_paragraphs(lines)}" if lines.strip() else name + "."]
    sections = text.split("---\n") if path.suffix == ".srv" else [text]
    titles = ["Request", "Response"] if path.suffix == ".srv" else [""]
    for title, section in zip(titles, sections, strict=True):
        rows = _fields(section)
        shown = table(["field", "type", "meaning"], rows) if rows else "No fields."
        parts.append(f"{title}:\n\n{shown}" if title else shown)
    return "\n\n".join(parts)


def _paragraphs(comment: str) -> str:
    """Lines that are indented are items of a list."""
    text = ""
    for line in comment.splitlines():
        item = re.match(r" {3,}(\S+) +(.*)", line)
        text += f"\n- `{item[1]}`: {item[2]}" if item else f" {line.strip()}"
    return re.sub(r"^(.*?)\n- ", r"\1\n\n- ", text.strip(), count=1, flags=re.DOTALL)


def _fields(section: str) -> list[list[str]]:
    rows: list[list[str]] = []
    for line in section.splitlines():
        if found := re.match(r"(\S+) (\w+(?:=\S+)?)\s*(?:# ?(.*))?$", line):
            rows.append([code(found[2]), found[1], found[3] or ""])
        elif (more := re.match(r"\s+# ?(.*)$", line)) and rows:
            rows[-1][2] += f" {more[1]}"
    return rows


def launch() -> str:
    """The page of the launch file's arguments."""
    spec = importlib.util.spec_from_file_location("bringup", ROOT / "launch" / "bringup.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = []
    for argument in module.ARGUMENTS:
        choices = argument.choices
        meaning, _, _ = argument.description.partition(". Valid choices are")
        default = "".join(_default(part) for part in argument.default_value)
        default = {"view": VIEW}.get(argument.name, default)
        named = ", ".join(code(c) for c in choices if c) if choices else ""
        rows.append([code(argument.name), code(default), named, meaning])
    shown = table(["argument", "default", "choices", "effect"], rows)
    return page("Launch arguments", LAUNCH, [shown])


def _default(part: Any) -> str:
    name = getattr(part, "variable_name", None)
    if name is None:
        return str(part.text)
    return "that of " + "".join(piece.text for piece in name)


def commands() -> str:
    """The page of the command `mbrl`."""
    names = [name for group in GROUPS.values() for name in group]
    parts = [f"```text\n{_help()}```"]
    parts += [f"## mbrl {name}\n\n```text\n{_help(name)}```" for name in names]
    return page("The command mbrl", COMMANDS, parts)


def _help(*words: str) -> str:
    """What `mbrl … --help` prints on a terminal of 100 columns."""
    before, sys.argv = sys.argv, ["mbrl", *words, "--help"]
    os.environ["COLUMNS"] = "100"
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main()
    finally:
        sys.argv = before
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines()) + "\n"


def robot_file() -> str:
    """The page of the keys of a robot's file."""
    models: list[type[BaseModel]] = [RobotSpec]
    for model in models:  # grows
        for field in model.model_fields.values():
            models += [m for m in _models(field.annotation) if m not in models]
    parts = [_model(model) for model in models]
    task = ", ".join(code(key) for key in TASK_KEYS)
    tasks = f"## A task's file\n\nhas some of the keys {task}, in the place of the robot's own."
    return page("The robot's file", ROBOT_FILE, [*parts, tasks])


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _model(model: type[BaseModel]) -> str:
    about = (model.__doc__ or "").strip()
    if model is RobotSpec:
        about = "The keys at the top of the file."
    rows = []
    for name, field in model.model_fields.items():
        if not field.description:
            raise SystemExit(f"{model.__name__}.{name} has no description: give its Field one")
        rows.append([code(field.alias or name), _kind(field), _preset(field), field.description])
    shown = table(["key", "type", "default", "meaning"], rows)
    return f"## {model.__name__}\n\n{' '.join(about.split())}\n\n{shown}"


def _kind(field: FieldInfo) -> str:
    parts = _models(field.annotation)
    links = " or ".join(f"[{m.__name__}](#{m.__name__.lower()})" for m in parts)
    annotation = str(field.annotation)
    if parts:
        several = "tuple[" in annotation
        return f"list of {links}" if several else links
    return _plain(field.annotation)


def _plain(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(code(word) for word in inside)
    if origin is dict:
        return "mapping"
    if origin is tuple:
        return "one or a list"
    names = {float: "number", int: "whole number", str: "text", bool: "true or false", Any: "any"}
    if annotation in names:
        return names[annotation]
    known = [_plain(part) for part in inside if part is not type(None)]
    return next((word for word in known if word), "")


def _preset(field: FieldInfo) -> str:
    if field.is_required():
        return "must be there"
    value = field.default
    if isinstance(value, BaseModel):
        return "its own"
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, tuple):
        value = value[0]
    return code(str(value).lower() if isinstance(value, bool) else value)
