"""Types of arguments that take text, a substitution, or several to be joined."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .substitution import Substitution

SomeSubstitutionsType = str | Path | Substitution | Iterable[str | Path | Substitution]
SomeSubstitutionsType_types_tuple = (str, Path, Substitution, Iterable)
