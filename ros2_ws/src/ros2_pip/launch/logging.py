"""Where the lines go: the screen and `launch.log` in a directory of its own for each launch.

The directory is made on first use below ROS_LOG_DIR, ROS_HOME/log or ~/.ros/log, as the official
package does, and `latest` beside it points to it. Loggers write `[LEVEL] [name]: text` to the
screen and the same with a time stamp to the file; the output of a process is written as it is,
behind its prefix.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

__all__ = ["get_logger", "get_output_loggers", "launch_config", "log_launch_config", "reset"]

_OUTPUT_PRESETS: dict[str, dict[str, set[str]]] = {
    "screen": {"both": {"screen"}},
    "log": {"both": {"log"}, "stderr": {"screen"}},
    "both": {"both": {"log", "screen"}},
    "own_log": {"both": {"own_log"}, "stdout": {"own_log"}, "stderr": {"own_log"}},
    "full": {
        "both": {"screen", "log", "own_log"},
        "stdout": {"own_log"},
        "stderr": {"own_log"},
    },
}


class _Handler(logging.StreamHandler[Any]):
    """Writes to a stream and is not upset when its reader has gone (`ros2 launch … | head`)."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _ScreenHandler(_Handler):
    """Looks sys.stdout up at each record, so that it may be replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


class LaunchConfig:
    """The logging of this process: directory, level and handlers."""

    def __init__(self) -> None:
        self._log_dir: str | None = None
        self._handlers: dict[tuple[str, bool], logging.Handler] = {}
        self._root = logging.getLogger("launch_stand_in")
        self._root.propagate = False
        self._root.setLevel(logging.INFO)

    @property
    def level(self) -> int:
        """The level of all launch loggers."""
        return self._root.level

    @level.setter
    def level(self, level: int) -> None:
        self._root.setLevel(level)

    @property
    def log_dir(self) -> str:
        """The directory of this launch; made when first asked for."""
        if self._log_dir is None:
            self._log_dir = _make_log_dir()
        return self._log_dir

    @log_dir.setter
    def log_dir(self, log_dir: str) -> None:
        self._log_dir = log_dir

    def get_log_file_path(self, file_name: str = "launch.log") -> str:
        """The path of a file in the log directory."""
        return os.path.join(self.log_dir, file_name)

    def handler(self, destination: str, *, raw: bool = False) -> logging.Handler:
        """The handler for `screen` or a file name; `raw` leaves level and name out."""
        key = (destination, raw)
        if key not in self._handlers:
            text = "%(message)s" if raw else "[%(levelname)s] [%(label)s]: %(message)s"
            handler: logging.Handler
            if destination == "screen":
                handler = _ScreenHandler()
            else:
                path = self.get_log_file_path(destination)
                handler = _Handler(open(path, "a", encoding="utf-8", errors="replace"))  # noqa: SIM115
                text = "%(created).7f " + text
            handler.setFormatter(logging.Formatter(text))
            self._handlers[key] = handler
        return self._handlers[key]

    def logger(self, name: str, handlers: list[logging.Handler]) -> logging.Logger:
        """The logger of this name below our own root, with exactly these handlers."""
        logger = self._root.getChild(name)
        logger.propagate = False
        logger.handlers = handlers
        return logger

    def reset(self) -> None:
        """Forget the directory and the handlers."""
        for handler in self._handlers.values():
            handler.close()
        self._handlers.clear()
        self._log_dir = None


launch_config = LaunchConfig()


def _make_log_dir() -> str:
    base = os.environ.get("ROS_LOG_DIR")
    if not base:
        base = os.path.join(os.environ.get("ROS_HOME") or os.path.join("~", ".ros"), "log")
    base = os.path.normpath(os.path.expanduser(base))
    while True:
        stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H-%M-%S-%f")
        path = os.path.join(base, f"{stamp}-{socket.gethostname()}-{os.getpid()}")
        try:
            os.makedirs(path)
            break
        except FileExistsError:
            continue
    latest = Path(base, "latest")
    with contextlib.suppress(OSError):
        if latest.is_symlink():
            latest.unlink()
        latest.symlink_to(path, target_is_directory=True)
    return path


class _LabelFilter(logging.Filter):
    """Gives records the name that the user knows the logger by."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label

    def filter(self, record: logging.LogRecord) -> bool:
        record.label = self._label
        return True


def get_logger(name: str | None = None) -> logging.Logger:
    """A logger that writes to the screen and to launch.log."""
    label = name or "root"
    handlers = [launch_config.handler("screen"), launch_config.handler("launch.log")]
    logger = launch_config.logger(f"log:{label.replace('.', '/')}", handlers)
    logger.filters = [_LabelFilter(label)]
    return logger


def get_output_loggers(
    process_name: str, output_config: str | dict[str, Any]
) -> tuple[logging.Logger, logging.Logger]:
    """The loggers for stdout and stderr of a process.

    Args:
        process_name: The name of the process, which names the files of its own.
        output_config: `screen`, `log`, `both`, `own_log`, `full`, or a dictionary from `stdout`,
            `stderr`, `both` to one
            or several of `screen`, `log`, `own_log`.

    Raises:
        ValueError: The configuration is none of these.
    """
    wanted = _normalize_output(output_config)
    name = process_name.replace(".", "/")
    loggers = []
    for source in ("stdout", "stderr"):
        handlers = []
        destinations = wanted.get("both", set()) | wanted.get(source, set())
        if "screen" in destinations:
            handlers.append(launch_config.handler("screen", raw=True))
        if "log" in destinations:
            handlers.append(launch_config.handler("launch.log", raw=True))
        if "own_log" in wanted.get("both", set()):
            handlers.append(launch_config.handler(f"{process_name}.log", raw=True))
        if "own_log" in wanted.get(source, set()):
            handlers.append(launch_config.handler(f"{process_name}-{source}.log", raw=True))
        loggers.append(launch_config.logger(f"output:{name}:{source}", handlers))
    return loggers[0], loggers[1]


def _normalize_output(config: str | dict[str, Any]) -> dict[str, set[str]]:
    if isinstance(config, str):
        if config not in _OUTPUT_PRESETS:
            raise ValueError(
                f"output='{config}' is not valid; it may be one of {', '.join(_OUTPUT_PRESETS)}"
            )
        return _OUTPUT_PRESETS[config]
    result: dict[str, set[str]] = {}
    for source, destinations in config.items():
        chosen = {destinations} if isinstance(destinations, str) else set(destinations)
        if source not in ("both", "stdout", "stderr") or chosen - {"screen", "log", "own_log"}:
            raise ValueError(
                f"output={config!r} is not valid; keys are both, stdout, stderr and values "
                "screen, log, own_log"
            )
        result[source] = chosen
    return result


def log_launch_config() -> None:
    """Log where the files are, as the first lines of a launch."""
    logger = get_logger("launch")
    logger.info(f"All log files can be found below {launch_config.log_dir}")
    level = logging.getLevelName(launch_config.level)
    logger.info(f"Default logging verbosity is set to {level}")


def reset() -> None:
    """Forget the log directory and all handlers (for tests)."""
    launch_config.reset()
