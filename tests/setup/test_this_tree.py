"""The tree that these tests run from, when setup.bash has made its environment."""

import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.metadata import distributions
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv/.setup/installed").exists() or Path(sys.prefix) != ROOT / ".venv",
    reason="this is not the environment that setup.bash made",
)


def relocation() -> ModuleType:
    path = ROOT / "scripts/relocate_ros_wheels.py"
    spec = spec_from_loader(path.stem, SourceFileLoader(path.stem, str(path)))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_builders_folders_become_those_of_this_python() -> None:
    builder = "/opt/python/cp311-cp311"
    text = (
        f'"{builder}/include/python3.11;{builder}/lib/python3.11/site-packages/numpy/_core/include"'
    )
    relocated = relocation().relocated
    python, numpy = relocated(text).strip('"').split(";")
    assert (Path(python) / "Python.h").exists()
    assert (Path(numpy) / "numpy/arrayobject.h").exists()
    assert relocated(relocated(text)) == relocated(text)


def test_sourcing_it_again_is_silent_and_the_packages_are_the_right_ones(
    shell: str, real_environment: dict[str, str]
) -> None:
    script = (
        f'. "{ROOT}/setup.bash" && . "{ROOT}/setup.bash" 2>&1 && cd / && python -c "'
        "import launch, mbrl_msgs.msg, mbrl_node, rclpy, sim; "
        'print(launch.__file__, mbrl_node.__file__, rclpy.__file__, sep=chr(10))"'
    )
    result = subprocess.run(
        [shell, "-c", script], env=real_environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    launch, mbrl_node, _ = result.stdout.splitlines()  # setup.bash added no line of its own
    assert Path(launch).resolve().parent != ROOT / "launch"
    assert Path(mbrl_node).resolve() == ROOT / "mbrl_node/__init__.py"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_installed_is_pinned_in_constraints_txt() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    installed = {
        normal(found.name): found.version.split("+")[0]
        for found in distributions(
            path=[str(path) for path in (ROOT / ".venv").glob("lib/*/site-packages")]
        )
        # The wheels of ROS carry an egg-info for each of their Python packages: not PyPI's.
        if found.read_text("METADATA") is not None and found.read_text("INSTALLER") is not None
    }
    # pip comes with Python, and torch pins its own CUDA packages.
    for name in ("pip", "mbrl-node", "triton", *(n for n in installed if n.startswith("nvidia-"))):
        installed.pop(name, None)
    assert {n: v for n, v in installed.items() if pins.get(n) != v} == {}
