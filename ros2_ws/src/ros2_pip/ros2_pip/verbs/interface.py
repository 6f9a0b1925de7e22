"""`ros2 interface`: the definitions of messages, services and actions."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from ament_index_python import get_resource, get_resources
from ament_index_python.packages import get_package_share_directory

from ..cli import Failure, add_subverbs
from ..packages import package_exists

KINDS = {"msg": "Messages", "srv": "Services", "action": "Actions"}
PRIMITIVES = (
    "bool",
    "byte",
    "char",
    "float32",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "string",
    "wstring",
)
_FIELD = re.compile(r"^([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+\w+")


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 interface`."""
    verbs = add_subverbs(parser)
    verb = verbs.add_parser("show", help="Output the interface definition")
    group = verb.add_mutually_exclusive_group()
    group.add_argument(
        "--all-comments",
        action="store_true",
        help="Show all comments, including for nested interface definitions",
    )
    group.add_argument("--no-comments", action="store_true", help="Show no comments or whitespace")
    verb.add_argument(
        "type", help="Show an interface definition (e.g. 'std_msgs/msg/String'); '-' reads stdin"
    )
    verb.set_defaults(main=show)
    verb = verbs.add_parser("list", help="List all interface types available")
    for kind, title in KINDS.items():
        verb.add_argument(
            f"-{kind[0]}", f"--only-{kind}s", action="store_true", help=f"Only {title.lower()}"
        )
    verb.set_defaults(main=list_interfaces)
    verb = verbs.add_parser(
        "package", help="Output a list of available interface types within one package"
    )
    verb.add_argument("package_name", help="Name of the package (e.g. 'std_msgs')")
    verb.set_defaults(main=list_package)


def interfaces_of(package: str) -> list[str]:
    """The interfaces of a package as `kind/Name`, sorted, without hidden ones."""
    content, _ = get_resource("rosidl_interfaces", package)
    names = {os.path.splitext(line)[0] for line in content.splitlines() if line}
    return sorted(name for name in names if not name.rsplit("/", 1)[-1].startswith("_"))


def list_interfaces(args: argparse.Namespace) -> None:
    """Print all interfaces, by kind."""
    chosen = [kind for kind in KINDS if getattr(args, f"only_{kind}s")] or list(KINDS)
    packages = {name: interfaces_of(name) for name in sorted(get_resources("rosidl_interfaces"))}
    for kind in chosen:
        print(f"{KINDS[kind]}:")
        for package, names in packages.items():
            for name in names:
                if name.startswith(f"{kind}/"):
                    print(f"    {package}/{name}")


def list_package(args: argparse.Namespace) -> None:
    """Print the interfaces of a package.

    Raises:
        Failure: There is no such package, or it has none.
    """
    if args.package_name not in get_resources("rosidl_interfaces"):
        raise Failure(f"Unknown package '{args.package_name}'")
    for name in interfaces_of(args.package_name):
        print(f"{args.package_name}/{name}")


def show(args: argparse.Namespace) -> None:
    """Print the definition of an interface and, indented, of those that it uses.

    Raises:
        Failure: There is no such interface.
    """
    name = sys.stdin.readline().strip() if args.type == "-" else args.type
    _show(name, 0, keep=not args.no_comments, keep_nested=args.all_comments)


def _show(name: str, depth: int, *, keep: bool, keep_nested: bool) -> None:
    package = name.split("/")[0]
    for line in find_definition(name).read_text().splitlines():
        line = line.rstrip()
        bare = re.sub(r"""(?:^|\s+)#(?=(?:[^"']|"[^"]*"|'[^']*')*$).*""", "", line).rstrip()
        text = line if keep else bare
        if keep or text:
            print("\t" * depth + text if text else "")
        nested = nested_type(bare, package)
        if nested is not None:
            _show(nested, depth + 1, keep=keep_nested, keep_nested=keep_nested)


def nested_type(line: str, package: str) -> str | None:
    """The message type of the field that a line defines; None for other lines."""
    match = _FIELD.match(line.strip())
    if match is None or match[1] in PRIMITIVES:
        return None
    parts = match[1].split("/")
    return f"{parts[0] if len(parts) > 1 else package}/msg/{parts[-1]}"


def find_definition(name: str) -> Path:
    """The file that defines an interface.

    Raises:
        Failure: There is none.
    """
    parts = name.split("/")
    if len(parts) == 2:
        parts.insert(1, "msg")
    if len(parts) != 3 or parts[1] not in KINDS:
        raise Failure(f"Invalid name '{name}'. Expected three parts separated by '/'")
    if not package_exists(parts[0]):
        raise Failure(f"Unknown package '{parts[0]}'")
    path = Path(get_package_share_directory(parts[0]), parts[1], f"{parts[2]}.{parts[1]}")
    if not path.is_file():
        raise Failure(f"Could not find the interface '{path}'")
    return path
