"""What each second was like, kept for a report: the log, and one axis of time for all sessions."""

import math

import numpy as np

from mbrl_node.data import Episode, Second, Started, Timeline, TimingLog, read_timing_log


def test_what_is_written_is_read_whatever_was_torn(tmp_path):
    log = TimingLog(tmp_path)
    log.write(Started(1.5, "a machine", {"numpy": "1"}, {"model": {"history": 2}}))
    log.write(Second(1.0, 7, plan_time=0.0021, deadline_misses=3))
    log.close()
    with open(tmp_path / "timing.jsonl", "ab") as file:
        file.write(b'{"robot_time": 2.0, "ses')  # as of a learner that was killed
    log = TimingLog(tmp_path)
    log.write(Second(3.0, 7))
    log.close()
    started, seconds = read_timing_log(tmp_path)
    assert started == [Started(1.5, "a machine", {"numpy": "1"}, {"model": {"history": 2}})]
    assert [second.robot_time for second in seconds] == [1.0, 3.0]
    assert seconds[0].plan_time == 0.0021 and seconds[0].deadline_misses == 3
    assert math.isnan(seconds[1].plan_time)


def test_what_cannot_be_written_is_said_once(tmp_path, caplog):
    (tmp_path / "timing.jsonl").mkdir()
    log = TimingLog(tmp_path)
    log.write(Second(1.0))
    log.write(Second(2.0))
    assert caplog.text.count("no timing is kept") == 1


def test_a_run_without_a_log_has_no_timing(tmp_path):
    assert read_timing_log(tmp_path) == ([], [])


def test_sessions_follow_on_each_other_and_a_clock_that_is_set_back_costs_nothing():
    second = 10**9
    episodes = [
        Episode(1, 1, 5 * second, 10 * second, 125, 0.0, "truncated"),
        Episode(1, 2, 12 * second, 13 * second, 25, 0.0, ""),  # 2 s of a reset
        Episode(1, 3, 0, second, 25, 0.0, ""),  # the simulator was started anew
        Episode(2, 1, 100 * second, 104 * second, 100, 0.0, ""),
    ]
    timeline = Timeline(episodes)
    assert timeline.duration == 13.0 and timeline.sessions == {1: 0.0, 2: 9.0}
    assert [timeline.start(e) for e in episodes] == [0.0, 7.0, 8.0, 9.0]
    assert timeline.end(episodes[0]) == 5.0
    kind = [("session", "<u8"), ("episode", "<u4"), ("stamp", "<i8")]
    rows = np.array(
        [(1, 1, 6 * second), (1, 2, 12 * second), (3, 1, 0), (2, 1, 102 * second)], kind
    )
    assert np.array_equal(timeline.times(rows), [1.0, 7.0, np.nan, 11.0], equal_nan=True)
