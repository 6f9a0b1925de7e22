"""A bag of rosbag2: a folder, or one of its files; whole, or cut off by a crash."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml
from backports import zstd

from mbrl_node.data.bags.mcap import MAGIC, McapFile
from mbrl_node.data.bags.sqlite import SqliteFile
from mbrl_node.data.bags.storage import BagError, Message, Storage, Topic
from mbrl_node.data.store import SessionTask

METADATA = "metadata.yaml"
TASKS = "mbrl_tasks"  # in the metadata's custom data
_SQLITE = b"SQLite format 3\0"
_ZSTD = b"\x28\xb5\x2f\xfd"  # what a compressed file or message begins with
_STEP = 4096  # bytes that are decompressed at once; what follows damage in them is lost
_LATEST = 2**63 - 1  # ns
_FILES = ("*.mcap", "*.db3", "*.mcap.zstd", "*.db3.zstd")


class Bag:
    """All messages of a bag.

    Args:
        path: the bag's folder, or a `.mcap` or `.db3` file.

    Attributes:
        counts: how many messages each topic has, as far as they have been read.
        warnings: what is wrong with the bag, as far as it has been read.
        tasks: what the sessions of its transitions were to do, as far as its metadata tells.
        start, end: ns at which the first and the last of the messages read were recorded; None:
            there is none.

    Raises:
        BagError: there is no such bag.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[Topic] = Counter()
        self.warnings: list[str] = []
        self.tasks: dict[int, SessionTask] = {}
        self.start: int | None = None
        self.end: int | None = None
        self._files = self._found()

    def messages(self) -> Iterator[Message]:
        """All messages, file by file, as far as they can be read.

        Raises:
            BagError: nothing can be read at all.
        """
        failed: list[BagError] = []
        for path in self._files:
            try:
                with self._opened(path) as file:
                    yield from self._messages(file)
            except BagError as error:
                failed.append(error)
        if len(failed) == len(self._files):
            raise failed[0]
        self.warnings += map(str, failed)

    def _messages(self, file: Storage) -> Iterator[Message]:
        damage, first, last = file.damage, None, None
        for topic, time, data in file.messages():
            if time > _LATEST:
                damage.pass_over(f"a message on {topic.name}: its time is {time} ns")
                continue
            if data.startswith(_ZSTD):  # messages as CDR never begin so
                try:
                    data = zstd.decompress(data)
                except zstd.ZstdError as error:
                    damage.pass_over(f"a message on {topic.name}: {error}")
                    continue
            self.counts[topic] += 1
            first = time if first is None else min(time, first)
            last = time if last is None else max(time, last)
            yield topic, time, data
        if first is not None and last is not None:
            self.start = first if self.start is None else min(first, self.start)
            self.end = last if self.end is None else max(last, self.end)
            until = f"{(last - first) * 1e-9:.1f} s of messages were read"
        else:
            until = "no message was read"
        if damage.at:
            self.warnings.append(f"{file.named}: is damaged or cut off at {damage.at}; {until}")
        if damage.passed_over:
            self.warnings.append(
                f"{file.named}: {damage.passed_over} damaged parts were passed over, "
                f"the last {damage.why}"
            )

    def _found(self) -> list[Path]:
        if not self.path.exists():
            raise BagError(f"{self.path}: no such file or folder")
        if not self.path.is_dir():
            return [self.path]
        found = {file for pattern in _FILES for file in self.path.glob(pattern)}
        if not found:
            raise BagError(f"{self.path}: has no file of a bag, which is .mcap or .db3")
        self._read_metadata({path.name for path in found})
        return sorted(found, key=_order)

    def _read_metadata(self, found: set[str]) -> None:
        """Warns where the bag's own list of files is missing or tells of others."""
        path = self.path / METADATA
        try:
            metadata = yaml.safe_load(path.read_text(encoding="utf-8"))
            information = metadata["rosbag2_bagfile_information"]
            names = {Path(name).name for name in information["relative_file_paths"]}
            self.tasks = _tasks((information.get("custom_data") or {}).get(TASKS, "{}"))
        except FileNotFoundError:
            self.warnings.append(f"{self.path}: has no {METADATA}, as where a recorder was killed")
            return
        except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError):
            self.warnings.append(f"{path}: cannot be read; all files in the folder are")
            return
        for name in sorted(names - found):
            self.warnings.append(f"{self.path}: {METADATA} names {name}, which is not there")

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Storage]:
        """A file, decompressed where it has to be.

        Raises:
            BagError: it is no file of a bag.
        """
        try:
            with open(path, "rb") as file:
                begin = file.read(len(_SQLITE))
            if not begin.startswith(_ZSTD):
                yield _storage(path, path)
                return
            with tempfile.TemporaryDirectory(prefix="mbrl-bag-") as folder:
                whole = Path(folder) / path.stem
                problem = _decompress(path, whole)
                if problem and not whole.stat().st_size:
                    raise BagError(f"{path}: {problem}; nothing of it can be decompressed")
                if problem:
                    self.warnings.append(f"{path}: {problem}")
                yield _storage(whole, path)
        except OSError as error:
            raise BagError(f"{path}: cannot be read: {error.strerror or error}") from error


def tasks_as_text(tasks: Mapping[int, SessionTask]) -> str:
    """The tasks of sessions as a bag's metadata has them."""
    return json.dumps({session: [it.task, it.targets] for session, it in tasks.items()})


def _tasks(text: str) -> dict[int, SessionTask]:
    return {
        int(session): SessionTask(task, tuple(targets))
        for session, (task, targets) in json.loads(text).items()
    }


def _storage(path: Path, named: Path) -> Storage:
    """What reads a file, whose first bytes tell what it is.

    Args:
        named: what it is called in messages.
    """
    with open(path, "rb") as file:
        begin = file.read(len(_SQLITE))
    if begin.startswith(MAGIC):
        return McapFile(path, named)
    if begin == _SQLITE:
        return SqliteFile(path, named)
    what = "is neither an MCAP file nor a database of rosbag2" if begin else "is empty"
    raise BagError(f"{named}: {what}")


def _decompress(path: Path, to: Path) -> str:
    """Decompresses as far as it goes; why it went no further, if so."""
    step = zstd.ZstdDecompressor()
    with open(path, "rb") as source, open(to, "wb") as target:
        try:
            while (part := source.read(_STEP)) and not step.eof:
                target.write(step.decompress(part))
        except zstd.ZstdError as error:
            return f"is damaged: {error}"
    return "" if step.eof else "is cut off"


def _order(path: Path) -> list[tuple[int, str]]:
    """bag_2 comes before bag_10."""
    return [
        (int(part or 0), "") if part.isdigit() else (0, part)
        for part in re.split(r"(\d+)", path.name)
    ]
