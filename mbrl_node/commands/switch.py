"""`mbrl switch`: the controller of a running node, swapped; or which there are."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import asdict

from mbrl_node.commands.errors import CommandError

_NODE = re.compile(r"(/[A-Za-z_]\w*)+")


def switch(name: str | None, node: str, as_json: bool) -> None:
    """Has a controller act in the place of the active one, or lists them.

    Args:
        name: of the controller; None: all are listed.
        node: its name.

    Raises:
        CommandError: ROS 2 or the node is not here, it does not answer, or it refuses.
    """
    full = node if node.startswith("/") else f"/{node}"
    if not _NODE.fullmatch(full):
        raise CommandError(f"--node: {node!r} is no name of a node, such as /mbrl_controller")
    for package in ("rclpy", "mbrl_msgs"):
        if importlib.util.find_spec(package) is None:
            raise CommandError(f"switch needs ROS 2 and the workspace, and {package} is not here")
    from mbrl_node.ros.switching import Controllers, SwitchFailed

    try:
        with Controllers(full) as controllers:
            before = controllers.all()
            active = next((c.name for c in before if c.state == "active"), None)
            if name is None:
                _show(full, [asdict(c) for c in before], active, as_json)
                return
            message = controllers.activate(name)
    except SwitchFailed as error:
        raise CommandError(str(error)) from error
    if as_json:
        print(json.dumps({"node": full, "before": active, "now": name, "message": message}))
    else:
        print(f"{full}: {message}")


def _show(node: str, rows: list[dict[str, str]], active: str | None, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"node": node, "active": active, "controllers": rows}))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=node)
    for column in ("controller", "type", "state", "why it cannot act yet"):
        table.add_column(column, overflow="fold")
    for row in rows:
        style = "bold green" if row["state"] == "active" else None
        table.add_row(*(escape(cell) for cell in row.values()), style=style)
    Console().print(table)
