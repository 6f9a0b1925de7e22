"""The SQLite files that rosbag2 writes, `.db3`."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mbrl_node.data.bags.storage import BagError, Damage, Message, Topic

_BESIDE = ("-wal", "-journal")  # what a recorder that was killed leaves


class SqliteFile:
    """One `.db3` file, which is not changed."""

    def __init__(self, path: Path, named: Path) -> None:
        self.named, self.damage = named, Damage()
        self._path = path

    def messages(self) -> Iterator[Message]:
        """See `Storage`."""
        beside = [end for end in _BESIDE if Path(f"{self._path}{end}").exists()]
        cut_off = self._path.stat().st_size % self._page_size()
        if not beside and not cut_off:
            yield from self._read(f"{self._path.absolute().as_uri()}?immutable=1")
            return
        # SQLite repairs a database with what is beside it, and takes what is missing of a page for
        # zeros: it gets a copy of its own, of whole pages.
        with tempfile.TemporaryDirectory(prefix="mbrl-bag-") as folder:
            copy = Path(folder) / self._path.name
            for end in ("", *beside):
                shutil.copyfile(f"{self._path}{end}", f"{copy}{end}")
            os.truncate(copy, copy.stat().st_size - cut_off)
            yield from self._read(copy.as_uri())

    def _page_size(self) -> int:
        with open(self._path, "rb") as file:
            size = int.from_bytes(file.read(18)[16:], "big")
        return 65536 if size == 1 else max(1, size)

    def _read(self, uri: str) -> Iterator[Message]:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            try:
                # Else SQLite refuses a file that is shorter than it once was.
                db.execute("PRAGMA writable_schema=ON")
                topics = _topics(db)
            except sqlite3.DatabaseError as error:
                raise BagError(f"{self.named}: cannot be read as a bag: {error}") from error
            count = 0
            try:
                # As they were written, and not by the index, which may be damaged by itself.
                rows = db.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id")
                for count, (topic, time, data) in enumerate(rows, 1):
                    if topic in topics and isinstance(data, bytes):
                        yield topics[topic], int(time), data
                    else:
                        self.damage.pass_over(f"in row {count}: it is of no topic")
            except sqlite3.DatabaseError as error:
                self.damage.at = f"row {count + 1}: {error}"


def _topics(db: sqlite3.Connection) -> dict[int, Topic]:
    """The topics by the number they have in the file."""
    definitions = {}
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
        rows = db.execute(
            "SELECT topic_type, encoded_message_definition, encoding FROM message_definitions"
        )
        definitions = {kind: (definition, language) for kind, definition, language in rows}
    rows = db.execute("SELECT id, name, type, serialization_format FROM topics")
    return {
        number: Topic(name, kind, encoding, *definitions.get(kind, ("", "")))
        for number, name, kind, encoding in rows
    }
