"""`Node`: a process that is a ROS node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from launch import LaunchContext, LaunchDescriptionEntity
from launch.actions import ExecuteProcess
from launch.utilities import normalize_to_list_of_substitutions, resolve

from ..substitutions import ExecutableInPackage
from ..utilities import evaluate_parameters, make_namespace_absolute, prefix_namespace
from .defaults import NAMESPACE, PARAMETERS, REMAPS

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NAMESPACE = re.compile(r"/([A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*)?\Z")


class Node(ExecuteProcess):
    """Runs an executable of a package as a node.

    Args:
        executable: The executable, in `lib/<package>` of the package; a path or one on PATH without
            a package.
        package: The package.
        name: The name of the node; its own by default.
        namespace: The namespace; relative ones are below that of `PushROSNamespace`.
        exec_name: The name for the output prefix; that of the executable by default.
        parameters: A list of dictionaries (they may be nested), parameter files, and
            `ParameterFile`.
        remappings: Pairs of the name in the node and the name outside.
        ros_arguments: More ROS arguments, such as `--log-level debug`.
        arguments: More arguments.
        **kwargs: As for `ExecuteProcess`.
    """

    def __init__(
        self,
        *,
        executable: Any,
        package: Any = None,
        name: Any = None,
        namespace: Any = None,
        exec_name: Any = None,
        parameters: Iterable[Any] | None = None,
        remappings: Iterable[tuple[Any, Any]] | None = None,
        ros_arguments: Iterable[Any] | None = None,
        arguments: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(parameters, (str, Mapping)):
            raise TypeError(f"Node: parameters is a list, got {parameters!r}")
        program: Any = executable if package is None else ExecutableInPackage(executable, package)
        cmd = [program, *(arguments or ())]
        ros_arguments = list(ros_arguments or ())
        if ros_arguments:
            cmd += ["--ros-args", *ros_arguments, "--"]
        super().__init__(cmd=cmd, name=exec_name, **kwargs)
        self.node_package = package
        self.node_executable = executable
        self.__node_name = name
        self.__node_namespace = namespace
        self.__parameters = list(parameters or ())
        self.__remappings = list(remappings or ())
        self.__full_name: str | None = None

    @property
    def node_name(self) -> str:
        """The full name; known once the action is executed.

        Raises:
            RuntimeError: It is not yet.
        """
        if self.__full_name is None:
            raise RuntimeError("node_name is known once the node is started")
        return self.__full_name

    @property
    def expanded_node_name(self) -> str:
        """The name without the namespace."""
        return self.node_name.rsplit("/", 1)[1]

    @property
    def expanded_node_namespace(self) -> str:
        """The namespace."""
        return self.node_name.rsplit("/", 1)[0] or "/"

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if not context.is_shutdown and self.__full_name is None:
            ros_args = self._ros_args(context)
            self.cmd += [normalize_to_list_of_substitutions(arg) for arg in ros_args]
        return super().execute(context)

    def _ros_args(self, context: LaunchContext) -> list[str]:
        args = ["--ros-args"]
        configurations = context.launch_configurations
        name = None
        if self.__node_name is not None:
            name = resolve(context, self.__node_name)
            if not _NAME.match(name):
                raise RuntimeError(
                    f"node name '{name}' is not valid: letters, digits and _, no digit first"
                )
            args += ["-r", f"__node:={name}"]
        own = None if self.__node_namespace is None else resolve(context, self.__node_namespace)
        namespace = prefix_namespace(configurations.get(NAMESPACE), own)
        if namespace is not None:
            namespace = make_namespace_absolute(namespace)
            if not _NAMESPACE.match(namespace):
                raise RuntimeError(f"namespace '{namespace}' of a node is not valid")
            args += ["-r", f"__ns:={namespace}"]
        self.__full_name = f"{(namespace or '').rstrip('/')}/{name or '<node_name_unspecified>'}"
        parameters = [*configurations.get(PARAMETERS, []), *self.__parameters]
        try:
            for path in evaluate_parameters(context, parameters):
                args += ["--params-file", str(path)]
        except RuntimeError as error:
            label = name or resolve(context, self.node_executable)
            raise RuntimeError(f"node '{label}': {error}") from None
        for source, target in [*configurations.get(REMAPS, []), *self.__remappings]:
            args += ["-r", f"{resolve(context, source)}:={resolve(context, target)}"]
        return args


class LifecycleNode(Node):
    """A managed node; it is started, its transitions are left to others.

    Args:
        name: The name of the node.
        namespace: Its namespace.
        autostart: Not supported here: `ros2 lifecycle set` does it.
        **kwargs: As for `Node`.
    """

    def __init__(
        self, *, name: Any, namespace: Any, autostart: bool = False, **kwargs: Any
    ) -> None:
        if autostart:
            raise RuntimeError(
                "LifecycleNode(autostart=True) needs the official launch_ros package; "
                "here use `ros2 lifecycle set`"
            )
        super().__init__(name=name, namespace=namespace, **kwargs)
