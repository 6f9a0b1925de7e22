"""What the page says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mbrl_node.view.texts import BAD, GOOD, OFF, WARN, Happening, events_html, mood

STATUS = {
    "stopped": False,
    "safe_reason": "",
    "waits_for": "",
    "failure": "",
    "acting_controller": "mppi",
    "active_controller": "mppi",
}
STOPPED = {"stopped": True, "safe_reason": "emergency stop"}


@pytest.mark.parametrize(
    ("changes", "age", "words", "colour"),
    [
        ({}, 1.0, "mppi acts", GOOD),
        ({}, 9.0, "controller does not answer", OFF),
        (STOPPED, 1.0, "STOPPED: emergency stop", BAD),
        (STOPPED, 9.0, "controller does not answer", OFF),
        ({"safe_reason": "no state"}, 1.0, "safe command: no state", WARN),
        ({"waits_for": "an operator's go (~/go)"}, 1.0, "waits for an operator's go (~/go)", WARN),
        ({"failure": "it raised", "acting_controller": "hold"}, 1.0, "hold acts: it raised", WARN),
        ({"acting_controller": "random"}, 1.0, "random acts, until mppi can", WARN),
    ],
)
def test_the_line_on_top_says_the_worst(changes, age, words, colour):
    assert mood(SimpleNamespace(**{**STATUS, **changes}), age) == (words, colour)


def test_what_an_event_says_is_text_and_no_part_of_the_page():
    html = events_html([Happening(0.0, "problem", "<img src=x onerror=alert(1)>")])
    assert "<img" not in html and "&lt;img src=x" in html
