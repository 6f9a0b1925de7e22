"""The official home of `ParameterValue` and `ParameterFile` beside `launch_ros.parameter_descriptions`."""

from ..parameter_descriptions import Parameter, ParameterFile, ParameterValue

__all__ = ["Parameter", "ParameterFile", "ParameterValue"]
