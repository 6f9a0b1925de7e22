"""Which transitions are drawn how often: all, the recent and the surprising ones.

Also tells when the robot is no longer what it was: an *era* is the time since then.
"""

from __future__ import annotations

import math
from collections import deque

import torch
from torch import Tensor

# Parts of the draws: any row of this era, the newest ones, those predicted worst, earlier eras.
ANY, RECENT, SURPRISING, EARLIER = 0.5, 0.24, 0.24, 0.02
WORST = 100.0  # square error
LOOKS = 20  # updates that are lately
RISEN = 2.5  # times the least of them
LEAST_ERROR = 0.05  # below it nothing is surprising: as good as the best models get


class Priorities:
    """Weights of the rows of a replay buffer, and the errors they come from.

    Args:
        recent: rows that count as recent.
    """

    def __init__(self, recent: int) -> None:
        self._recent = recent
        self._errors = torch.empty(0)  # square error of each row when it was last looked at, [N]
        self._old: deque[float] = deque(maxlen=LOOKS)  # errors on older data, lately
        self.era = 0  # its first row

    def begin_era(self, row: int) -> None:
        """From this row on the robot is another."""
        self.era = row
        self._old.clear()

    def note(self, rows: Tensor, errors: Tensor) -> None:
        """The square errors [K] of the model in use on some rows [K], see
        `DynamicsModel.square_errors`."""
        if (missing := int(rows.max()) + 1 - len(self._errors)) > 0:
            self._errors = torch.cat((self._errors, torch.full((missing,), math.nan)))
        self._errors[rows] = _bounded(errors)

    def weights(self, size: int, aside: Tensor) -> Tensor:
        """How often each row is drawn, [N]; 0 where it is set aside."""
        era = torch.arange(size) >= self.era
        usable = ~aside
        newest = torch.zeros(size, dtype=torch.bool)
        newest[-self._recent :] = True
        errors = torch.full((size,), math.nan)
        known = min(size, len(self._errors))
        errors[:known] = self._errors[:known]
        errors = errors.nan_to_num(nan=float(errors.nanmean().nan_to_num(1.0)))
        # One sensor's glitch must not be all that is looked at.
        errors = errors.clamp(max=float(errors.kthvalue(max(1, round(0.95 * size))).values))
        result = torch.zeros(size)
        for part, rows in (
            (ANY, era & usable),
            (RECENT, era & newest & usable),
            (SURPRISING, (era & usable) * errors.sqrt()),
            (EARLIER, ~era & usable),
        ):
            total = float(rows.sum())
            if total > 0:
                result += part / total * rows
        return result

    def look_back(self) -> float:
        """RMS error on the older half of the era, as each row was last looked at; NaN: unknown. To
        be asked once an update."""
        old = self._errors[self.era : (self.era + len(self._errors)) // 2 + 1]
        error = float(old.nanmean().sqrt()) if len(old) else math.nan
        if math.isfinite(error):
            self._old.append(error)
        return error

    @property
    def contradiction(self) -> bool:
        """Whether the error on older data has risen lately: no model can learn the new and keep
        the old. What is merely new does not do that."""
        least = max(min(self._old, default=math.inf), LEAST_ERROR / 10)
        return bool(self._old) and self._old[-1] > RISEN * least


class Surprise:
    """Compares the errors on what came lately with those that were usual before.

    Args:
        recent: rows that are taken together to compare.
    """

    def __init__(self, recent: int) -> None:
        self._recent = recent
        self._lately: deque[float] = deque(maxlen=recent)  # square errors
        self._before: deque[float] = deque(maxlen=20 * recent)

    def note(self, errors: Tensor) -> None:
        """Square errors [K] of the model in use on rows that it has not learned from, in order."""
        for error in _bounded(errors).tolist():
            if len(self._lately) == self._recent:
                self._before.append(self._lately[0])
            self._lately.append(error)

    @property
    def value(self) -> float:
        """The RMS error lately over the usual one; NaN: too little is known."""
        if len(self._lately) < self._recent or len(self._before) < 4 * self._recent:
            return math.nan
        lately = math.sqrt(sum(self._lately) / len(self._lately))
        before = sorted(
            sum(chunk) / len(chunk) for chunk in _chunks(list(self._before), self._recent)
        )
        usual = math.sqrt(before[3 * len(before) // 4])
        return lately / max(usual, LEAST_ERROR)

    def forget(self) -> None:
        """What was usual is so no more."""
        self._lately.clear()
        self._before.clear()


def _bounded(errors: Tensor) -> Tensor:
    return errors.detach().cpu().nan_to_num(nan=WORST).clamp(max=WORST)


def _chunks(values: list[float], size: int) -> list[list[float]]:
    return [values[k : k + size] for k in range(0, len(values) - size + 1, size)]
