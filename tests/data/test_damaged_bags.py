"""What a crash leaves of a recording is read as far as it goes, and nothing is made up."""

import shutil
import sqlite3

import numpy as np
import pytest
from recorded import SECOND, mcap, ramp, write
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from mbrl_node.data.bags import BagError, read_bag
from tests.data.tasks import SPEC


def _prefix(path, whole, spec=SPEC):
    """How many transitions are left, all of them as they were."""
    found = read_bag(path, spec)
    count = len(found.records)
    part, expected = found.records.copy(), whole[:count].copy()
    part["truncated"][-1:] = expected["truncated"][-1:]  # it ends there
    assert part.tobytes() == expected.tobytes()
    return count, found.warnings


@pytest.mark.parametrize("kind", ["chunks", "zstd", "lz4", "no chunks"])
def test_a_file_that_is_cut_off_is_read_up_to_there(tmp_path, kind):
    messages = ramp(6.0)
    if kind in ("lz4", "no chunks"):
        data = mcap(messages, "lz4" if kind == "lz4" else "")
    else:
        how = CompressionMode.STORAGE if kind == "zstd" else CompressionMode.NONE
        data = write(tmp_path / "bag", messages, compression=how, flush_every=100).read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data)
    whole = read_bag(cut, SPEC).records
    counts = []
    for size in sorted({*range(9, len(data), len(data) // 40), *range(len(data) - 60, len(data))}):
        cut.write_bytes(data[:size])
        try:
            count, warnings = _prefix(cut, whole)
        except BagError as error:  # too short for one transition
            assert str(cut) in str(error)
            count, warnings = 0, ()
        if warnings:
            assert "is damaged or cut off at byte" in warnings[0]
            assert f"of {size}" in warnings[0]
            assert "s of messages were read" in warnings[0]
        else:
            assert count in (0, len(whole))
        counts.append(count)
    assert counts == sorted(counts)
    assert len(set(counts)) > (20 if kind in ("chunks", "no chunks") else 3)
    assert counts[-1] == len(whole)


def test_a_compressed_file_that_is_cut_off_is_read_up_to_there(tmp_path):
    file = write(tmp_path / "bag", ramp(60.0), compression=CompressionMode.FILE)
    spec = SPEC.with_overrides(termination=[{"of": "x", "max": 100.0}])
    whole, data = read_bag(file, spec).records, file.read_bytes()
    cut = tmp_path / file.name
    for part in (0.5, 0.3):
        cut.write_bytes(data[: int(part * len(data))])
        count, warnings = _prefix(cut, whole, spec)
        assert 0.1 < count / len(whole) < 1.0
        assert warnings[0] == f"{cut}: is cut off"
        assert warnings[1].startswith(f"{cut}: is damaged or cut off at byte ")
    cut.write_bytes(data[:100])
    with pytest.raises(BagError, match="is cut off; nothing of it can be decompressed"):
        read_bag(cut, spec)


def test_a_damaged_chunk_is_passed_over(tmp_path):
    file = write(tmp_path / "bag", ramp(8.0), compression=CompressionMode.STORAGE, flush_every=100)
    data = bytearray(file.read_bytes())
    at = -1
    for _ in range(5):  # what is compressed begins with this
        at = data.index(b"\x28\xb5\x2f\xfd", at + 1)
    data[at + 4 : at + 40] = b"\xff" * 36
    file.write_bytes(data)
    found = read_bag(file, SPEC)
    assert 100 < len(found.records) < 200
    (warning,) = found.warnings
    assert "1 damaged parts were passed over, the last at byte" in warning
    (gap,) = np.flatnonzero(np.diff(found.records["stamp"]) > SECOND // 2)
    assert found.records["truncated"][gap]


def test_zeros_at_the_end_as_after_a_power_failure_end_the_file(tmp_path):
    file = write(tmp_path / "bag", ramp(), flush_every=100)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(100_000))
    found = read_bag(file, SPEC)
    assert 20 < len(found.records) < 60
    assert "is damaged or cut off at byte" in found.warnings[0]


def test_a_damaged_first_byte_and_other_files_are_told(tmp_path):
    for name, content, words in (
        ("empty.mcap", b"", "is empty"),
        ("text.mcap", b"hello world, this is no bag", "is neither an MCAP file nor a database"),
        ("magic.mcap", b"\x89MCAP0\r\n", "has no messages"),
        ("other.db3", b"SQLite format 3\0" + bytes(84), "cannot be read as a bag"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BagError, match=words) as caught:
            read_bag(tmp_path / name, SPEC)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(BagError, match="no such file or folder"):
        read_bag(tmp_path / "nowhere", SPEC)
    (tmp_path / "folder").mkdir()
    with pytest.raises(BagError, match="has no file of a bag"):
        read_bag(tmp_path / "folder", SPEC)


def test_one_file_of_several_that_cannot_be_read_leaves_the_others(tmp_path):
    write(tmp_path / "bag", ramp())
    (tmp_path / "bag" / "bag_1.mcap").write_bytes(b"nothing")
    metadata = tmp_path / "bag" / "metadata.yaml"
    text = metadata.read_text()
    metadata.write_text(text.replace("  - bag.mcap\n", "  - bag.mcap\n  - bag_2.mcap\n"))
    found = read_bag(tmp_path / "bag", SPEC)
    assert len(found.records) > 90
    assert "metadata.yaml names bag_2.mcap, which is not there" in found.warnings[0]
    assert "bag_1.mcap: is neither" in found.warnings[1]
    metadata.write_text("rosbag2_bagfile_information: [")
    assert "metadata.yaml: cannot be read" in read_bag(tmp_path / "bag", SPEC).warnings[0]


def test_a_torn_database_is_read_as_far_as_it_goes(tmp_path):
    file = write(tmp_path / "bag", ramp(20.0), StoragePlugin.SQLITE3)
    whole, data = read_bag(file, SPEC).records, file.read_bytes()
    cut = tmp_path / "cut.db3"
    counts = []
    for part in (1.0, 0.9, 0.7, 0.5, 0.3):
        cut.write_bytes(data[: int(part * len(data)) // 4096 * 4096 + 100 * (part < 1)])
        count, warnings = _prefix(cut, whole)
        assert bool(warnings) == (part < 1)
        if warnings:
            assert "is damaged or cut off at row" in warnings[0]
        counts.append(count)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(whole) and 50 < counts[-1] < counts[1]


def test_what_a_killed_recorder_had_not_merged_yet_is_read(tmp_path):
    file = write(tmp_path / "bag", ramp(), StoragePlugin.SQLITE3)
    db = sqlite3.connect(file)
    db.execute("PRAGMA journal_mode=WAL")
    rows = db.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id").fetchall()
    db.execute("DELETE FROM messages WHERE id > 100")
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows[100:])
    db.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for path in file.parent.glob("*.db3*"):
        shutil.copy(path, killed)
    db.close()
    before = {path.name: path.read_bytes() for path in killed.iterdir()}
    found = read_bag(killed, SPEC)
    assert len(found.records) > 90
    assert {path.name: path.read_bytes() for path in killed.iterdir()} == before
