"""`Substitution`: text that is known only when the launch runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Substitution:
    """Base of all substitutions; a subclass overrides `perform`."""

    def describe(self) -> str:
        """The substitution in words, for `--show-args` and `-p`."""
        return self.__repr__()

    def perform(self, context: LaunchContext) -> str:
        """Return the text in this context."""
        raise NotImplementedError("perform() is to be overridden")
