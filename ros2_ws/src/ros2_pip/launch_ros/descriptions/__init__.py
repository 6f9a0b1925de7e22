"""The other official home of `ParameterValue` and `ParameterFile`."""

from ..parameter_descriptions import Parameter, ParameterFile, ParameterValue

__all__ = ["Parameter", "ParameterFile", "ParameterValue"]
