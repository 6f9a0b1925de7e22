"""The transitions of a bag: those that were recorded, or made from states and commands."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mbrl_node.data.bags.bag import Bag
from mbrl_node.data.bags.gather import Gathered
from mbrl_node.data.bags.resample import Resampled, resample
from mbrl_node.data.bags.storage import BagError
from mbrl_node.data.records import Records
from mbrl_node.data.store import SessionTask
from mbrl_node.spec import RobotSpec

_NOT_SIMULATED = 10**18  # ns; a clock that is beyond, in 2001, is one of the real world
_REASONS = 3  # of refused messages that are told, of each topic


@dataclass(frozen=True)
class BagContents:
    """What a bag gave for a robot."""

    records: Records
    tasks: Mapping[int, SessionTask]  # what the robot was to do, by session
    warnings: tuple[str, ...]  # what of the bag could not be read
    report: tuple[str, ...]  # lines: what was found, what was made of it, what was unusable


def read_bag(path: Path, spec: RobotSpec) -> BagContents:
    """The transitions of a bag.

    Those that a controller recorded are taken as they are, if they are of this robot. If there are
    none, they are made from the robot's topics; their session is the bag's start, so that the same
    bag always gives the same.

    Raises:
        BagError: it cannot be read, or has not what is needed; a message may have several lines.
    """
    bag = Bag(path)
    found = Gathered(bag, spec)
    if bag.start is None:
        raise BagError("\n".join((*bag.warnings, f"{path}: has no messages")))
    resampled = None
    records, tasks = found.transitions, found.tasks
    if not len(records):
        found.check()
        states = [source.samples() for source in found.states]
        targets = [source.samples() for source in found.targets]
        resampled = resample(spec, states, found.commands.samples(), targets)
        records, session = resampled.records, _session(bag.start, resampled.records)
        records["session"], tasks = session, {session: SessionTask.of(spec)}
    report = (*_topics(bag, found), *_refused(found), *_made(spec, found, records, resampled))
    return BagContents(records, tasks, tuple(bag.warnings), report)


def _session(start: int, records: Records) -> int:
    """One number for one bag. Bags on a simulated clock all begin alike; their contents do not."""
    if start > _NOT_SIMULATED or not len(records):
        return start
    digest = hashlib.sha256(records[:1].tobytes()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _topics(bag: Bag, found: Gathered) -> Iterator[str]:
    messages, topics = sum(bag.counts.values()), len({topic.name for topic in bag.counts})
    seconds = ((bag.end or 0) - (bag.start or 0)) * 1e-9
    yield f"{bag.path}: {messages} messages on {topics} topics, {seconds:.1f} s"
    uses = {topic: source.use for source in found.sources for topic in source.topics}
    rows = [
        (topic.name, topic.type, str(count), uses.get(topic, ""))
        for topic, count in sorted(bag.counts.items(), key=lambda item: item[0].name)
    ]
    width, of_type, digits = (max(len(row[i]) for row in rows) for i in range(3))
    for name, kind, count, use in rows:
        text = f"  {name:{width}}  {kind:{of_type}}  {count:>{digits}}  {use}"
        yield text.rstrip()


def _refused(found: Gathered) -> Iterator[str]:
    for source in found.sources:
        yield from _reasons(f"messages on {source.name} were refused", source.refused)
    yield from _reasons("transitions could not be read", found.damaged)
    if found.foreign:
        yield (
            f"{found.foreign} transitions are of another robot, or another version of this one: "
            "they are left out"
        )


def _reasons(what: str, reasons: Counter[str]) -> Iterator[str]:
    if total := reasons.total():
        told = "; ".join(f"{text} ({n})" for text, n in reasons.most_common(_REASONS))
        more = "; …" if len(reasons) > _REASONS else ""
        yield f"{total} {what}: {told}{more}"


def _made(
    spec: RobotSpec, found: Gathered, records: Records, resampled: Resampled | None
) -> Iterator[str]:
    episodes = len({*zip(records["session"].tolist(), records["episode"].tolist(), strict=True)})
    if resampled is None:
        yield f"{len(records)} transitions in {episodes} episodes, as they were recorded"
        for task in dict.fromkeys(found.tasks.values()):
            if not task.task and task.targets:
                yield (
                    f"there are some with {len(task.targets)} targets, where the task "
                    f"'{spec.task}' has {len(spec.target_names)}: --task names theirs"
                )
        return
    seconds = len(records) * spec.dt
    yield (
        f"{len(records)} transitions at {spec.rate:g} Hz ({seconds:.1f} s) in {episodes} episodes, "
        f"made from states and commands; {resampled.gaps} gaps"
    )
    for why, ticks in resampled.unusable.most_common():
        yield f"left out: {ticks * spec.dt:.1f} s {why}"
    yield from resampled.notes
