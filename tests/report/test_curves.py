"""Curves for tensorboard of a launched run."""

import struct

from tensorboardX.proto.event_pb2 import Event

from mbrl_node.data import Scalars


def curves_of(run_dir):
    """(step, value) of each curve, by name."""
    result = {}
    for path in sorted((run_dir / "tensorboard").glob("events*")):
        data = path.read_bytes()
        while data:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                result.setdefault(value.tag, []).append((event.step, value.simple_value))
    return result


def test_a_launched_run_has_curves_of_training_and_of_control(launched_run):
    curves = curves_of(launched_run.folder)
    assert set(curves) >= {
        *("model/held_out_error", "model/accepted", "model/refused", "time/train_steps_per_s"),
        *("control/rate_hz", "control/period_std_ms", "control/execution_max_ms"),
        *("control/lateness_max_ms", "control/deadline_misses", "time/plan_ms", "episode/reward"),
    }
    steps, rates = zip(*curves["control/rate_hz"], strict=True)
    assert list(steps) == sorted(steps) and min(rates) > 0
    assert 1e3 * (launched_run.moved - 3) < steps[-1] <= 1e3 * launched_run.moved  # robot time, ms
    assert curves["model/accepted"][-1][1] >= 1


def test_a_disk_that_is_full_is_said_once(tmp_path, caplog):
    (tmp_path / "tensorboard").write_text("in the way")
    scalars = Scalars(tmp_path)
    scalars.add(1, {"a": 1.0})
    scalars.add(2, {"a": 1.0})
    scalars.close()
    assert caplog.text.count("no curves for tensorboard") == 1
