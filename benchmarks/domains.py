"""ROS domains, one for each system that runs here."""

from __future__ import annotations

import contextlib
import fcntl
import random
import tempfile
from pathlib import Path
from typing import IO

_claims: list[IO[str]] = []  # kept open: a lock ends with its process


def free_domain() -> int:
    """A ROS domain ID that no test or benchmark on this machine has; this process keeps it.

    Raises:
        RuntimeError: all are taken.
    """
    for domain in random.SystemRandom().sample(range(1, 101), 100):
        claim = Path(tempfile.gettempdir()) / f"mbrl-domain-{domain}.lock"
        with contextlib.suppress(OSError):
            file = claim.open("w")
            _claims.append(file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return domain
    raise RuntimeError("all ROS domains from 1 to 100 are taken by tests and benchmarks")
