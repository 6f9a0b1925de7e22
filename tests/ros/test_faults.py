"""The table of faults, on the real nodes: see benchmarks/faults.py. The faults of a group share a
process and run in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("mbrl_msgs.msg")

from benchmarks.fault_trial import Fault
from benchmarks.faults import FAULTS, Rigs


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    it = Rigs(tmp_path_factory.mktemp("faults"))
    yield it
    it.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_leaves_the_robot_safe_and_is_recovered_from(rigs: Rigs, fault: Fault) -> None:
    outcome = rigs.try_fault(fault)
    assert outcome.ok, outcome.problem


def test_no_command_of_all_was_non_finite_or_beyond_a_limit(rigs: Rigs) -> None:
    rigs.close()
    assert rigs.commands > 0
    assert (rigs.nonfinite, rigs.unlimited, rigs.rate_violations) == (0, 0, 0)
