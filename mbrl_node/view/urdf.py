"""A robot's URDF: where it is, its geometry, and how its joints move with the state.

What a real robot's description needs that yourdfpy does not do: files of packages, arguments that
xacro left, and meshes that are not there or cannot be read, which are left out.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import trimesh
import yourdfpy  # type: ignore[import-untyped]

from mbrl_node.spec import RobotSpec
from mbrl_node.spec.topics import JointStateField

log = logging.getLogger(__name__)

_OPTIONAL = re.compile(r"\$\(optenv\s+(\S+)\s*([^)]*)\)")


@dataclass(frozen=True)
class Urdf:
    """A robot's description.

    Attributes:
        model: with its meshes.
        columns: the state's column that moves a joint, by the joint's name. One of that name in a
            JointState does; where there is none, a field of the state with the joint's own name.
    """

    model: yourdfpy.URDF
    columns: dict[str, int]


def urdf_file(spec: RobotSpec) -> Path | None:
    """The URDF that a robot's file names: `display.urdf`, or `sim.urdf` if it is one; beside the
    file, or in pybullet_data. None: there is none."""
    name = spec.display.urdf if spec.display else None
    if name is None and spec.sim is not None and spec.sim.urdf.endswith(".urdf"):
        name = spec.sim.urdf
    if name is None:
        return None
    folders = [spec.path.parent] if spec.path else []
    if (data := importlib.util.find_spec("pybullet_data")) is not None:
        folders += map(Path, data.submodule_search_locations or ())
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        log.warning("%s: '%s' is neither beside the robot's file nor in pybullet_data; the robot "
                    "is not shown", spec.name, name)  # fmt: skip
    return found


def load_urdf(spec: RobotSpec, source: Path | str) -> Urdf | None:
    """A robot's description; None, with a warning: it cannot be read.

    Args:
        source: its file, or what is in it.
    """
    text = source.read_text() if isinstance(source, Path) else source
    text = _OPTIONAL.sub(lambda found: os.environ.get(found[1], found[2]), text)
    meshes = _Meshes(source.parent if isinstance(source, Path) else None)
    logging.getLogger("yourdfpy").setLevel(logging.CRITICAL)  # what it says is said below
    try:
        model = yourdfpy.URDF.load(io.BytesIO(text.encode()), filename_handler=meshes)
    except Exception as error:  # whatever somebody's file brings about
        log.warning("%s: its URDF cannot be read, so it is not shown: %s", spec.name, error)
        return None
    if meshes.left_out:
        names = ", ".join(dict.fromkeys(meshes.left_out))
        log.warning("%s: meshes that are not there or cannot be read: %s", spec.name, names)
    return Urdf(model, _columns(spec, model))


def _columns(spec: RobotSpec, model: yourdfpy.URDF) -> dict[str, int]:
    measured = {
        field.joint: column
        for column, field in enumerate(spec.state_fields)
        if isinstance(field, JointStateField) and field.value == "position"
    }
    named = {name: column for column, name in enumerate(spec.state_names)}
    return {
        name: measured.get(name, named.get(name, -1))
        for name in model.actuated_joint_names
        if name in measured or name in named
    }


class _Meshes:
    """From what a URDF calls a mesh to a file; empty where it is to be left out."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}
        self.left_out: list[str] = []

    def __call__(self, fname: str) -> str:
        if fname not in self._known:
            self._known[fname] = self._find(fname)
            if not self._known[fname]:
                self.left_out.append(fname)
        return self._known[fname]

    def _find(self, name: str) -> str:
        for path in self._candidates(name):
            if path.is_file():
                return str(path) if _readable(path) else ""
        return ""

    def _candidates(self, name: str) -> list[Path]:
        plain = re.sub(r"^(package|file|model)://", "", name)
        shares = [
            Path(p) / "share" for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if p
        ]
        paths = [share / plain for share in shares] if name.startswith("package://") else []
        paths += [Path(plain)] if Path(plain).is_absolute() else []
        if self._folder is not None:
            inside = plain.partition("/")[2]  # of a package that is not installed
            around = (self._folder, *self._folder.parents[:2])
            paths += [folder / part for part in (plain, inside) for folder in around if part]
        return paths


def _readable(path: Path) -> bool:
    try:
        return not trimesh.load_scene(path, skip_materials=True).is_empty
    except Exception as error:  # whatever a reader of meshes raises
        log.debug("%s: %s", path, error)
        return False
