"""The SQLite files that rosbag2 writes, `.db3`."""

from __future__ import annotations

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

    def __init__(self, path: Path) -> None:
        self.path, self.damage = path, Damage()

    def messages(self) -> Iterator[Message]:
        """See `Storage`."""
        if any(Path(f"{self.path}{end}").exists() for end in _BESIDE):
            # SQLite repairs a database with these, which the user's own is not to be touched for.
            with tempfile.TemporaryDirectory(prefix="mbrl-bag-") as folder:
                copy = Path(folder) / self.path.name
                for end in ("", *_BESIDE):
                    if (there := Path(f"{self.path}{end}")).exists():
                        shutil.copyfile(there, f"{copy}{end}")
                yield from self._read(f"{copy.as_uri()}")
        else:
            yield from self._read(f"{self.path.absolute().as_uri()}?immutable=1")

    def _read(self, uri: str) -> Iterator[Message]:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            try:
                # Else SQLite refuses a file that is shorter than it once was.
                db.execute("PRAGMA writable_schema=ON")
                topics = _topics(db)
            except sqlite3.DatabaseError as error:
                raise BagError(f"{self.path}: cannot be read as a bag: {error}") from error
            last = 0
            try:
                # Row by row as they were written, not by the index, which may be damaged by itself.
                rows = db.execute("SELECT id, topic_id, timestamp, data FROM messages ORDER BY id")
                for last, topic, time, data in rows:
                    if topic in topics and isinstance(data, bytes):
                        yield topics[topic], int(time), data
                    else:
                        self.damage.pass_over(f"row {last}: it is of no topic")
            except sqlite3.DatabaseError as error:
                self.damage.at = f"after row {last}: {error}"


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
