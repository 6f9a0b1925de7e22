"""Robots that are recorded: bags as rosbag2 writes them, and what should come of them."""

from __future__ import annotations

import struct
from collections import deque
from pathlib import Path

import lz4.frame
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from mbrl_node.control import Controller, ControllerManager, ControlLoop, Hold, Observation
from mbrl_node.data import Records, records_of
from mbrl_node.data.bags.types import own_types

SECOND = 10**9
START = 1_764_000_000 * SECOND  # when the recordings begin
STORE = own_types()
T = STORE.types
STATES, COMMANDS = "/joint_states", "/effort_controller/commands"
JOINTS = ["cart_to_pole", "slider_to_cart"]


def joint_state(state, stamp=0, names=JOINTS):
    """A cart-pole's state [4] as a message."""
    x, theta, x_dot, theta_dot = state
    return T["sensor_msgs/msg/JointState"](
        header(stamp), list(names), np.array([theta, x]), np.array([theta_dot, x_dot]), np.empty(0)
    )


def header(stamp, frame=""):
    time = T["builtin_interfaces/msg/Time"](*divmod(stamp, SECOND))
    return T["std_msgs/msg/Header"](time, frame)


def point(x, z, frame="rail"):
    """A geometry_msgs/PointStamped."""
    place = T["geometry_msgs/msg/Point"](x, 7.0, z)
    return T["geometry_msgs/msg/PointStamped"](header(0, frame), place)


def floats(*values):
    """A std_msgs/msg/Float64MultiArray."""
    layout = T["std_msgs/msg/MultiArrayLayout"]([], 0)
    return T["std_msgs/msg/Float64MultiArray"](layout, np.array(values, float))


def write(
    folder: Path,
    messages,
    storage=StoragePlugin.MCAP,
    compression=CompressionMode.NONE,
    flush_every=0,
):
    """A bag of (topic, ns, message); gives the path of its file.

    Args:
        flush_every: messages in a chunk of MCAP; 0: as many as fit.
    """
    writer = Writer(folder, version=9, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for number, (topic, time, message) in enumerate(messages, 1):
            kind = message.__msgtype__
            if (topic, kind) not in connections:
                connections[topic, kind] = writer.add_connection(topic, kind, typestore=STORE)
            data = STORE.serialize_cdr(message, kind)
            writer.write(connections[topic, kind], time, data)
            if flush_every and number % flush_every == 0:
                writer.storage.close_chunk()
    return next(path for path in folder.iterdir() if path.name != "metadata.yaml")


def mcap(messages, compression="") -> bytes:
    """An MCAP file as the specification of the format has it, with no index."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    def record(kind: int, content: bytes) -> bytes:
        return struct.pack("<BQ", kind, len(content)) + content

    parts, channels = [], {}
    for topic, time, message in messages:
        kind = message.__msgtype__
        if topic not in channels:
            number = channels[topic] = len(channels) + 1
            definition = STORE.generate_msgdef(kind, ros_version=2)[0]
            schema = struct.pack("<H", number) + text(kind) + text("ros2msg") + text(definition)
            parts.append(record(3, schema))
            channel = struct.pack("<HH", number, number) + text(topic) + text("cdr")
            parts.append(record(4, channel + struct.pack("<I", 0)))
        head = struct.pack("<HIQQ", channels[topic], 0, time, time)
        parts.append(record(5, head + bytes(STORE.serialize_cdr(message, kind))))
    data = b"".join(parts)
    if compression == "lz4":
        packed = lz4.frame.compress(data)
        head = struct.pack("<QQQI", 0, 2**62, len(data), 0) + text("lz4")
        data = record(6, head + struct.pack("<Q", len(packed)) + packed)
    magic = b"\x89MCAP0\r\n"
    header = record(1, text("ros2") + text("test"))
    return magic + header + data + record(15, bytes(4)) + record(2, bytes(20)) + magic


def ramp(seconds=4.0, names=JOINTS, stamped=True):
    """100 measurements a second of a cart that moves by 1 m/s, and commands at the control rate,
    each the number of its period: what is at any time can be told."""
    messages = []
    for k in range(round(100 * seconds)):
        time = START + k * SECOND // 100
        state = [k / 100 - 2.0, 0.5, 1.0, 0.0]
        messages.append((STATES, time, joint_state(state, time if stamped else 0, names)))
        if k % 4 == 0:
            messages.append((COMMANDS, time + SECOND // 1000, floats(k // 4 % 5)))
    return messages


class _Counting(Controller):
    def update(self, observation, last_action):
        self.count = getattr(self, "count", -1) + 1
        return np.array([self.count % 9 - 4.0])


def driven(spec, ticks=200, age=0.0, jitter=0.0, simulated=False, told=None):
    """The messages of a robot while our control loop drives it, and the loop's transitions.

    Args:
        told: targets by the tick before which they are told: topic, message, first column, values.
        age: s by which a measurement is old when it arrives.
        jitter: s by which messages are late at most, each by another time.
        simulated: stamps begin with 0, while the bag's clock is the machine's.
    """
    rng = np.random.default_rng(0)
    period, offset = round(spec.dt * SECOND), START if simulated else 0
    controllers = [_Counting("counting"), Hold("hold", spec)]
    loop = ControlLoop(spec, ControllerManager(controllers, "counting", "hold"), 7)
    messages, transitions, arrived = [], [], deque(maxlen=64)
    late = lambda: round(rng.uniform(0, jitter) * SECOND)  # noqa: E731
    for k in range(ticks):
        for part in range(4):  # measurements come four times a period
            stamp = START + k * period + part * period // 4 - offset
            state = np.array([0.2 * np.sin(k + part / 4), 0.1 * k, np.cos(k), 0.3 * part])
            comes = stamp + round(age * SECOND) + late()
            arrived.append((comes, stamp, state))
            messages.append((STATES, comes + offset, joint_state(state, stamp)))
        now = START + k * period - offset + 2 * round(jitter * SECOND)
        if told and k in told:
            topic, message, *target = told[k]
            messages.append((topic, now + offset - 5_000_000, message))
            loop.goals.tell(target[1], target[0])
        seen = [measured for measured in arrived if measured[0] <= now]
        if seen:
            _, stamp, state = max(seen, key=lambda measured: measured[1])
            sent = []
            tick = loop.tick(Observation(now, stamp, state), send=sent.append)
            messages.append((COMMANDS, now + offset + 500_000 + late(), floats(*sent[0])))
            if tick.transition:
                transitions.append(tick.transition)
    messages.sort(key=lambda message: message[1])
    dims = spec.state_dim, spec.action_dim, len(spec.target_names)
    return messages, records_of(transitions, *dims)


def comparable(records: Records) -> dict[tuple[int, int], Records]:
    """Records by their stamps, without what a bag cannot tell."""
    result = records.copy()
    for name in ("session", "sequence", "controller", "action_requested", "truncated"):
        result[name] = np.zeros((), result.dtype[name])
    result["episode"] = result["step"] = 0
    return {(int(r["stamp"]), int(r["next_stamp"])): r for r in result}
