"""Which of the packages that pyproject.toml names are installed, and what lacks without them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata

from mbrl_node.commands.doctor.checks import Check, Level, checkout, install

_US = "mbrl-node"
# What each extra is for; of its packages those that are for something else.
_EXTRAS: dict[str, tuple[Level, str]] = {
    "sim": ("warning", "the simulator"),
    "viz": ("warning", "plots, films, curves and the live view"),
    "data": ("warning", "bags, Parquet and Minari (mbrl import, mbrl export)"),
    "build": ("info", "the build of ros2_ws"),
    "bench": ("info", "comparing planners (benchmarks.plan)"),
    "dev": ("info", "the tests"),
}
_FOR = {
    "gymnasium[classic-control]": "the pictures of Gymnasium's own environments",
    "imageio-ffmpeg": "mbrl play",
    "matplotlib": "mbrl diagnose and mbrl report",
    "pillow": "pictures",
    "tensorboardX": "curves for tensorboard",
    "viser[urdf]": "the live view",
    "rosbags": "bags",
    "pyarrow": "Parquet, Minari",
    "minari": "Minari",
}
_NAME = re.compile(r"([A-Za-z0-9._-]+)(\[[^]]*\])?\s*([^;]*)(?:;.*?extra\s*==\s*['\"]([^'\"]+))?")


def core() -> Iterator[Check]:
    """The packages that everything needs."""
    wanted = _wanted().get("", [])
    missing, wrong = _look(wanted) if wanted else ([_US], [])
    if not (missing or wrong):
        yield Check("core packages", "ok", f"all {len(wanted)} are installed")
    if missing:
        text = f"not installed: {', '.join(missing)}"
        yield Check("core packages", "problem", text, install(_US))
    for text in wrong:
        yield Check("core packages", "problem", text, install(_US))


def extras() -> Iterator[Check]:
    """The packages that only some things need."""
    wanted = _wanted()
    for extra, (level, purpose) in _EXTRAS.items():
        missing, wrong = _look(wanted.get(extra, []))
        name, mend = f"extra {extra}", install(f"{_US}[{extra}]")
        if extra == "bench":  # which setup.bash leaves out
            mend = "pip install -c constraints.txt -e '.[bench]'" if checkout() else mend
        if not (missing or wrong):
            yield Check(
                name, "ok", f"for {purpose}: all {len(wanted.get(extra, []))} are installed"
            )
        if missing:
            some = len(missing) < len(wanted[extra])
            lost = ", ".join(_FOR.get(package, purpose) for package in missing) if some else purpose
            listed = ", ".join(missing if len(missing) < 8 else [*missing[:7], "…"])
            yield Check(name, level, f"not installed: {listed}; it is for {lost}", mend)
        for text in wrong:
            yield Check(name, "warning", text, mend)


def _wanted() -> dict[str, list[tuple[str, str]]]:
    """Package and versions, by extra; '' is what everything needs.

    As the installed distribution says, or where there is none, pyproject.toml.
    """
    try:
        lines = metadata.requires(_US) or []
    except metadata.PackageNotFoundError:
        here = checkout()
        if here is None:
            return {}
        project = tomllib.loads((here / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = list(project["dependencies"])
        for extra, packages in project["optional-dependencies"].items():
            lines += [f'{package}; extra == "{extra}"' for package in packages]
    result: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        if found := _NAME.match(line):
            name, with_, versions, extra = found.groups(default="")
            result.setdefault(extra, []).append((name + with_, versions.strip(" ()")))
    return result


def _look(wanted: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Names that are missing, and a line for each that has a version that is not wanted."""
    missing, wrong = [], []
    for package, versions in wanted:
        name = package.partition("[")[0]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(package)
            continue
        if not _fits(version, versions):
            wrong.append(f"{name} is {version}, and {versions} is wanted")
    return missing, wrong


def _fits(version: str, wanted: str) -> bool:
    """Whether a version is wanted; where nothing can compare versions, any is."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(wanted).contains(version, prereleases=True)
