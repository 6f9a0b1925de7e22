"""Between messages and the library's own types."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from mbrl_msgs.msg import ModelUpdate as ModelUpdateMsg
from mbrl_msgs.msg import Plan as PlanMsg
from mbrl_msgs.msg import Transition as TransitionMsg

from mbrl_node.control import TimedPlan
from mbrl_node.data import Transition
from mbrl_node.learning import Update
from mbrl_node.spec import RobotSpec


def to_time(ns: int) -> Time:
    """A message's stamp from ns."""
    return Time(sec=ns // 10**9, nanosec=ns % 10**9)


def from_time(stamp: Time) -> int:
    """ns from a message's stamp."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def transition_to_msg(t: Transition, spec: RobotSpec) -> TransitionMsg:
    """A transition as a message of this robot."""
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
    )


def transition_from_msg(msg: TransitionMsg, spec: RobotSpec) -> Transition:
    """The transition in a message.

    Raises:
        ValueError: it is of another robot, of the wrong size, or not finite.
    """
    if msg.spec_hash != spec.hash:
        raise ValueError(f"it is of another robot than '{spec.name}'")
    state, next_state = np.array(msg.state), np.array(msg.next_state)
    action = np.array(msg.action)
    if state.shape != (spec.state_dim,) or next_state.shape != state.shape:
        raise ValueError(
            f"its states have {len(state)} and {len(next_state)} of {spec.state_dim} values"
        )
    if action.shape != (spec.action_dim,):
        raise ValueError(f"its action has {len(action)} of {spec.action_dim} values")
    if not all(np.isfinite(x).all() for x in (state, action, next_state)):
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
        np.array(msg.action_requested),
        next_state,
        msg.reward,
        msg.terminated,
        msg.truncated,
        msg.controller,
        msg.model_version,
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
