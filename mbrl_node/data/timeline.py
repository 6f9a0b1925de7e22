"""The robot time of a run: one axis for all of its sessions, each with a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mbrl_node.data.records import Records
from mbrl_node.data.store import Episode


class Timeline:
    """Puts episode after episode and session after session.

    What passes between two episodes of a session counts, but for a clock that was set back: a
    simulator that was started anew begins at 0 again. Between two sessions there is nothing.

    Args:
        episodes: of a run, session by session.

    Attributes:
        duration: robot time of the run, s.
        sessions: when each began, s of robot time, by session.
    """

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self.sessions: dict[int, float] = {}
        self._starts: dict[tuple[int, int], tuple[int, float]] = {}  # stamp, s of robot time
        now, before = 0.0, None
        for episode in episodes:
            if before is not None and before.session == episode.session:
                now += max(0, episode.stamp - before.end_stamp) * 1e-9
            self.sessions.setdefault(episode.session, now)
            self._starts[episode.session, episode.episode] = episode.stamp, now
            now += (episode.end_stamp - episode.stamp) * 1e-9
            before = episode
        self.duration = now

    def start(self, episode: Episode) -> float:
        """When an episode began, s of robot time."""
        return self._starts[episode.session, episode.episode][1]

    def end(self, episode: Episode) -> float:
        """When it ended, or what is stored of it does, s of robot time."""
        return self.start(episode) + (episode.end_stamp - episode.stamp) * 1e-9

    def times(self, records: Records) -> NDArray[np.float64]:
        """When each transition began, s of robot time, [N]; those of other episodes are NaN."""
        result = np.full(len(records), np.nan)
        if not len(records):
            return result
        session, episode = records["session"], records["episode"]
        changes = np.flatnonzero((session[1:] != session[:-1]) | (episode[1:] != episode[:-1])) + 1
        bounds = [0, *changes.tolist(), len(records)]
        for first, end in pairwise(bounds):
            there = self._starts.get((int(session[first]), int(episode[first])))
            if there is not None:
                stamp, start = there
                result[first:end] = start + (records["stamp"][first:end] - stamp) * 1e-9
        return result
