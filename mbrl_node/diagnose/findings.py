"""What the numbers of a diagnosis mean: a verdict on each check, and what to change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mbrl_node.learning.delay import NEWEST
from mbrl_node.learning.diagnostics import Calibration, Diagnosis, Judgement

Level = Literal["good", "fair", "poor", "unknown"]

USABLE = 0.3  # of the states' standard deviation: an error up to this serves a planner


@dataclass(frozen=True)
class Finding:
    """On one check. `change` names keys of the configuration."""

    check: str
    title: str
    level: Level
    verdict: str
    basis: str  # the data that the verdict rests on
    look_for: str
    change: str
    figures: tuple[str, ...]  # names of PNG files, without the ending


def verdicts(d: Diagnosis) -> list[Finding]:
    """A verdict on each check, in the order of the report."""
    return [check(d) for check in CHECKS]


def _basis(d: Diagnosis, judgement: Judgement) -> str:
    if judgement.unseen:
        newest = "the newest" if judgement.version == d.facts.newest else f"of {d.facts.newest}"
        return (
            f"version {judgement.version} ({newest}) on {judgement.rows} transitions that it had "
            "not seen"
        )
    return (
        f"version {judgement.version} on the {judgement.rows} transitions that it was trained on, "
        "for want of others: flattering"
    )


def number(value: float) -> str:
    """For people: three digits."""
    return f"{value:.3g}" if math.isfinite(value) else "-"


def percent(value: float) -> str:
    """For people, of a part of one."""
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:.1f} %" if abs(value) < 0.1 else f"{100 * value:.0f} %"


def _one_step(d: Diagnosis) -> Finding:
    step = d.judged.one_step
    worst = int(np.argmax(step.relative))
    name, unit = d.facts.fields[worst], d.facts.units[worst]
    size = f"{number(step.rmse[worst])} {unit}".strip()
    verdict = (
        f"One step ahead the error is {percent(step.relative_all)} of the usual change; "
        f"{name} is worst with {percent(step.relative[worst])} ({size})"
    )
    if abs(step.bias[worst]) > 0.7 * step.rmse[worst] and step.relative[worst] > 0.05:
        verdict += ", mostly a constant offset"
    level: Level = "good" if step.relative_all < 0.1 else "fair"
    if step.relative_all > 0.5 or step.relative[worst] > 0.8:
        level = "poor"
    return Finding(
        "one_step",
        "One-step error",
        level,
        verdict + ".",
        _basis(d, d.judged),
        "Short bars. 100 % is as good as always predicting the mean change. One bar much longer "
        "than the rest: that field is not understood; unseen much longer than seen: overfitted, "
        "or the robot went where it had not been.",
        "One field stands out: look at its sensor first (noise, a wrong sign or unit); if it "
        "lags behind, set model.history to 2 or 3. All are long: more learner.gradient_steps or "
        "a wider model.hidden. Unseen is far worse than seen: raise trainer.weight_decay, lower "
        "learner.gradient_steps, or explore more.",
        ("one_step",),
    )


def _trend(d: Diagnosis) -> Finding:
    trend = d.trend
    level: Level = "unknown"
    if math.isnan(trend.late_change):
        verdict = f"Too few versions ({len(trend.versions)}) to see a trend."
    else:
        last = float(np.median(trend.held_out_error[-(len(trend.versions) // 3) :]))
        if trend.late_change < -0.15:
            level, course = "good", f"still fell by {percent(-trend.late_change)}"
        elif trend.late_change < 0.25 or last < 0.1:
            level, course = "good" if last < 0.1 else "fair", "no longer fell"
        else:
            level, course = "poor", f"rose by {percent(trend.late_change)}"
        verdict = f"In the last third of the run the held-out error {course}; now {percent(last)}."
    return Finding(
        "trend",
        "Course of the error",
        level,
        verdict,
        f"{len(trend.versions)} versions, each on what came right after it (held out); of those "
        f"that are left, the {len(trend.kept)} that have not seen the last {trend.rows} "
        "transitions, on these",
        "A curve that falls. Held-out points jump where the robot comes to new places; the line "
        "of the kept versions is measured on the same data throughout and does not.",
        "Still falling: let it run longer, or raise learner.gradient_steps. Flat and high: more "
        "data of the same kind will not help; widen model.hidden, look back with model.history, "
        "or lower trainer.learning_rate. Rising: try learner.refit.",
        ("trend",),
    )


def _horizon(d: Diagnosis) -> Finding:
    horizon = d.judged.horizon
    level: Level = "unknown"
    if horizon is None:
        verdict = "There are no two steps in a row to predict."
    else:
        error = np.array(horizon.relative_all)
        good = np.cumprod((error < USABLE) & (error <= np.array(horizon.stays_all))).astype(bool)
        until = horizon.seconds[int(good.sum()) - 1] if good[0] else 0.0
        end = horizon.seconds[-1]
        worst = int(np.argmax([field[-1] for field in horizon.relative]))
        level = "good" if good.all() else "fair" if until >= 0.5 * end else "poor"
        verdict = (
            f"Predictions serve for {'all of the ' if good.all() else ''}{until:.2g} s "
            f"(error below {percent(USABLE)} of the states' spread, and better than 'nothing "
            f"changes'); after {end:.2g} s it is {percent(error[-1])}, worst in "
            f"{d.facts.fields[worst]}."
        )
    return Finding(
        "horizon",
        "Error against horizon",
        level,
        verdict,
        _basis(d, d.judged) + _rolled(d),
        "Curves well below the dashed one of 'the state stays' over the whole horizon of the "
        "planner. A bend upwards: small errors feed on themselves. Chaotic motion, such as a "
        "swinging pole near upright, must grow.",
        "Plan no further than predictions serve (mppi.horizon), or train on longer ones: "
        "trainer.loss_horizon 3 to 5. A curve that starts high: see the one-step error.",
        ("horizon",),
    )


def _rolled(d: Diagnosis) -> str:
    horizon = d.judged.horizon
    return "" if horizon is None else f"; {horizon.starts} rollouts over recorded actions"


def _judge_coverage(calibration: Calibration) -> tuple[Level, str]:
    half, most = (calibration.observed_all[calibration.levels.index(p)] for p in (0.5, 0.9))
    said = f"50 % intervals hold {percent(half)} of what happened, 90 % ones {percent(most)}"
    allowed = max(0.05, 2 * calibration.by_chance)
    if calibration.error < allowed:
        return "good", f"{said}: honest"
    if calibration.bias < -0.5 * calibration.error:
        return ("fair" if calibration.error < 0.15 else "poor"), f"{said}: too sure of itself"
    if calibration.bias > 0.5 * calibration.error:
        return "fair", f"{said}: too cautious"
    level: Level = "fair" if calibration.error < 0.15 else "poor"
    return level, f"{said}: some fields too sure, some too cautious"


def _calibration(d: Diagnosis) -> Finding:
    calibration = d.judged.calibration
    level: Level = "unknown"
    if calibration is None:
        verdict = "One network without a variance gives no intervals (model.probabilistic)."
    else:
        level, said = _judge_coverage(calibration)
        verdict = (
            f"One step ahead {said}; calibration error {number(calibration.error)}, where a "
            f"perfect model would show {number(calibration.by_chance)}."
        )
    return Finding(
        "calibration",
        "Calibration, one step",
        level,
        verdict,
        _basis(d, d.judged),
        "Curves on the diagonal. Below it the model is too sure of itself, and a planner trusts "
        "it where it should not; above it the model is too cautious, which costs little.",
        "Too sure: it learns the noise of few data by heart: raise model.members or "
        "trainer.weight_decay, lower learner.gradient_steps, set trainer.beta to 1; until then "
        "raise rollout.deviation. Too cautious: lower trainer.beta to 0.5 or 0, and leave "
        "rollout.aleatoric off.",
        ("calibration",),
    )


def _calibration_horizon(d: Diagnosis) -> Finding:
    horizon = d.judged.horizon
    level: Level = "unknown"
    if horizon is None or horizon.calibration is None:
        verdict = "There are no rollouts that draw particles."
    else:
        level, said = _judge_coverage(horizon.calibration[-1])
        verdict = (
            f"After {horizon.seconds[-1]:.2g} s {said}; calibration error "
            f"{number(horizon.calibration[-1].error)}."
        )
    return Finding(
        "calibration_horizon",
        "Calibration against horizon",
        level,
        verdict,
        _basis(d, d.judged) + "; particles stay with their member (TS∞) and draw its noise",
        "Each curve on the dashed line of its colour. One that falls away with time: the "
        "uncertainty grows slower than the error.",
        "Falling away: raise model.members and rollout.deviation, let members differ more "
        "(trainer.batches: bootstrap), or train on longer predictions (trainer.loss_horizon). "
        "Above: plans are more timid than need be; lower rollout.deviation.",
        ("calibration_horizon",),
    )


def _spread(d: Diagnosis) -> Finding:
    spread = d.judged.spread
    level: Level = "unknown"
    if spread is None:
        verdict = "The model is a single network: there is no spread (model.members)."
    elif math.isnan(spread.correlation.spearman):
        verdict = "There is too little data, or the spread is the same everywhere."
    else:
        found = spread.correlation
        level = "good" if found.low > 0.3 else "fair" if found.low > 0 else "poor"
        means = {
            "good": "the members disagree where they are wrong",
            "fair": "spread tells a little of the error",
            "poor": "spread does not tell where the model is wrong",
        }[level]
        verdict = (
            f"Rank correlation of spread and error {found.spearman:.2f} "
            f"({found.low:.2f} … {found.high:.2f}): {means}."
        )
    return Finding(
        "spread",
        "Ensemble spread against error",
        level,
        verdict,
        _basis(d, d.judged),
        "Large dots that rise along the dashed diagonal. Flat dots: the members agree on the "
        "same mistake. Dots above the diagonal: they are further off than they disagree.",
        "Rising: rollout.deviation and rollout.disagreement keep plans where the model is right. "
        "Flat: those two steer by nothing, set them to 0, or make the members differ: more "
        "model.members, trainer.batches: bootstrap.",
        ("spread",),
    )


def _mismatch(d: Diagnosis) -> Finding:
    mismatch = d.mismatch
    found, unit = mismatch.correlation, mismatch.unit
    loss = "NLL" if mismatch.likelihood else "squared error"
    level: Level = "unknown"
    if found.pairs < 8 or math.isnan(found.spearman):
        verdict = (
            f"Too little data: {found.pairs} {unit}s in which a version of known {loss} acted; 8 "
            "are the least."
        )
    else:
        level, means = "fair", f"whether {loss} serves the task is not clear"
        if found.high < 0:
            level, means = "good", f"a lower {loss} came with more reward"
        elif found.low > 0:
            level, means = "poor", f"a lower {loss} came with LESS reward: objective mismatch"
        verdict = (
            f"Rank correlation of {loss} and reward {found.spearman:.2f} ({found.low:.2f} … "
            f"{found.high:.2f}) over {found.pairs} {unit}s: {means}."
        )
    each = "episodes" if unit == "episode" else "spans of 1 s, since there are few episodes"
    return Finding(
        "mismatch",
        f"{loss} against reward",
        level,
        verdict,
        f"{found.pairs} {each}; the {loss} of each version is held out: measured on what came "
        "after it",
        "Points that fall from the upper left to the lower right. Points of one colour (time) at "
        "many heights are phases of the task, such as a swing-up, not the model's doing.",
        "No fall: do not choose models by likelihood; choose by return, weight the data towards "
        "where the robot should go (learning.trajectory_weights, arXiv 2002.04523), or train on "
        "longer predictions (trainer.loss_horizon). If rewards stay low whatever the model, the "
        "planner is at fault: mppi.samples, mppi.horizon.",
        ("mismatch",),
    )


def _returns(d: Diagnosis) -> Finding:
    returns = d.judged.returns
    level: Level = "unknown"
    if returns is None:
        verdict = "There are no rollouts with a reward."
    else:
        part = returns.rmse / returns.realised_std if returns.realised_std > 0 else math.inf
        r, bias = returns.correlation.pearson, returns.bias
        level = "good" if part < 0.3 else "fair" if part < 0.8 else "poor"
        much = f"{number(abs(bias))} too {'much' if bias > 0 else 'little'}"
        verdict = (
            f"The return over {returns.steps} steps is predicted with an error of "
            f"{percent(part)} of its spread (correlation {number(r)}); on average it promises "
            f"{much}, where returns differ by {number(returns.realised_std)}."
        )
    return Finding(
        "returns",
        "Predicted against realised return",
        level,
        verdict,
        _basis(d, d.judged) + _rolled(d),
        "Points on the diagonal: then the planner ranks its candidates by what they are worth. "
        "Points above it: promises that are not kept.",
        "Above: raise rollout.deviation, or weigh the worst particles (rollout.tail 0.2). Below: "
        "lower rollout.deviation. Scattered: plan less far (mppi.horizon) or train on longer "
        "predictions (trainer.loss_horizon). Where the reward is learned, it may be the one that "
        "is wrong.",
        ("returns",),
    )


def _state_map(d: Diagnosis) -> Finding:
    found = d.state_map
    level: Level = "unknown"
    if found is None:
        verdict = "The state has fewer than two fields to draw a map of."
    else:
        ratio = found.worst_error / found.usual_error if found.usual_error > 0 else 1.0
        level = "good" if ratio < 4 else "fair" if ratio < 12 else "poor"
        places = " and ".join(
            f"{name} {number(low)} … {number(high)}"
            for name, (low, high) in zip(found.fields, found.worst, strict=True)
        )
        why = "" if math.isnan(found.sparse) else ", in places with much data as in others"
        if found.sparse < -0.3:
            why = "; errors are largest where data is sparse"
        elif found.sparse > 0.3:
            why = "; errors are largest where there is much data"
        verdict = (
            f"It fails most at {places} ({found.worst_count} transitions): {number(ratio)} times "
            f"the usual error{why}."
        )
    return Finding(
        "state_map",
        "Where the data lies and where the model fails",
        level,
        verdict,
        f"version {d.facts.newest} on all {d.facts.learned_from} transitions, most of which it "
        "was trained on: compare places, not sizes. The two fields are those that tell most "
        "about the error",
        "Data where the task needs it, and an error that is the same everywhere there. Dark "
        "places of the error map that are light in the data map want data; ones that are dark in "
        "both want another model.",
        "Sparse places: explore there (the random controller for longer: learner.min_transitions; "
        "a lower rollout.deviation or rollout.disagreement). Places with much data: friction, "
        "contact or a delay that it cannot represent: a wider model.hidden, model.history 2 or 3.",
        ("density", "error_map"),
    )


def _delay(d: Diagnosis) -> Finding:
    found = d.delay
    level: Level = "unknown"
    if found is None:
        verdict = (
            "The actions do not tell when they take effect: they are few, hardly change, or follow "
            "from the state."
        )
    else:
        level = "good" if found.lag == 0 else "poor"
        assumed = 1e3 * found.assumed * found.period
        verdict = (
            f"Commands take effect {number(1e3 * found.seconds)} ms after they are sent; "
            f"{number(assumed)} ms are assumed, which is the nearest whole period."
        )
        if found.correction:
            verdict = (
                f"{found.correction[0].upper()}{found.correction[1:]}. Linear predictions of one "
                f"step are {number(found.ratio)} times better with it."
            )
    return Finding(
        "delay",
        "Delay of commands",
        level,
        verdict,
        "changes of the state, regressed on the state and on the commands of each period before; "
        f"at most the newest {NEWEST} transitions",
        "The delay that the robot's file has. With another, transitions name actions that were not "
        "in effect, and plans begin in a state that is not the one they will act in.",
        "Set action.delay in the robot's file and begin a new run: the old one paired states with "
        "the wrong actions. Where there is no file, model.history must reach back as far. What is "
        "left of a period cannot be made up for, but by a higher rate.",
        (),
    )


CHECKS: tuple[Callable[[Diagnosis], Finding], ...] = (
    _one_step,
    _trend,
    _horizon,
    _calibration,
    _calibration_horizon,
    _spread,
    _mismatch,
    _returns,
    _state_map,
    _delay,
)
