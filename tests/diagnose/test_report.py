"""What `mbrl diagnose` shows: tables, figures and the HTML file."""

import io
import json
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from mbrl_node.diagnose import DiagnosisError, diagnose, verdicts
from mbrl_node.diagnose.figures import FIGURES
from mbrl_node.learning import LearnerConfig, TrainerConfig, diagnostics
from mbrl_node.models import ModelConfig
from mbrl_node.planning import MPPIConfig, RolloutConfig
from mbrl_node.spec import load_spec
from mbrl_node.spec.system import BoxSystem
from mbrl_node.spec.task import Task

SPEC = load_spec("cartpole")
TASK = Task.of(SPEC)
CONFIGS = {
    "model": ModelConfig,
    "trainer": TrainerConfig,
    "learner": LearnerConfig,
    "rollout": RolloutConfig,
    "mppi": MPPIConfig,
}
CHECKS = [
    "one_step",
    "trend",
    "horizon",
    "calibration",
    "calibration_horizon",
    "spread",
    "mismatch",
    "returns",
    "state_map",
    "delay",
]


class Page(HTMLParser):
    """Which tags are open at the end, which images and links there are, and all text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.addresses, self.ids, self.text = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag == "img":
            self.images.append(attributes)
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def shown(run_dir):
    """The result and what the terminal shows."""
    out = io.StringIO()
    result = diagnose(run_dir, SPEC, TASK, Console(file=out, width=100))
    return result, out.getvalue()


def test_a_diagnosis_writes_one_page_and_a_png_for_each_figure(run_dir, shown):
    files = {p.name for p in (run_dir / "diagnose").iterdir()}
    assert files == {"report.html", *(f"{name}.png" for name in FIGURES)}
    assert shown[0]["report"] == str(run_dir / "diagnose" / "report.html")
    for path in (run_dir / "diagnose").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size < 150_000


def test_the_page_needs_nothing_from_elsewhere(run_dir, shown):
    text = (run_dir / "diagnose" / "report.html").read_text()
    page = Page(text)
    assert page.open == [] and len(page.images) == len(FIGURES)
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.images)
    assert all(image["alt"] for image in page.images)
    inside = {f"#{name}" for name in page.ids}
    assert all(a in inside or a.startswith("data:image/png") for a in page.addresses)
    assert "http" not in text and "<script" not in text and "@import" not in text
    assert "url(" not in text and 'name="viewport"' in text


def test_the_page_tells_of_the_run_and_what_to_change(run_dir, shown):
    page = Page((run_dir / "diagnose" / "report.html").read_text())
    assert page.ids == CHECKS
    assert "first <light> & more" in page.text  # escaped, else the parser would see a tag
    for expected in ("cartpole", "420", "version 14", "theta_dot", "rad/s", "model.members"):
        assert expected in page.text
    assert page.text.count("Look for:") == page.text.count("Change:") == len(CHECKS)


def test_the_terminal_shows_each_verdict_and_where_the_report_is(run_dir, shown):
    result, text = shown
    assert [f["check"] for f in result["findings"]] == CHECKS
    words = " ".join(re.sub(r"[│┃]", " ", text).split())
    for finding in result["findings"]:
        assert finding["level"] in words and finding["verdict"].split(";")[0][:30] in words
    assert str(run_dir / "diagnose" / "report.html") in text


def test_the_result_is_json_without_nan(shown):
    again = json.loads(json.dumps(shown[0], allow_nan=False))
    assert again["facts"]["robot"] == "cartpole" and again["unseen"]["version"] == 9
    assert again["unseen"]["rows"] == 150 and again["seen"]["version"] == 14
    assert set(again) >= {"facts", "findings", "trend", "mismatch", "state_map", "report"}


def test_a_verdict_says_what_data_it_rests_on(shown):
    basis = {f["check"]: f["basis"] for f in shown[0]["findings"]}
    for check in ("one_step", "horizon", "calibration", "spread", "returns"):
        assert basis[check].startswith("version 9 (of 14) on 150 transitions that it had not seen")


def test_every_key_that_a_verdict_names_is_one_of_the_configuration(shown):
    named = set()
    for finding in shown[0]["findings"]:
        text = " ".join(finding[key] for key in ("verdict", "look_for", "change"))
        named |= set(re.findall(r"\b(model|trainer|learner|rollout|mppi)\.(\w+)", text))
        assert re.search(r"\w+\.\w+", finding["change"])
    assert len(named) > 10
    for group, key in named:
        assert key in CONFIGS[group].model_fields, f"{group}.{key}"


def test_figures_that_a_model_has_no_data_for_are_left_out_and_old_ones_go(plain_run_dir, capsys):
    (plain_run_dir / "diagnose").mkdir(exist_ok=True)
    (plain_run_dir / "diagnose" / "spread.png").write_bytes(b"old")
    result = diagnose(plain_run_dir, SPEC, TASK)
    missing = {"spread.png", "calibration.png", "calibration_horizon.png"}
    there = {p.name for p in (plain_run_dir / "diagnose").glob("*.png")}
    assert there == {f"{name}.png" for name in FIGURES} - missing
    unknown = {f["check"] for f in result["findings"] if f["level"] == "unknown"}
    assert unknown >= {"spread", "calibration", "calibration_horizon"}
    Page((plain_run_dir / "diagnose" / "report.html").read_text())
    assert capsys.readouterr() == ("", "")  # there is no console


def test_levels_and_words_follow_the_numbers(run_dir):
    found = diagnostics.diagnose(run_dir, SPEC, TASK)

    def finding(check, **changes):
        judged = diagnostics.Judgement(**{**vars(found.judged), **changes})
        changed = diagnostics.Diagnosis(**{**vars(found), "unseen": judged})
        return next(f for f in verdicts(changed) if f.check == check)

    def calibration(error, bias):
        before = found.judged.calibration
        return diagnostics.Calibration(**{**vars(before), "error": error, "bias": bias})

    assert finding("calibration", calibration=calibration(0.01, 0.0)).level == "good"
    sure = finding("calibration", calibration=calibration(0.2, -0.2))
    assert sure.level == "poor" and "too sure of itself" in sure.verdict
    cautious = finding("calibration", calibration=calibration(0.2, 0.2))
    assert cautious.level == "fair" and "too cautious" in cautious.verdict
    before = vars(found.judged.one_step)
    blind = diagnostics.OneStep(
        **{**before, "relative": [0.1, 0.1, 0.9, 0.1], "relative_all": 0.5, "bias": [0.0] * 4}
    )
    worst = finding("one_step", one_step=blind)
    assert worst.level == "poor" and "x_dot is worst with 90 %" in worst.verdict


def test_without_matplotlib_the_extra_is_named(run_dir, monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "mbrl_node.diagnose.figures")
    monkeypatch.delattr("mbrl_node.diagnose.figures")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DiagnosisError, match=r"matplotlib.* install the extra 'viz'"):
        diagnose(run_dir, SPEC, TASK)


def test_mistakes_are_told_in_one_line(run_dir, tmp_path):
    with pytest.raises(DiagnosisError, match="there is no such run folder"):
        diagnose(tmp_path / "nothing", SPEC, TASK)
    other = BoxSystem("other", 0.04, ("p",), ("u",), -SPEC.action_max, SPEC.action_max)
    with pytest.raises(DiagnosisError, match="of another robot"):
        diagnose(run_dir, other, TASK)
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, plain_run_dir):
    copy = tmp_path / "copy"
    shutil.copytree(plain_run_dir, copy, ignore=shutil.ignore_patterns("diagnose"))
    (copy / "diagnose").write_text("in the way")
    with pytest.raises(DiagnosisError, match=r"copy/diagnose: cannot be written"):
        diagnose(copy, SPEC, TASK)


def test_a_delay_that_the_robots_file_does_not_tell_is_said_with_what_to_set(run_dir):
    diagnosis = diagnostics.diagnose(run_dir, SPEC, TASK)
    assert verdicts(diagnosis)[-1].level == "good" and diagnosis.delay.lag == 0
    late = replace(diagnosis.delay, lag=2, ratio=8.0)
    found = verdicts(replace(diagnosis, delay=late))[-1]
    assert found.level == "poor" and found.verdict == (
        "Commands take effect 2 periods (80 ms) after they are sent; the file says 0: set "
        "action.delay: 0.08. Linear predictions of one step are 8 times better with it."
    )
    assert verdicts(replace(diagnosis, delay=None))[-1].level == "unknown"
