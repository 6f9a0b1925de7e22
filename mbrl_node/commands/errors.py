"""What goes wrong in a command for a reason that its user can mend."""

from __future__ import annotations

import sys

# Errors whose message says all. Their modules take seconds to be imported; who raises one has.
_OWN = (
    ("mbrl_node.spec", "SpecError"),
    ("mbrl_node.agent", "RunError"),
    ("mbrl_node.agent", "SettingsError"),
    ("mbrl_node.data", "StoreError"),
    ("mbrl_node.data.exchange", "ExchangeError"),
    ("mbrl_node.learning", "VersionError"),
    ("mbrl_node.learning.diagnostics", "DiagnosisError"),
    ("mbrl_node.report", "ReportError"),
)


class CommandError(Exception):
    """It cannot work as it was called; the message is one sentence that says why."""


def for_the_user(error: Exception) -> str | None:
    """What to tell about an error, where a traceback would say nothing more; else None."""
    own = tuple(getattr(sys.modules[m], name) for m, name in _OWN if m in sys.modules)
    if isinstance(error, (CommandError, *own)):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("mbrl_node"):
        return f"{error.name} is not installed; `mbrl doctor` says how to mend it"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None
