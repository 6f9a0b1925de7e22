"""`mbrl report`: of a launched run, of one of the library, and where there is nothing to tell."""

import json
import math
import re
import shutil
import sqlite3
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from mbrl_node.data import Event, RunStore, Transition, Version, records_of
from mbrl_node.report import ReportError, report
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")
HUSKY = load_spec("husky")
SECTIONS = ["learning", "model", "faults", "timing", "data", "configuration"]


class Page(HTMLParser):
    """Which tags are open at the end, what would be loaded, headings' sections, and all text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.addresses, self.ids, self.text = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag == "img":
            self.images.append(attributes["alt"])
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(path):
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and page.ids == SECTIONS
    assert all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"url\(|@import|<script|<link", text)
    return page


def write_run(folder, spec, states, targets=None, reward=0.5):
    """A run whose robot was in these states, one after the other, in one episode."""
    period = round(spec.dt * 1e9)
    store = RunStore(folder / "transitions.db", spec)
    n, m, t = spec.state_dim, spec.action_dim, len(spec.target_fields)
    rows = [
        Transition(
            *(1_700_000_000 * 10**9, k, 1, k, 10**9 + k * period, 10**9 + (k + 1) * period),
            *(np.array(a), np.zeros(m), np.zeros(m), np.array(b)),
            *(reward, False, False, "mppi", 1),
            np.array(targets[k] if targets else [0.0] * t),
        )
        for k, (a, b) in enumerate(pairwise(states))
    ]
    store.add(records_of(rows, n, m, t))
    return store


def test_the_report_of_a_launched_run_tells_all_of_it(launched_run):
    told = report(launched_run.folder, SPEC)
    assert told["robot_time"] == launched_run.moved and told["task"] == "swing_up"
    assert told["sessions"] == 1 and told["plan_time"] > 0 and told["period_std"] > 0
    page = page_of(launched_run.folder / "report.html")
    assert "Histogram of the control period" in page.images
    assert "Histogram of lateness" in page.images and "Reward over robot time" in page.images
    for text in (" ".join(told["story"]), "the period is to be 40 ms", "numpy", '"history": 2'):
        assert text in page.text
    assert f"{told['versions']['accepted']} / {told['versions']['refused']}" in page.text


def test_a_run_is_reported_while_it_goes_on(launched_run):
    assert 0 < launched_run.during["robot_time"] < launched_run.moved
    assert launched_run.during["versions"]["accepted"] >= 1


def test_the_report_of_a_run_of_the_library(library_run, mbrl):
    code, out, err = mbrl("report", library_run, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["robot_time"] == pytest.approx(120 * SPEC.dt) and len(told["returns"]) >= 1
    page = page_of(library_run / "report.html")
    assert "waits for the agent" in page.text and "run.json of mbrl train" in page.text
    assert "a <run> & more" in page.text and "Return of each episode" in page.images
    assert "Histogram of the time that a plan takes" in page.images
    assert "Histogram of lateness" not in page.images

    code, out, _ = mbrl("report", library_run, "--output", "other.html")
    assert code == 0 and out.startswith("cartpole, task swing_up, moved for 4.8 s")
    assert out.endswith("written: other.html\n")


def test_when_the_goal_was_held_is_worked_out_from_the_states(tmp_path):
    hangs, stands = [0.0, math.pi, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0]
    write_run(tmp_path, SPEC, [hangs] * 50 + [stands] * 20 + [hangs] * 5 + [stands] * 140).close()
    told = report(tmp_path, SPEC)
    assert told["solved_at"] == pytest.approx(75 * SPEC.dt)
    assert "after 3.0 s of robot time, and held the goal for 5.6 s" in told["story"][1]

    write_run(tmp_path / "not", SPEC, [hangs] * 50 + [stands] * 20).close()
    told = report(tmp_path / "not", SPEC)
    assert told["solved_at"] is None
    assert "held the goal for 0.8 s at most, and 5 s are wanted" in told["story"][1]


def test_targets_are_counted_that_were_reached_and_given_up(tmp_path):
    here, there = [0.0] * 5, [2.0, 0.0, 0.0, 0.0, 0.0]
    states = [here] * 10 + [there] * 30 + [here]  # 1 s, 3 s
    aims = [[0.0, 0.0]] * 10 + [[2.0, 0.0]] * 10 + [[9.0, 9.0]] * 10 + [[2.0, 0.1]] * 10
    write_run(tmp_path, HUSKY, states, aims).close()
    told = report(tmp_path, HUSKY)
    assert told["targets_reached"] == 3 and told["solved_at"] is None
    assert "It reached 3 targets and gave 1 up." in told["story"][1]
    assert "Targets reached over robot time" in page_of(tmp_path / "report.html").images


def test_faults_and_the_reasons_of_refusals_are_told(tmp_path):
    store = write_run(tmp_path, SPEC, [[0.0] * 4] * 100)
    for number, state, reason in (
        (1, "accepted", "warm update"),
        (2, "refused", "warm update: states 0.5 s ahead: error 0.3, 0.1 of the model in use"),
        (3, "refused", "warm update: states 0.5 s ahead: error 0.4, 0.2 of the model in use"),
        (4, "rolled back", "it predicted the last second 3.0 times worse"),
    ):
        metrics = {"held_out_error": 0.1, "horizon_error": math.nan}
        store.add_version(Version(number, number - 1, 0, 20 * number, state, reason, metrics))
    session = 1_700_000_000 * 10**9
    store.add_events(
        [
            Event(session, 0, session, 1.0, "stop", "", "stopped: an operator asked for it"),
            Event(session, 1, session, 2.0, "stop", "", "released: an operator asked for it"),
            Event(session, 2, session, 3.0, "fallback", "mppi", "'mppi' does not act: <late>"),
        ]
    )
    store.close()
    told = report(tmp_path, SPEC)
    assert told["versions"] == {"accepted": 1, "refused": 2, "rolled back": 1}
    assert {k: v for k, v in told["faults"].items() if v} == {"Stops": 1, "Fallbacks": 1}
    text = page_of(tmp_path / "report.html").text
    assert "refused2warm update: states 0.5 s ahead: error 0.4, 0.2" in text
    assert "'mppi' does not act: <late>" in text and "stops (1), fallbacks (1)" in text


def test_a_run_of_an_unknown_robot_is_reported_as_far_as_it_goes(tmp_path, mbrl):
    write_run(tmp_path, SPEC, [[0.0] * 4] * 10).close()
    with sqlite3.connect(tmp_path / "transitions.db") as db:
        db.execute("UPDATE run SET robot = 'gone'")
    code, out, _ = mbrl("report", tmp_path)
    assert code == 0 and "Whether it came to its goal is not known" in out
    assert "state 0" in page_of(tmp_path / "report.html").text


def test_where_there_is_nothing_to_report_a_sentence_says_so(tmp_path, mbrl):
    code, out, err = mbrl("report", "missing")
    assert (code, out, err) == (2, "", "mbrl: missing: there is no such folder\n")
    RunStore(tmp_path / "empty" / "transitions.db", SPEC).close()
    assert mbrl("report", "empty")[2].startswith("mbrl: empty: has no transitions yet; let the")
    (tmp_path / "other").mkdir()
    assert "is not the folder of a run" in mbrl("report", "other")[2]


def test_a_damaged_run_is_a_sentence_and_a_torn_line_of_timing_is_passed_over(
    tmp_path, library_run, mbrl
):
    shutil.copytree(library_run, tmp_path / "run")
    with open(tmp_path / "run" / "timing.jsonl", "ab") as file:
        file.write(b'{"robot_time": 1.0, "rat')
    assert mbrl("report", "run")[0] == 0
    (tmp_path / "run" / "transitions.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    code, _, err = mbrl("report", "run")
    assert code == 2 and "transitions.db" in err and err.count("\n") == 1


def test_a_file_that_cannot_be_written_is_named(library_run, tmp_path):
    with pytest.raises(ReportError, match="cannot be written: No such file"):
        report(library_run, SPEC, tmp_path / "no" / "folder.html")
