"""What a process that tries something out tells the one that started it, line by line."""

from __future__ import annotations

import json

MARK = "mbrl-doctor "  # what begins such a line; whatever else is printed is not for it


def tell(stage: str, facts: object) -> None:
    """Tells how a stage went, as soon as it is over: those before a crash are known."""
    print(f"{MARK}{json.dumps({stage: facts})}", flush=True)
