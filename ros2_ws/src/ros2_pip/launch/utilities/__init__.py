"""Helpers that actions, substitutions and launch files share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..substitution import Substitution

if TYPE_CHECKING:
    from ..launch_context import LaunchContext


def normalize_to_list_of_substitutions(subs: Any) -> list[Substitution]:
    """Turn text, a path, a substitution, or an iterable of these into a list of substitutions.

    Raises:
        TypeError: Something in it is none of these.
    """
    from ..substitutions import TextSubstitution

    if isinstance(subs, Substitution):
        return [subs]
    if isinstance(subs, (str, Path)):
        return [TextSubstitution(text=str(subs))]
    if isinstance(subs, Iterable):
        return [sub for item in subs for sub in normalize_to_list_of_substitutions(item)]
    raise TypeError(f"expected text or a substitution, got {subs!r}")


def perform_substitutions(context: LaunchContext, subs: Iterable[Substitution]) -> str:
    """Perform the substitutions and join the results."""
    return "".join(context.perform_substitution(sub) for sub in subs)


def resolve(context: LaunchContext, subs: Any) -> str:
    """The text of anything that may be given where substitutions are allowed."""
    return perform_substitutions(context, normalize_to_list_of_substitutions(subs))
