"""`LaunchDescriptionSource`: where a launch description is read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .substitution import Substitution
from .utilities import normalize_to_list_of_substitutions, perform_substitutions


class LaunchDescriptionSource:
    """A file that yields a launch description; a subclass overrides `_get_launch_description`.

    Args:
        launch_description: The description, where it is there already.
        location: The file, as text, path or substitutions.
        method: How it is read, in words.
    """

    def __init__(
        self,
        launch_description: LaunchDescription | None = None,
        location: Any = None,
        method: str = "unspecified mechanism from a script",
    ) -> None:
        self.__launch_description = launch_description
        self.__location: list[Substitution] = normalize_to_list_of_substitutions(location or "")
        self.__expanded_location: str | None = None
        self.__method = method

    @property
    def location(self) -> str:
        """The file where it is known, else a description of how it will be found."""
        if self.__expanded_location is not None:
            return self.__expanded_location
        return " + ".join(sub.describe() for sub in self.__location)

    @property
    def method(self) -> str:
        """How the description is read, in words."""
        return self.__method

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """The description, where the location can be known before the launch runs; else None."""
        if self.__launch_description is None:
            try:
                path = perform_substitutions(LaunchContext(), self.__location)
            except Exception:
                return None
            if not Path(path).is_file():
                return None
            return self._get_launch_description(path)
        return self.__launch_description

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """Read the description once and keep it."""
        if self.__expanded_location is None:
            self.__expanded_location = perform_substitutions(context, self.__location)
        if self.__launch_description is None:
            self.__launch_description = self._get_launch_description(self.__expanded_location)
        return self.__launch_description

    def _get_launch_description(self, location: str) -> LaunchDescription:
        raise NotImplementedError("_get_launch_description() is to be overridden")
