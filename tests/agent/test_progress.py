import io
import math
from dataclasses import replace

from rich.console import Console

from mbrl_node.agent import Progress, ProgressDisplay

NOW = Progress(200, 6000, 1, -1178.25, -1178.25, 10, 0.0741, 512.3, 0.0093, 75.0)


def told(progress, terminal):
    out = io.StringIO()
    with ProgressDisplay(Console(file=out, force_terminal=terminal, width=60)) as display:
        for now in progress:
            display.update(now)
    return out.getvalue()


def test_where_there_is_no_terminal_each_episode_is_one_plain_line():
    steps = [replace(NOW, steps=199, episodes=0), NOW, replace(NOW, steps=201)]
    assert told(steps, terminal=False) == (
        "step 200/6000  episode 1  return -1178.2  last 10: -1178.2  model 10  error 0.074  "
        "512 training steps/s  plan 9.3 ms  1:15\n"
    )


def test_on_a_terminal_there_is_a_line_that_is_up_to_date():
    text = told([replace(NOW, steps=7, episodes=0), replace(NOW, steps=8, episodes=0)], True)
    assert "step 8/6000" in text


def test_what_is_not_known_yet_is_a_dash():
    text = str(replace(NOW, last_return=math.nan, held_out_error=math.nan))
    assert "return –  " in text
    assert "error –  " in text
