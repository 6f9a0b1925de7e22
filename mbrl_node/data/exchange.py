"""Data in the formats of others, for which there are libraries that not everybody needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ExchangeError(Exception):
    """Data cannot be read from, or written to, a format of others; the message says why."""


class MissingLibrary(ExchangeError):
    """A library is not installed; the message says how to install it."""


@contextmanager
def needs(*libraries: str) -> Iterator[None]:
    """Imports within are of libraries of the extra `data`.

    Raises:
        MissingLibrary: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in libraries:
            raise
        raise MissingLibrary(
            f"{name} is not installed: pip install -c constraints.txt -e '.[data]'"
        ) from error
