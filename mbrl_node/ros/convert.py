"""Between messages and the library's own types."""

from __future__ import annotations

import numpy as np
from mbrl_msgs.msg import Event as EventMsg
from mbrl_msgs.msg import ModelUpdate as ModelUpdateMsg
from mbrl_msgs.msg import Plan as PlanMsg
from mbrl_msgs.msg import Transition as TransitionMsg

from mbrl_node.control import TimedPlan
from mbrl_node.data import Event, Transition
from mbrl_node.learning import Update
from mbrl_node.ros.stamps import from_time, to_time
from mbrl_node.spec import RobotSpec


class NotOursError(ValueError):
    """A transition is none that this robot's controller can have sent."""


def transition_to_msg(t: Transition, spec: RobotSpec, oldest: int = 0) -> TransitionMsg:
    """A transition as a message of this robot.

    Args:
        oldest: the sender can send those of the session again from this sequence number on.
    """
    return TransitionMsg(
        session=t.session,
        sequence=t.sequence,
        episode=t.episode,
        step=t.step,
        stamp=to_time(t.stamp),
        next_stamp=to_time(t.next_stamp),
        state=t.state.tolist(),
        action=t.action.tolist(),
        action_requested=t.action_requested.tolist(),
        next_state=t.next_state.tolist(),
        reward=t.reward,
        terminated=t.terminated,
        truncated=t.truncated,
        controller=t.controller,
        model_version=t.model_version,
        spec_hash=spec.hash,
        oldest=oldest,
        targets=t.targets.tolist(),
    )


def transition_from_msg(
    msg: TransitionMsg, spec: RobotSpec, target_dim: int | None = None
) -> Transition:
    """The transition in a message.

    Args:
        target_dim: how many targets its session has; None: as many as the robot's task.

    Raises:
        NotOursError: it is of another robot, or its numbers are none that a transition can have.
        ValueError: it is of the wrong size, or not finite.
    """
    if msg.spec_hash != spec.hash:
        raise NotOursError(f"it is of another robot than '{spec.name}'")
    if not (msg.session < 2**63 and msg.oldest <= msg.sequence < 2**63):
        raise NotOursError("its session and sequence numbers make no sense")
    state, next_state = np.array(msg.state), np.array(msg.next_state)
    action = np.array(msg.action)
    if state.shape != (spec.state_dim,) or next_state.shape != state.shape:
        raise ValueError(
            f"its states have {len(state)} and {len(next_state)} of {spec.state_dim} values"
        )
    requested = np.array(msg.action_requested)
    if action.shape != (spec.action_dim,) or requested.shape != action.shape:
        raise ValueError(
            f"its actions have {len(action)} and {len(requested)} of {spec.action_dim} values"
        )
    targets = np.array(msg.targets)
    target_dim = len(spec.target_names) if target_dim is None else target_dim
    if len(targets) != target_dim:
        raise ValueError(f"it has {len(targets)} targets, not {target_dim} of its session's task")
    if not all(np.isfinite(x).all() for x in (state, action, next_state, targets)):
        raise ValueError("it is not finite")
    return Transition(
        msg.session,
        msg.sequence,
        msg.episode,
        msg.step,
        from_time(msg.stamp),
        from_time(msg.next_stamp),
        state,
        action,
        requested,
        next_state,
        msg.reward,
        msg.terminated,
        msg.truncated,
        msg.controller,
        msg.model_version,
        targets,
    )


def update_to_msg(update: Update, spec: RobotSpec, now: int) -> ModelUpdateMsg:
    """The announcement of a new model."""
    return ModelUpdateMsg(
        stamp=to_time(now),
        version=update.version,
        path=str(update.path),
        spec_hash=spec.hash,
        transitions=update.transitions,
        gradient_steps=update.gradient_steps,
        train_time=update.train_time,
        held_out_error=update.held_out_error,
        horizon_error=update.horizon_error,
    )


def event_to_msg(event: Event) -> EventMsg:
    """An event as a message."""
    return EventMsg(
        stamp=to_time(event.stamp),
        session=event.session,
        sequence=event.sequence,
        robot_time=event.robot_time,
        kind=event.kind,
        subject=event.subject,
        text=event.text,
    )


def event_from_msg(msg: EventMsg) -> Event:
    """The event in a message.

    Raises:
        ValueError: its numbers are none that an event can have.
    """
    if max(msg.session, msg.sequence) >= 2**63:
        raise ValueError("its session and sequence numbers make no sense")
    return Event(
        msg.session,
        msg.sequence,
        from_time(msg.stamp),
        msg.robot_time,
        msg.kind,
        msg.subject,
        msg.text,
    )


def plan_to_msg(plan: TimedPlan, controller: str, spec: RobotSpec) -> PlanMsg:
    """A plan whose states are known, as a message."""
    assert plan.states is not None
    msg = PlanMsg(
        controller=controller,
        model_version=plan.model_version,
        dt=spec.dt,
        horizon=len(plan.actions),
        state_names=list(spec.state_names),
        action_names=list(spec.action_names),
        states=plan.states.ravel().tolist(),
        actions=plan.actions.ravel().tolist(),
        predicted_return=plan.predicted_return,
        plan_time=plan.plan_time,
    )
    if plan.effort is not None:
        msg.samples, msg.iterations = plan.effort.samples, plan.effort.iterations
    msg.header.stamp = to_time(plan.time)
    return msg
