"""Actions that set something for all nodes that follow in their scope."""

from __future__ import annotations

from typing import Any

from launch import Action, LaunchContext
from launch.utilities import resolve

from ..parameter_descriptions import Parameter, ParameterFile, ParameterValue
from ..utilities import prefix_namespace

NAMESPACE, PARAMETERS, REMAPS = "ros_namespace", "global_params", "ros_remaps"


def _extend(context: LaunchContext, name: str, item: Any) -> None:
    """Append to a list among the configurations, but leave that of the outer scope alone."""
    context.launch_configurations[name] = [*context.launch_configurations.get(name, []), item]


class SetParameter(Action):
    """Sets a parameter of all nodes that follow."""

    def __init__(self, name: Any, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        typed = isinstance(value, ParameterValue)
        self.parameter = Parameter(
            name,
            value.value if typed else value,
            value_type=value.value_type if typed else None,
        )

    def execute(self, context: LaunchContext) -> None:
        _extend(context, PARAMETERS, dict([self.parameter.evaluate(context)]))


class SetUseSimTime(SetParameter):
    """Sets `use_sim_time` of all nodes that follow."""

    def __init__(self, value: Any, **kwargs: Any) -> None:
        super().__init__("use_sim_time", value, **kwargs)


class SetParametersFromFile(Action):
    """Hands a parameter file to all nodes that follow."""

    def __init__(self, filename: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filename = filename

    def execute(self, context: LaunchContext) -> None:
        _extend(context, PARAMETERS, ParameterFile(resolve(context, self.filename)))


class SetRemap(Action):
    """Remaps a name in all nodes that follow."""

    def __init__(self, src: Any, dst: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.src, self.dst = src, dst

    def execute(self, context: LaunchContext) -> None:
        _extend(context, REMAPS, (resolve(context, self.src), resolve(context, self.dst)))


class PushROSNamespace(Action):
    """Puts all nodes that follow into a namespace; a relative one is below the present one."""

    def __init__(self, namespace: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace

    def execute(self, context: LaunchContext) -> None:
        namespace = prefix_namespace(
            context.launch_configurations.get(NAMESPACE), resolve(context, self.namespace)
        )
        if namespace is not None:
            context.launch_configurations[NAMESPACE] = "/" + namespace.strip("/")


PushRosNamespace = PushROSNamespace
