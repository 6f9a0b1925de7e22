"""What is wrong with a robot's file: one line a problem, `FILE: FIELD PATH: what is wrong`.

A line shows the value as it stands in the file and says what would be right.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Location = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing that is wrong, and the keys and list indices that lead to it."""

    at: Location
    text: str


class SpecError(ValueError):
    """A robot's file cannot be used. `problems` has one line for each thing that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[list[str]]]:
        return SpecError, (self.problems,)  # by default the message would be taken for the list


def line(source: str, problem: Problem) -> str:
    """The problem as the user reads it."""
    return ": ".join(part for part in (source, path(problem.at), problem.text) if part)


def path(at: Location) -> str:
    """A location as one writes it: `state[0].fields[1].name`."""
    text = ""
    for part in at:
        if isinstance(part, str) and re.fullmatch(r"[\w/-]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text


def show(value: object) -> str:
    """A value as it stands in a YAML file, on one line and not too long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}".replace("nan", ".nan").replace("inf", ".inf")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def did_you_mean(word: object, known: Sequence[str]) -> str:
    """`; did you mean 'theta'?` where a known word is near, else nothing."""
    text, by_lower = str(word).lower(), {name.lower(): name for name in known}
    near = [name for name in by_lower if _one_begins_with_the_other(name, text)]
    near = near or difflib.get_close_matches(text, list(by_lower), n=1)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""


def _one_begins_with_the_other(one: str, other: str) -> bool:
    return min(len(one), len(other)) >= 3 and (one.startswith(other) or other.startswith(one))


def from_pydantic(error: ValidationError, root: type[BaseModel]) -> Iterator[Problem]:
    """The problems that pydantic found while it built a `root`, in our words."""
    for detail in error.errors(include_url=False):
        at = detail["loc"]
        if at and at[-1] == "[key]":  # the key of a free mapping
            at, detail = at[:-1], {**detail, "type": "invalid_key"}
        if detail["type"] == "problems":  # found by a model's own check(), which says where
            for problem in detail["ctx"]["problems"]:
                yield Problem((*_resolve(root, at)[0], *problem.at), problem.text)
        else:
            yield Problem(_resolve(root, at)[0], _in_words(detail, at, root))


_NOT_A = {
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "invalid_key": "a key: keys are text",
}
_BOUNDS = {
    "greater_than": ("must be above", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be below", "lt"),
    "less_than_equal": ("must be at most", "le"),
}


def _in_words(detail: Any, at: Location, root: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return f"is missing{_description(root, at)}"
    if kind == "extra_forbidden":
        known = _keys(_model_at(root, at[:-1]))
        return f"is not a known key{did_you_mean(at[-1], known)} ({', '.join(known)})"
    if kind == "literal_error":
        known = _literals(_field(root, at).annotation)
        if len(known) == 1:
            return f"{show(value)} is not supported, only {known[0]} is"
        return f"{show(value)} is not one of {', '.join(known)}{did_you_mean(value, known)}"
    if kind == "float_type" and isinstance(value, str) and _is_number(value):
        return f"{show(value)} is text, not a number: write it without quotes"
    if kind == "float_type" and isinstance(value, int) and not isinstance(value, bool):
        return f"{show(value)} is too large"
    if kind == "finite_number":
        return f"{show(value)} is not a finite number"
    if kind == "too_short":
        return f"is an empty list{_description(root, at)}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{show(value)} {words} {show(context[key])}"
    if kind in _NOT_A:
        return f"{show(value)} is not {_NOT_A[kind]}{_description(root, at)}"
    return f"{show(value)} {detail['msg']}".replace("\n", " ")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _description(root: type[BaseModel], at: Location) -> str:
    """` (what the field is for)`; nothing for an item of a list or a value of a free mapping."""
    try:
        return f" ({_field(root, at).description})"
    except LookupError:
        return ""


def _field(root: type[BaseModel], at: Location) -> FieldInfo:
    for key, field in _model_at(root, at[:-1]).model_fields.items():
        if (field.alias or key) == at[-1]:
            return field
    raise LookupError(path(at))


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or key for key, field in model.model_fields.items()]


def _model_at(root: type[BaseModel], at: Location) -> type[BaseModel]:
    """The model that describes the mapping at a location."""
    model = _resolve(root, at)[1]
    if model is None:
        raise LookupError(path(at))
    return model


def _resolve(root: type[BaseModel], at: Location) -> tuple[Location, type[BaseModel] | None]:
    """A location of pydantic's as it is in the file, and the model of the mapping there, if any.

    Where one of several models was chosen, pydantic puts its name into the location.
    """
    plain: list[str | int] = []
    model: type[BaseModel] | None = root
    choice: dict[str | int, type[BaseModel]] = {}
    for part in at:
        if part in choice:
            model, choice = choice[part], {}
            continue
        plain.append(part)
        if isinstance(part, str):
            models = _models_in(_annotation(model, part)) if model else []
            model = models[0] if models else None
            choice = {m.__name__: m for m in models} if len(models) > 1 else {}
    return tuple(plain), model


def _annotation(model: type[BaseModel], key: str) -> Any:
    fields = model.model_fields.items()
    return next((field.annotation for name, field in fields if (field.alias or name) == key), None)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)]


def _literals(annotation: Any) -> list[str]:
    return [
        text
        for arg in get_args(annotation)
        for text in ([arg] if isinstance(arg, str) else _literals(arg))
    ]


def one_line(text: object) -> str:
    """Some text, such as an error's, without line breaks."""
    return " ".join(str(text).split())
