"""`GroupAction`: several actions as one, in a scope of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..action import Action
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..utilities import resolve
from .configuration import SetLaunchConfiguration
from .opaque_function import OpaqueFunction


class GroupAction(Action):
    """Carries out several actions.

    Args:
        actions: The actions.
        scoped: Put launch configurations and environment back afterwards.
        forwarding: Let the actions see the launch configurations that are set outside.
        launch_configurations: Configurations to set for the actions.
    """

    def __init__(
        self,
        actions: Iterable[LaunchDescriptionEntity],
        *,
        scoped: bool = True,
        forwarding: bool = True,
        launch_configurations: Mapping[Any, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not scoped and not forwarding:
            raise RuntimeError("GroupAction: forwarding=False needs scoped=True")
        self.__actions = list(actions)
        self.__scoped = scoped
        self.__forwarding = forwarding
        self.__launch_configurations = dict(launch_configurations or {})

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        setters: list[LaunchDescriptionEntity] = [
            SetLaunchConfiguration(name, value)
            for name, value in self.__launch_configurations.items()
        ]
        return setters + self.__actions

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        if not self.__scoped:
            return self.get_sub_entities()

        def enter(context: LaunchContext) -> None:
            chosen = {
                resolve(context, name): resolve(context, value)
                for name, value in self.__launch_configurations.items()
            }
            context._push_launch_configurations()
            context._push_environment()
            if not self.__forwarding:
                context.launch_configurations.clear()
            context.launch_configurations.update(chosen)

        def leave(context: LaunchContext) -> None:
            context._pop_environment()
            context._pop_launch_configurations()

        return [
            OpaqueFunction(function=enter),
            *self.__actions,
            OpaqueFunction(function=leave),
        ]
