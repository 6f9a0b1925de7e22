"""Transitions that no learner has stored yet, in shared memory that outlives the process.

An outbox holds the newest transitions of one session. It is a ring in a file of the system's memory
(tmpfs), so that putting one there never waits for a disk, and `kill -9` at any moment loses none: a
slot is its record and then the record's checksum, and what has no right checksum was not put. Who
uses an outbox holds a lock on its file, which ends with the process. The next process of the run
takes over what was left behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import mmap
import os
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_node.data.records import Records, record_type, records_of
from mbrl_node.data.transition import Transition
from mbrl_node.spec.robot import target_names
from mbrl_node.spec.system import System

log = logging.getLogger(__name__)

SIZE = 16 * 2**20  # bytes of an outbox
OLD = 86_400.0  # s after which an outbox is removed if its run is
RUN = "run.id"  # in the run's folder
PREFIX, SUFFIX, NEW = "mbrl-", ".outbox", ".new"
MAGIC = b"mbrlbox2"
RUN_DIR_SIZE = 4000  # bytes
SAID: Any = [
    ("magic", "S8"),
    *((name, "<u8") for name in ("spec_hash", "session", "size")),
    ("run_dir", f"S{RUN_DIR_SIZE}"),  # empty: too long
    ("run", "S16"),
    ("targets", "<u8"),  # of a transition
]
# The check is of what is said before it, and of the layout of a record without targets.
HEADER = np.dtype([*SAID, ("check", "<u8"), ("acknowledged", "<u8")])
HEADER_SIZE = 4096
CHECK_SIZE = 4  # bytes of a slot's checksum
SEQUENCE = slice(8, 16)  # bytes of a record
SLOW = "the disk may make control wait: {} is no memory, which /dev/shm and $XDG_RUNTIME_DIR are"


class OutboxError(Exception):
    """A file is no outbox that can be used; the message names it and says why."""


class Outbox:
    """The newest transitions of a session, of which a learner has acknowledged some.

    One thread puts, another one reads and acknowledges. See `open_outbox` and `left_over`.

    Args:
        system: the robot.
        session: of all its transitions.
        run_dir: that they belong to.
        folder: of the file; None: in this process's own memory, which ends with it.
        size: of the file, bytes.

    Attributes:
        capacity: how many transitions it holds.
        written: sequence number after that of the newest.
        acknowledged: the sequence number below which a learner has all.
        dropped: how many had to make room for others before they were acknowledged.

    Raises:
        OSError: there is no room, or it may not be written.
    """

    def __init__(
        self,
        system: System,
        session: int,
        run_dir: Path | None = None,
        folder: Path | None = None,
        size: int = SIZE,
    ) -> None:
        header = np.zeros((), HEADER)
        header["magic"], header["spec_hash"] = MAGIC, system.hash
        header["session"], header["size"] = session, size
        header["targets"] = targets = len(target_names(system))
        path = _absolute(run_dir) if run_dir is not None else b""
        header["run_dir"] = path if len(path) <= RUN_DIR_SIZE else b""
        header["run"] = run_of(run_dir) if run_dir is not None else b""
        header["check"] = _check_of(header, system)
        self.path: Path | None = None
        self._file: int | None = None
        if folder is None or run_dir is None:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        else:
            self.path = folder / f"{PREFIX}{_key(run_dir)}-{session}{SUFFIX}"
            self._file, memory = _create(self.path, header.tobytes(), size)
        self._start(system, session, targets, memory)

    def _start(self, system: System, session: int, targets: int, memory: mmap.mmap) -> None:
        self.session, self._memory = session, memory
        self._dims = system.state_dim, system.action_dim, targets
        self._type = record_type(*self._dims)
        self._stride = self._type.itemsize + CHECK_SIZE
        self.capacity = (len(memory) - HEADER_SIZE) // self._stride
        self._stored = np.frombuffer(memory, HEADER, 1)["acknowledged"]  # one store: never torn
        self.acknowledged = int(self._stored[0])
        self.written, self._first, self.dropped = 0, 0, 0

    @classmethod
    def taken_over(cls, path: Path, system: System) -> Outbox:
        """What another process has left behind, with any task of this robot.

        Raises:
            BlockingIOError: it is in use.
            OSError: it is not there any more, or may not be used.
            OutboxError: it is damaged, or of another robot.
        """
        file = _locked(path)
        try:
            memory = _checked(path, file, system)
        except BaseException:
            os.close(file)
            raise
        result = cls.__new__(cls)
        result.path, result._file = path, file
        header = _header(memory)
        result._start(system, int(header["session"]), int(header["targets"]), memory)
        result._find()
        return result

    def _find(self) -> None:
        """Which transitions are there?"""
        whole = filter(None, map(self._record, range(self.capacity)))
        there = np.sort([_sequence_of(record) for record in whole])
        if len(there):
            gaps = np.flatnonzero(np.diff(there) != 1)  # of a disk that was switched off
            self._first = int(there[gaps[-1] + 1 if len(gaps) else 0])
            self.written = int(there[-1]) + 1

    def _record(self, slot: int) -> bytes | None:
        """The bytes in a slot, if they are whole."""
        at = HEADER_SIZE + slot * self._stride
        data = self._memory[at : at + self._stride]
        record, check = data[:-CHECK_SIZE], data[-CHECK_SIZE:]
        return record if check != bytes(CHECK_SIZE) and check == _crc(record) else None

    @property
    def oldest(self) -> int:
        """The first sequence number that can still be read and is not acknowledged."""
        return max(self.acknowledged, self._first, self.written - self.capacity)

    def __len__(self) -> int:
        """Transitions that are not acknowledged."""
        return self.written - min(self.oldest, self.written)

    def put(self, transition: Transition) -> None:
        """Keeps the next transition; where there is no more room, instead of the oldest."""
        sequence = transition.sequence
        if sequence - self.capacity >= self.acknowledged:
            self.dropped += 1
        record = records_of([transition], *self._dims).tobytes()
        at = HEADER_SIZE + sequence % self.capacity * self._stride
        end = at + len(record)
        self._memory[at:end] = record
        self._memory[end : end + CHECK_SIZE] = _crc(record)
        self.written = sequence + 1

    def read(self, first: int, count: int) -> Records:
        """Those from a sequence number on that are still there and not acknowledged, [N], N at most
        `count`."""
        found = []
        for sequence in range(max(first, self.oldest), min(first + count, self.written)):
            record = self._record(sequence % self.capacity)
            if record is not None and _sequence_of(record) == sequence:
                found.append(record)  # else it was overwritten meanwhile
        return np.frombuffer(b"".join(found), self._type)

    def acknowledge(self, stored: int) -> None:
        """A learner has all below a sequence number."""
        stored = min(stored, self.written)
        if stored > self.acknowledged:
            self.acknowledged = self._stored[0] = stored

    def close(self) -> None:
        """Ends the use of it; removes the file if all is acknowledged."""
        if self._file is not None and self.path is not None:
            if not len(self):
                self.path.unlink(missing_ok=True)
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapping keeps the file open
            os.close(self._file)
            self._file = None


def _sequence_of(record: bytes) -> int:
    return int.from_bytes(record[SEQUENCE], "little")


class ForeignError(OutboxError):
    """An outbox is of another robot."""


def folders() -> list[Path]:
    """Where outboxes are kept, the best first; the last is on a disk."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    memory = [Path("/dev/shm"), *([Path(runtime)] if runtime else [])]
    return [*filter(Path.is_dir, memory), Path(tempfile.gettempdir())]


