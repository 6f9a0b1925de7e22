"""`IncludeLaunchDescription`: another launch file within this one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ..action import Action
from ..launch_context import LaunchContext
from ..launch_description import LaunchDescription
from ..launch_description_entity import LaunchDescriptionEntity
from ..launch_description_source import LaunchDescriptionSource
from ..utilities import resolve
from .configuration import SetLaunchConfiguration
from .opaque_function import OpaqueFunction

_FILE_LOCALS = ("current_launch_file_path", "current_launch_file_directory")


class IncludeLaunchDescription(Action):
    """Carries out another launch file.

    As with the official package, the launch configurations that it sets stay set afterwards; a
    `GroupAction` around it keeps them in.

    Args:
        launch_description_source: The source, a `LaunchDescription`, or the path of a launch file.
        launch_arguments: Pairs of name and value (or a dictionary), set as launch configurations
            first.
    """

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | LaunchDescription | Any,
        *,
        launch_arguments: Iterable[tuple[Any, Any]] | Mapping[Any, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        source = launch_description_source
        if isinstance(source, LaunchDescription):
            source = LaunchDescriptionSource(source, "<script>")
        elif not isinstance(source, LaunchDescriptionSource):
            from ..launch_description_sources import AnyLaunchDescriptionSource

            source = AnyLaunchDescriptionSource(source)
        self.launch_description_source: LaunchDescriptionSource = source
        if isinstance(launch_arguments, Mapping):
            launch_arguments = launch_arguments.items()
        self.launch_arguments = list(launch_arguments or [])

    def describe(self) -> str:
        return f"IncludeLaunchDescription({self.launch_description_source.location})"

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        description = self.launch_description_source.try_get_launch_description_without_context()
        return [] if description is None else [description]

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        description = self.launch_description_source.get_launch_description(context)
        path = os.path.abspath(self.launch_description_source.location)
        outside = context.get_locals_as_dict()
        context.extend_locals(dict(zip(_FILE_LOCALS, (path, os.path.dirname(path)), strict=True)))

        def restore(context: LaunchContext) -> None:
            context.extend_locals({name: outside.get(name) for name in _FILE_LOCALS})

        setters = [
            SetLaunchConfiguration(resolve(context, name), value)
            for name, value in self.launch_arguments
        ]
        return [*setters, description, OpaqueFunction(function=restore)]
