"""MCAP files, read from their first byte on.

The index at the end of a file is not used: a recorder that was killed has not written it, and what
is before it is whole. https://mcap.dev/spec says what the bytes mean.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from backports import zstd
from lz4.frame import LZ4FrameDecompressor

from mbrl_node.data.bags.storage import BagError, Damage, Message, Topic

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0F
_READ = (_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK)
_HEAD = struct.Struct("<BQ")  # of a record: what it is, bytes
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, time recorded, time published
_CHUNK_HEAD = struct.Struct("<QQQI")  # first time, last time, bytes, checksum


class McapFile:
    """One `.mcap` file."""

    def __init__(self, path: Path, named: Path) -> None:
        self.named, self.damage = named, Damage()
        self._path = path
        self._schemas: dict[int, tuple[str, str, str]] = {}  # type, language, definition
        self._channels: dict[int, Topic] = {}

    def messages(self) -> Iterator[Message]:
        """See `Storage`."""
        with open(self._path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise BagError(f"{self.named}: is no MCAP file: it does not begin as one")
            yield from self._file(file, os.fstat(file.fileno()).st_size)

    def _file(self, file: BinaryIO, size: int) -> Iterator[Message]:
        """The messages of all records of the file."""
        while True:
            at = file.tell()
            head = file.read(_HEAD.size)
            kind, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
            if kind in (_DATA_END, _FOOTER):
                return
            if kind == 0:
                what = "it ends there without an end record" if at == size else "no record is there"
                self.damage.at = f"byte {at} of {size}: {what}"
                return
            whole = at + _HEAD.size + length <= size
            content = file.read(min(length, size)) if kind in _READ else b""
            if kind == _CHUNK:
                yield from self._chunk(content, whole, at)
            elif whole:
                yield from self._record(kind, content, at)
            if not whole:
                self.damage.at = f"byte {at} of {size}: the record there is cut off"
                return
            file.seek(at + _HEAD.size + length)

    def _chunk(self, content: bytes, whole: bool, at: int) -> Iterator[Message]:
        """The messages of a chunk; of one that is cut off, those before the cut."""
        try:
            _, _, size, checksum = _CHUNK_HEAD.unpack_from(content)
            compression, data = _text_and_rest(content, _CHUNK_HEAD.size)
            records = _decompress(compression, data[8:])
            if whole and len(records) != size:
                raise ValueError(f"it has {len(records)} bytes, not {size}")
            if whole and checksum and crc32(records) != checksum:
                raise ValueError("its checksum is another")
        except (ValueError, struct.error) as error:
            if whole:  # else it is told already that the file ends here
                self.damage.pass_over(f"at byte {at}: {error}")
            return
        start = 0
        while start + _HEAD.size <= len(records):
            kind, length = _HEAD.unpack_from(records, start)
            end = start + _HEAD.size + length
            if end > len(records) or kind == 0:
                break
            if kind in _READ:
                yield from self._record(kind, records[start + _HEAD.size : end], at)
            start = end
        if whole and start != len(records):
            self.damage.pass_over(f"at byte {at}: its last record is cut off")

    def _record(self, kind: int, content: bytes, at: int) -> Iterator[Message]:
        """The message that a record is, if it is one; what others tell is remembered."""
        try:
            if kind == _MESSAGE:
                channel, _, time, _ = _MESSAGE_HEAD.unpack_from(content)
                topic = self._channels.get(channel)
                if topic is None:
                    raise ValueError(f"a message is on channel {channel}, which was not told of")
                yield topic, time, content[_MESSAGE_HEAD.size :]
            elif kind == _SCHEMA:
                (number,) = struct.unpack_from("<H", content)
                name, rest = _text_and_rest(content, 2)
                language, rest = _text_and_rest(rest, 0)
                definition, _ = _text_and_rest(rest, 0)
                self._schemas[number] = name, language, definition
            elif kind == _CHANNEL:
                number, schema = struct.unpack_from("<HH", content)
                name, rest = _text_and_rest(content, 4)
                encoding, _ = _text_and_rest(rest, 0)
                of, language, definition = self._schemas.get(schema, ("", "", ""))
                self._channels[number] = Topic(name, of, encoding, definition, language)
        except (ValueError, struct.error) as error:
            self.damage.pass_over(f"at byte {at}: {error}")


def _text_and_rest(content: bytes, start: int) -> tuple[str, bytes]:
    """A text with its length before it, and what comes after it."""
    (length,) = struct.unpack_from("<I", content, start)
    end = start + 4 + length
    if end > len(content):
        raise ValueError("a text is cut off")
    return content[start + 4 : end].decode(), content[end:]


def _decompress(compression: str, data: bytes) -> bytes:
    """What can be decompressed of data that may be cut off.

    Raises:
        ValueError: nothing can, or it is not known how.
    """
    try:
        if compression == "lz4":
            return bytes(LZ4FrameDecompressor().decompress(data))
        if compression == "zstd":
            return zstd.ZstdDecompressor().decompress(data)
    except (RuntimeError, zstd.ZstdError) as error:
        raise ValueError(str(error)) from error
    if compression:
        raise ValueError(f"it is compressed by {compression!r}, which is not known here")
    return data
