"""`ros2 param`: the parameters of nodes."""

from __future__ import annotations

import argparse
from typing import Any

import yaml
from rcl_interfaces.msg import Parameter, ParameterType
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
)
from rclpy.node import Node
from rclpy.parameter import get_parameter_value, parameter_value_to_python

from .. import graph
from ..cli import Failure, add_subverbs

LABELS = {
    ParameterType.PARAMETER_BOOL: ("boolean", "Boolean value is:"),
    ParameterType.PARAMETER_INTEGER: ("integer", "Integer value is:"),
    ParameterType.PARAMETER_DOUBLE: ("double", "Double value is:"),
    ParameterType.PARAMETER_STRING: ("string", "String value is:"),
    ParameterType.PARAMETER_BYTE_ARRAY: ("byte array", "Byte values are:"),
    ParameterType.PARAMETER_BOOL_ARRAY: ("boolean array", "Boolean values are:"),
    ParameterType.PARAMETER_INTEGER_ARRAY: ("integer array", "Integer values are:"),
    ParameterType.PARAMETER_DOUBLE_ARRAY: ("double array", "Double values are:"),
    ParameterType.PARAMETER_STRING_ARRAY: ("string array", "String values are:"),
    ParameterType.PARAMETER_NOT_SET: ("not set", "Parameter not set."),
}
"""For each type its name, and what `param get` says before the value."""


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `ros2 param`."""
    verbs = add_subverbs(parser)
    verb = verbs.add_parser("list", help="Output a list of available parameters")
    verb.add_argument("node_name", nargs="?", help="Name of the ROS node (all by default)")
    verb.add_argument(
        "--include-hidden-nodes", action="store_true", help="Consider hidden nodes as well"
    )
    verb.add_argument(
        "--param-prefixes",
        nargs="+",
        default=[],
        help="Only list parameters with the provided prefixes",
    )
    verb.add_argument(
        "--param-type", action="store_true", help="Print parameter types with parameter names"
    )
    verb.set_defaults(main=list_parameters)

    verb = _add_verb(verbs, "get", "Get parameter", get)
    verb.add_argument("parameter_name", help="Name of the parameter")
    verb.add_argument("--hide-type", action="store_true", help="Hide the type information")

    verb = _add_verb(verbs, "set", "Set parameter", set_parameter)
    verb.add_argument("parameter_name", help="Name of the parameter")
    verb.add_argument("value", help="Value of the parameter, in YAML format")

    verb = _add_verb(verbs, "describe", "Show information about declared parameters", describe)
    verb.add_argument("parameter_names", nargs="+", help="Names of the parameters")

    _add_verb(verbs, "dump", "Show all of the parameters of a node in a YAML file format", dump)


def _add_verb(verbs: Any, name: str, text: str, main: Any) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    verb.add_argument("node_name", help="Name of the ROS node")
    verb.add_argument(
        "--include-hidden-nodes", action="store_true", help="Consider hidden nodes as well"
    )
    verb.set_defaults(main=main)
    return verb


def list_parameters(args: argparse.Namespace) -> None:
    """Print the names of the parameters of one node or of all."""
    with graph.cli_node() as node:
        if args.node_name:
            names = [graph.find_node(node, args.node_name)]
        else:
            graph.settle(node)
            services = dict(node.get_service_names_and_types())
            names = [
                name
                for name in dict.fromkeys(graph.node_names(node))
                if f"{name}/list_parameters" in services
                and (args.include_hidden_nodes or not graph.is_hidden(name))
            ]
        for name in names:
            request = ListParameters.Request(prefixes=args.param_prefixes)
            response = graph.call(node, ListParameters, f"{name}/list_parameters", request)
            parameters = sorted(response.result.names)
            if not args.node_name:
                print(f"{name}:")
            types = _types(node, name, parameters) if args.param_type else None
            for index, parameter in enumerate(parameters):
                print(f"  {parameter}" + (f" (type: {types[index]})" if types else ""))


def _types(node: Node, name: str, parameters: list[str]) -> list[str]:
    request = GetParameterTypes.Request(names=parameters)
    response = graph.call(node, GetParameterTypes, f"{name}/get_parameter_types", request)
    return [LABELS[number][0] for number in response.types]


def _get_values(node: Node, name: str, parameters: list[str]) -> list[Any]:
    request = GetParameters.Request(names=parameters)
    return list(graph.call(node, GetParameters, f"{name}/get_parameters", request).values)


def get(args: argparse.Namespace) -> None:
    """Print the value of a parameter.

    Raises:
        Failure: There is no such node or parameter.
    """
    with graph.cli_node() as node:
        name = graph.find_node(node, args.node_name)
        values = _get_values(node, name, [args.parameter_name])
    if not values:
        raise Failure("Parameter not set")
    value = parameter_value_to_python(values[0])
    value = list(value) if values[0].type >= ParameterType.PARAMETER_BYTE_ARRAY else value
    label = LABELS[values[0].type][1]
    if args.hide_type:
        print(value)
    elif value is None:
        print(label)
    else:
        print(label, value)


def set_parameter(args: argparse.Namespace) -> None:
    """Set a parameter.

    Raises:
        Failure: There is no such node, or it refuses the value.
    """
    with graph.cli_node() as node:
        name = graph.find_node(node, args.node_name)
        parameter = Parameter(name=args.parameter_name, value=get_parameter_value(args.value))
        request = SetParameters.Request(parameters=[parameter])
        response = graph.call(node, SetParameters, f"{name}/set_parameters", request)
    result = response.results[0]
    reason = f": {result.reason}" if result.reason else ""
    if not result.successful:
        raise Failure(f"Setting parameter failed{reason}")
    print(f"Set parameter successful{reason}")


def describe(args: argparse.Namespace) -> None:
    """Print types, descriptions and constraints of parameters.

    Raises:
        Failure: There is no such node or parameter.
    """
    with graph.cli_node() as node:
        name = graph.find_node(node, args.node_name)
        request = DescribeParameters.Request(names=args.parameter_names)
        response = graph.call(node, DescribeParameters, f"{name}/describe_parameters", request)
    if len(response.descriptors) != len(args.parameter_names):
        raise Failure(f"Parameter not set: {', '.join(args.parameter_names)}")
    for descriptor in response.descriptors:
        print("Parameter name:", descriptor.name)
        print("  Type:", LABELS[descriptor.type][0])
        if descriptor.description:
            print("  Description:", descriptor.description)
        print("  Constraints:")
        if descriptor.read_only:
            print("    Read only: true")
        for limits in [*descriptor.floating_point_range, *descriptor.integer_range][:1]:
            print("    Min value:", limits.from_value)
            print("    Max value:", limits.to_value)
            if limits.step:
                print("    Step:", limits.step)
        if descriptor.additional_constraints:
            print("    Additional constraints:", descriptor.additional_constraints)


def dump(args: argparse.Namespace) -> None:
    """Print all parameters of a node as a parameter file."""
    with graph.cli_node() as node:
        name = graph.find_node(node, args.node_name)
        response = graph.call(
            node, ListParameters, f"{name}/list_parameters", ListParameters.Request()
        )
        names = sorted(response.result.names)
        values = _get_values(node, name, names)
    tree: dict[str, Any] = {}
    for parameter, value in zip(names, values, strict=True):
        *path, leaf = parameter.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        plain = parameter_value_to_python(value)
        branch[leaf] = list(plain) if value.type >= ParameterType.PARAMETER_BYTE_ARRAY else plain
    print(yaml.dump({name: {"ros__parameters": tree}}, default_flow_style=False))
