"""Finding a robot's file and reading it as YAML."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mbrl_node.spec import SpecError, load_spec, robot_directories


def problems_of(robot: str | Path, search: list[Path] | None = None) -> list[str]:
    with pytest.raises(SpecError) as error:
        load_spec(robot, search)
    assert all("\n" not in problem for problem in error.value.problems)
    return error.value.problems


@pytest.fixture
def robots(tmp_path: Path, cartpole_path: Path) -> Path:
    """A directory with two robots."""
    for name in ("arm", "rover"):
        shutil.copy(cartpole_path, tmp_path / f"{name}.yaml")
    return tmp_path


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "robot.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_name_is_looked_up_in_the_search_directories(robots: Path) -> None:
    assert load_spec("rover", search=[robots / "none", robots]).path == robots / "rover.yaml"


def test_the_first_directory_that_knows_a_name_wins(robots: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(robots / "arm.yaml", mine / "arm.yaml")
    assert load_spec("arm", search=[mine, robots]).path == mine / "arm.yaml"


@pytest.mark.parametrize("form", [str, Path])
def test_a_path_is_taken_as_it_is(robots: Path, form: type[str] | type[Path]) -> None:
    path = form(robots / "arm.yaml")
    assert load_spec(path, search=[]).path == robots / "arm.yaml"


def test_a_relative_path_counts_from_here(robots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(robots)
    spec = load_spec("arm.yaml", search=[])
    assert spec.path is not None and spec.path.is_absolute()
    assert spec.path.samefile(robots / "arm.yaml")


def test_an_unknown_name_lists_the_known_robots(robots: Path) -> None:
    assert problems_of("rove", [robots]) == [
        "rove: no such robot; did you mean 'rover'? (known robots: arm, rover)"
    ]


def test_a_missing_file_lists_the_known_robots(robots: Path) -> None:
    path = robots / "nowhere.yaml"
    assert problems_of(path, [robots]) == [f"{path}: no such file (known robots: arm, rover)"]


def test_without_any_robots_that_is_said(tmp_path: Path) -> None:
    assert problems_of("arm", [tmp_path]) == ["arm: no such robot (no robots are known)"]


@pytest.mark.parametrize("robot", ["", "a\0b", "a\nb", "/" + "x" * 5000, "./a\0b.yaml"])
def test_an_impossible_name_is_refused_on_one_line(robot: str) -> None:
    assert len(problems_of(robot)) == 1


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(robots: Path) -> None:
    path = robots / "arm.yaml"
    path.chmod(0)
    assert problems_of(path) == [f"{path}: cannot be read: Permission denied"]


def test_errors_name_the_file_as_the_user_did(
    robots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = robots / "arm.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("rate: 25.0", "rate: 0"))
    expected = "rate: 0 must be above 0"
    assert problems_of(path) == [f"{path}: {expected}"]
    monkeypatch.chdir(robots)
    assert problems_of("./arm.yaml") == [f"./arm.yaml: {expected}"]
    assert problems_of("arm", [robots]) == [f"arm.yaml: {expected}"]


# Where names are looked up by default.


def test_the_robots_beside_the_code_are_known(cartpole_path: Path) -> None:
    assert robot_directories()[0] == cartpole_path.parent


def test_the_robots_of_an_installed_package_are_known(
    tmp_path: Path, robots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "install" / "share" / "mbrl" / "config" / "robots"
    share.mkdir(parents=True)
    shutil.copy(robots / "rover.yaml", share)
    prefixes = [str(tmp_path / "absent"), "", str(tmp_path / "install")]
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(prefixes))
    assert load_spec("rover").path == share / "rover.yaml"


# Reading YAML.


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty: a robot's file has keys such as name, rate, state"),
        ("# nothing\n", "is empty: a robot's file has keys such as name, rate, state"),
        ("- a\n", "a list is not a mapping: a robot's file has keys such as name, rate, state"),
        ("5", "5 is not a mapping: a robot's file has keys such as name, rate, state"),
        (
            "name: x\nrate: [1, 2\nstate: 3\n",
            "line 3, column 6: not valid YAML: while parsing a flow sequence"
            " expected ',' or ']', but got ':'",
        ),
        (
            "name: x\n\trate: 5\n",
            "line 2, column 1: not valid YAML: while scanning for the next token"
            " found character '\\t' that cannot start any token",
        ),
        (
            "rate: 2026-13-45\n",
            "line 1, column 7: not valid YAML: '2026-13-45' is not a valid timestamp",
        ),
        ("rate: !!int five\n", "line 1, column 7: not valid YAML: 'five' is not a valid int"),
        ("rate: !!bool five\n", "line 1, column 7: not valid YAML: 'five' is not a valid bool"),
        (
            "rate: !!python/object:os.system {}\n",
            "line 1, column 7: not valid YAML: could not determine a constructor for the tag"
            " 'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("a: 1\nb: \x00\n", "line 2, column 4: not valid YAML: '\\x00' is not allowed"),
        (b"name: caf\xe9\n", "byte 9 is not UTF-8; save it as UTF-8"),
        ("a: " + "[" * 5000, "not valid: it is nested too deeply"),
    ],
)
def test_what_is_no_yaml_mapping_is_one_line(
    tmp_path: Path, content: str | bytes, problem: str
) -> None:
    path = write(tmp_path, content)
    assert problems_of(path) == [f"{path}: {problem}"]


def test_a_key_given_twice_is_refused_with_both_lines(robots: Path) -> None:
    path = robots / "arm.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines.index("rate: 25.0                     # control rate, Hz") + 1
    path.write_text("\n".join([*lines, "rate: 50.0", "episode: {length: 0}"]))
    episode = lines.index("episode:") + 1
    assert problems_of(path) == [
        f"{path}: line {len(lines) + 1}, column 1: 'rate' is given again;"
        f" it is already on line {first}",
        f"{path}: line {len(lines) + 2}, column 1: 'episode' is given again;"
        f" it is already on line {episode}",
        f"{path}: episode.length: 0 must be above 0",
    ]


def test_a_key_given_twice_in_an_otherwise_valid_file_is_refused(robots: Path) -> None:
    path = robots / "arm.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\nname: again\n")
    assert len(problems_of(path)) == 1


def test_anchors_and_merges_are_not_repetitions(robots: Path) -> None:
    path = robots / "arm.yaml"
    text = path.read_text(encoding="utf-8")
    reward = (
        "  - &still {term: square, of: x_dot, weight: -0.001}\n  - {<<: *still, of: theta_dot}\n"
    )
    path.write_text(text.replace("reward:\n", f"reward:\n{reward}"))
    terms = load_spec(path).reward_terms
    assert [(term.of, term.weight) for term in terms[:2]] == [
        (("x_dot",), -0.001),
        (("theta_dot",), -0.001),
    ]


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "+1e-3", "1.e-3", "0.001", "1.0e-3"])
def test_an_exponent_needs_no_dot(robots: Path, number: str) -> None:
    path = robots / "arm.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("initial_noise: 0.02 ", f"initial_noise: {number} "))
    sim = load_spec(path).sim
    assert sim is not None and sim.initial_noise == 0.001


def test_a_byte_order_mark_does_no_harm(robots: Path) -> None:
    path = robots / "arm.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_spec(path).name == "cartpole"
