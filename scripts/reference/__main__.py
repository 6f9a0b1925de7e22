"""Writes docs/reference from the code: `python -m scripts.reference [FOLDER]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Writes all pages.

    Raises:
        SystemExit: something has no description.
    """
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "OFF"  # no other node is to hear of these
    from scripts.reference import files, nodes  # not before that is set

    folder.mkdir(parents=True, exist_ok=True)
    with nodes.nodes() as made:
        pages = {"parameters": nodes.parameters(made), "topics": nodes.topics(made)}
    pages |= {"messages": files.messages(), "launch": files.launch(), "cli": files.commands()}
    pages["robot_file"] = files.robot_file()
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # torch and DDS would take seconds to be taken apart


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[2] / "docs" / "reference")
