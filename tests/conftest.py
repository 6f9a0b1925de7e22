"""What each test run needs: a ROS 2 graph of its own, logs out of the way, one thread for torch."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.domains import free_domain

# Set on import, before any test module can import rclpy or start a process.
if "MBRL_TEST_DOMAIN_ID" in os.environ:
    os.environ["ROS_DOMAIN_ID"] = os.environ["MBRL_TEST_DOMAIN_ID"]
else:
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_logs = tempfile.TemporaryDirectory(prefix="mbrl-test-log-")  # removed when pytest ends
os.environ["ROS_LOG_DIR"] = _logs.name

try:
    import torch
except ImportError:
    pass
else:
    torch.set_num_threads(1)


@pytest.fixture
def distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str, dict[str, str]], Path]]:
    """Makes a distribution that is installed until the test is over: its name, the text of its
    entry_points.txt, and its files; gives the folder that is on sys.path."""

    def install(name: str, entry_points: str, files: dict[str, str]) -> Path:
        folder = tmp_path / f"site-{name}"
        info = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n"}
        info["entry_points.txt"] = entry_points
        at = {f"{name.replace('-', '_')}-0.1.dist-info/{file}": text for file, text in info.items()}
        for path, text in (at | files).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)
        return folder

    yield install
    for module, loaded in list(sys.modules.items()):
        if (getattr(loaded, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[module]


@pytest.fixture
def mbrl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs a command of `mbrl` in an empty folder; its exit code, stdout and stderr. What it
    changes in its process is as before afterwards."""
    from mbrl_node import cli

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mbrl", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            assert isinstance(end.code, int)
            code = end.code
        out = capsys.readouterr()
        return code, out.out, out.err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
