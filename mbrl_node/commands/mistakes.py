"""What is wrong with a command line, as one sentence, in the place of tyro's boxes.

tyro tells what it found through a hook that may change with its version; where it has changed,
tyro's own box is what is seen.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mbrl_node.commands.errors import CommandError

Commands = Mapping[str, Callable[..., None]]


@contextlib.contextmanager
def as_sentences(commands: Commands, words: Sequence[str]) -> Iterator[None]:
    """Within it, tyro's complaints about the words of a command line are CommandErrors."""

    def tell(event: Any) -> None:
        sentence = ""
        with contextlib.suppress(Exception):  # another tyro than this was written for
            sentence = _sentence(event, commands, words)
        if sentence:
            raise CommandError(sentence)

    try:
        from tyro._errors import on_parse_error
    except ImportError:
        yield
        return
    with on_parse_error(tell):
        yield


def _sentence(event: Any, commands: Commands, words: Sequence[str]) -> str:
    """What is wrong; empty: it is not known how to say it."""
    from mbrl_node.spec.errors import did_you_mean

    first = words[0] if words else ""
    if first not in commands:
        hint = did_you_mean(first, list(commands))
        return f"{first!r} is no command{hint or '; `mbrl --help` lists them'}"
    help_ = f"`mbrl {first} --help` explains"
    kind = type(event).__name__
    if kind == "MissingArgs":
        missing = [context.arg for context in event.missing_arguments]
        return f"{first} needs {' and '.join(map(_named, missing))}; {help_} it"
    if kind == "UnrecognizedArgs":
        token = event.tokens[0]
        if not token.startswith("-"):
            return f"{first} does not know what to do with {token!r}; {help_} its options"
        hint = did_you_mean(token, _flags(commands[first]))
        return f"{token} is no option of {first}{hint or f'; {help_} its options'}"
    if kind == "InvalidChoice":
        choices = ", ".join(sorted(choice for choice in event.choices if choice != "None"))
        return f"{_named(event.argument)}: {event.value!r} is none of {choices}"
    if kind == "BadValue":
        return f"{_named(event.argument)} needs a value; {help_} it"
    if kind == "InstantiationFailure" and event.argument is not None:
        value = re.findall(r"'([^']*)'", event.message)[-1]
        whole = "int" in str(event.argument.field.type_stripped)
        what = "a whole number" if whole else "a number"
        return f"{_named(event.argument)}: {value!r} is not {what}"
    return ""


def _named(argument: Any) -> str:
    """An option as it is written, a positional argument as the help calls it."""
    lowered = argument.lowered
    return str(lowered.metavar if argument.is_positional() else lowered.name_or_flags[-1])


def _flags(command: Callable[..., None]) -> list[str]:
    """Of the options of a command; the names of its parameters tell them."""
    names = inspect.signature(command).parameters
    return [f"--{name.strip('_').replace('_', '-')}" for name in names]
