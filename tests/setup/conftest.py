"""A clone of what setup.bash needs, with stand-ins for Python and the compilers."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
STUB_PYTHON = Path(__file__).parent / "stub_python.bash"
COMMANDS = """
    awk bash cat chmod cp cut dash df dirname env find flock grep head mkdir rm sed sha256sum sleep
    sort tail uname xargs zsh
""".split()  # noqa: SIM905


@dataclass
class Clone:
    """A clone whose Python, pip and colcon are stand-ins; `PATH` holds what Debian always has."""

    root: Path
    bin: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> list[str]:
        """What was asked of the stand-in for Python so far, one line a call."""
        path = Path(self.environment["CALLS"])
        return path.read_text().splitlines() if path.exists() else []

    def count(self, what: str) -> int:
        return sum(what in call for call in self.calls)

    @property
    def pip_runs(self) -> int:
        return self.count("-m pip install")

    @property
    def colcon_runs(self) -> int:
        return self.count("colcon build")

    def add_command(self, name: str, text: str = "") -> Path:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text or "#!/usr/bin/env bash\n")
        path.chmod(0o755)
        return path

    def add_python(self, name: str) -> Path:
        return self.add_command(name, STUB_PYTHON.read_text())

    def run(
        self, script: str, *, shell: str = "bash", cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `script`, in which $ROOT is the clone."""
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        options = {"zsh": ["--no-rcs"], "bash": ["--norc"]}.get(shell, [])
        return subprocess.run(
            [shutil.which(shell) or shell, *options, "-c", script],
            env={**self.environment, "ROOT": str(self.root), **environment},
            cwd=cwd or self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def source(
        self, *, shell: str = "bash", then: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Sources setup.bash; the return code is its."""
        script = f'. "$ROOT/setup.bash"; rc=$?; {then or ":"}; exit $rc'
        return self.run(script, shell=shell, **environment)


def copy_setup_files(root: Path) -> None:
    for name in ("setup.bash", "pyproject.toml", "constraints.txt", "setup.py"):
        shutil.copy(REPOSITORY / name, root / name)
    shutil.copytree(
        REPOSITORY / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    native = "mbrl_node/planning/native"
    shutil.copytree(
        REPOSITORY / native, root / native, ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    for folder in ("ros2_ws/src/mbrl_msgs/msg", "ros2_ws/src/mbrl", "launch", "config/robots"):
        (root / folder).mkdir(parents=True)
    (root / "ros2_ws/src/mbrl_msgs/package.xml").write_text("<package/>")
    (root / "ros2_ws/src/mbrl_msgs/msg/Plan.msg").write_text("float64 x\n")
    (root / "launch/bringup.launch.py").write_text("")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    root = tmp_path / "clone"
    root.mkdir()
    copy_setup_files(root)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in COMMANDS:
        if path := shutil.which(name):
            (bin_folder / name).symlink_to(path)
    made = Clone(
        root,
        bin_folder,
        {"PATH": str(bin_folder), "HOME": str(tmp_path), "CALLS": str(tmp_path / "calls")},
    )
    made.add_python("python3.11")
    made.add_command("g++")
    made.add_command("cc")
    # The tests are not about this machine's disk.
    made.add_command("df", df_that_says(kib_free=50_000_000))
    return made


def df_that_says(kib_free: int) -> str:
    return f"#!/usr/bin/env bash\necho header\necho /dev/vda 90000000 1 {kib_free} 1% /\n"


@pytest.fixture
def low_disk_df() -> str:
    return df_that_says(kib_free=1_000_000)


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def real_environment() -> dict[str, str]:
    """This process's environment less what an earlier setup.bash put there."""
    kept = ("HOME", "PATH", "TERM", "LANG", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    ours = str(REPOSITORY)
    environment["PATH"] = ":".join(
        entry for entry in environment["PATH"].split(":") if not entry.startswith(ours)
    )
    return environment