def open_outbox(system: System, session: int, run_dir: Path, size: int = SIZE) -> Outbox:
    """An outbox in the first folder that has room for it, or in this process's own memory."""
    *memory, disk = folders()
    for folder in (*memory, disk):
        try:
            outbox = Outbox(system, session, run_dir, folder, size)
        except OSError as error:
            log.warning("%s: no room for transitions that are on their way: %s", folder, error)
            continue
        if folder is disk:
            log.warning(SLOW.format(folder))
        return outbox
    log.warning("a kill -9 of this process will lose the transitions that are on their way")
    return Outbox(system, session, size=size)


def left_over(system: System, run_dir: Path, where: Iterable[Path] | None = None) -> list[Outbox]:
    """Takes over what processes of this run that have ended did not get rid of, the oldest first.

    What is acknowledged is removed, and so is what is a day old and of a run that is not there any
    more. What is damaged is set aside.
    """
    found: list[Outbox] = []
    for folder in dict.fromkeys(folders() if where is None else where):
        for path in sorted(folder.glob(f"{PREFIX}*{SUFFIX}*")):
            if path.suffix == NEW or not path.name.startswith(f"{PREFIX}{_key(run_dir)}-"):
                _clear_away(path)
            elif path.suffix == SUFFIX:
                found += _taken_over(path, system)
    return sorted(found, key=lambda outbox: outbox.session)


