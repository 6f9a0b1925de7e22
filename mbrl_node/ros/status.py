"""What the controller node tells about itself, once a second."""

from __future__ import annotations

import math

from mbrl_msgs.msg import ControllerStatus

from mbrl_node.ros.diagnostics import waits


def status_line(s: ControllerStatus, robot_time: float) -> str:
    """A line for people."""
    controller = s.active_controller
    if s.failure:
        controller += f" (failed, {s.acting_controller} acts)"
    elif s.acting_controller != controller:
        controller += f" ({waits(s)}, {s.acting_controller} acts)"
    model = f"model {s.model_version}"
    if not math.isnan(s.held_out_error):
        model += f" (held-out error {100 * s.held_out_error:.1f} %)"
    if s.rollbacks:
        model += f", rollbacks {s.rollbacks}"
    rate = "no ticks" if math.isnan(s.rate) else f"{s.rate:.1f} Hz"
    if not math.isnan(s.plan_time):
        rate += f", plan {1e3 * s.plan_time:.1f} ms ({s.plan_samples} x {s.plan_iterations})"
    parts = [
        f"t {robot_time:6.1f} s",
        f"episode {s.episode} return {s.episode_return:7.1f}",
        controller,
        model,
        rate,
        f"missed {s.deadline_misses}",
    ]
    if s.trust < 1.0:
        parts.append(f"trust {100 * s.trust:.0f} %")
    if s.dry_run:
        parts.append("dry run, nothing is sent")
    if s.failure:
        parts.append(f"FALLBACK: {s.failure}")
    if s.stopped:
        parts.append("STOPPED")
    if s.safe_reason:
        parts.append(f"SAFE COMMAND: {s.safe_reason}")
    elif s.waits_for:
        parts.append(f"WAITS FOR {s.waits_for}")
    elif s.reached_in_a_row > 0:
        parts.append(f"{s.reached_in_a_row} targets reached in a row")
    elif s.held_time > 0:
        parts.append(f"goal held {s.held_time:.1f} s")
    return " | ".join(parts)