def _taken_over(path: Path, system: System) -> Iterator[Outbox]:
    try:
        outbox = Outbox.taken_over(path, system)
    except ForeignError as error:
        log.warning("passed over: %s", error)
    except OutboxError as error:
        log.warning("set aside as %s.damaged: %s", path.name, error)
        with suppress(OSError):
            path.rename(f"{path}.damaged")
    except OSError:
        pass  # in use, or not ours
    else:
        if len(outbox):
            yield outbox
        else:
            outbox.close()


def _clear_away(path: Path) -> None:
    """Removes a file that nobody will ask for any more."""
    with suppress(OSError, ValueError):
        if time.time() - path.stat().st_mtime < OLD:
            return
        file = _locked(path)
        try:
            header = _header(mmap.mmap(file, 0))
            run_dir = Path(os.fsdecode(bytes(header["run_dir"])))
            if path.suffix == NEW or (header["run_dir"] and _read(run_dir) != header["run"]):
                path.unlink()
        finally:
            os.close(file)


def _key(run_dir: Path) -> str:
    """Stands for a run in the names of files."""
    return hashlib.sha256(_absolute(run_dir) + b"\0" + run_of(run_dir)).hexdigest()[:16]


def run_of(run_dir: Path) -> bytes:
    """What tells a run from another one that was in the same folder before; made where there is
    nothing yet."""
    with suppress(OSError):  # it is there, or cannot be written: then the folder's name has to do
        run_dir.mkdir(parents=True, exist_ok=True)
        file = os.open(run_dir / RUN, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(file, os.urandom(8).hex().encode())
        os.close(file)
    return _read(run_dir)


def _read(run_dir: Path) -> bytes:
    try:
        return (run_dir / RUN).read_bytes()[:16]
    except OSError:
        return b""


def _absolute(run_dir: Path) -> bytes:
    return os.fsencode(os.path.realpath(run_dir))


def _create(path: Path, header: bytes, size: int) -> tuple[int, mmap.mmap]:
    """A file that is locked, has its header and all its room before it has its name."""
    new = path.with_name(path.name + NEW)
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.posix_fallocate(file, 0, size)  # else a write where there is no room ends the process
        # All pages now, so that none has to be fetched while control waits.
        memory = mmap.mmap(file, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        memory[: len(header)] = header
        new.rename(path)
    except BaseException:
        os.close(file)
        new.unlink(missing_ok=True)
        raise
    return file, memory


def _locked(path: Path) -> int:
    """An outbox's file, locked.

    Raises:
        OSError: it is in use, of another user, or not there any more.
    """
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(file)
        if found.st_uid != os.geteuid() or found.st_ino != path.stat().st_ino:
            raise PermissionError(f"{path}: is not ours")
    except OSError:
        os.close(file)
        raise
    return file


def _checked(path: Path, file: int, system: System) -> mmap.mmap:
    """What is in a file, if it is an outbox of this robot.

    Raises:
        OutboxError: it is not.
    """
    try:
        memory = mmap.mmap(file, 0)
        header = _header(memory)
    except ValueError:  # too short for a header
        raise OutboxError(f"{path}: is cut off") from None
    magic = bytes(header["magic"])
    if magic != MAGIC and magic[:-1] == MAGIC[:-1]:
        text = "is of another version of mbrl: its transitions are not sent again"
        raise OutboxError(f"{path}: {text}")
    if magic == MAGIC and int(header["spec_hash"]) != system.hash:
        raise ForeignError(f"{path}: is of another robot than '{system.name}'")
    if int(header["check"]) != _check_of(header, system) or int(header["size"]) != len(memory):
        raise OutboxError(f"{path}: is damaged, or of another version of mbrl")
    return memory


def _header(memory: mmap.mmap) -> np.void:
    """Of an outbox.

    Raises:
        ValueError: there is none.
    """
    header: np.void = np.frombuffer(memory[:HEADER_SIZE], HEADER, 1)[0]
    return header


def _check_of(header: NDArray[Any] | np.void, system: System) -> int:
    """What a header's checksum has to be."""
    said = header.tobytes()[: np.dtype(SAID).itemsize]
    layout = record_type(system.state_dim, system.action_dim).descr
    return zlib.crc32(json.dumps(layout).encode(), zlib.crc32(said))


def _crc(record: bytes) -> bytes:
    """A record's checksum; not 0, which is in a slot that was never used."""
    return (zlib.crc32(record) or 1).to_bytes(CHECK_SIZE, "little")
