"""Whatever stands in a robot's file: it loads, or SpecError says line by line what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_node.spec import RobotSpec, SpecError, load_spec

CARTPOLE = Path(__file__).parents[2] / "config" / "robots" / "cartpole.yaml"
TEXT = CARTPOLE.read_text(encoding="utf-8")
DOCUMENT = yaml.safe_load(TEXT)
REAL = copy.deepcopy(DOCUMENT)  # with a topic that sim does not have
del REAL["sim"]
REAL["state"].append(
    {
        "topic": "/odom",
        "type": "nav_msgs/msg/Odometry",
        "timeout": 0.5,
        "qos": {"reliability": "reliable", "durability": "transient_local"},
        "size": 36,
        "fields": [
            {"name": "yaw", "path": "pose.pose.orientation.yaw", "unit": "rad", "angle": True},
            {"name": "spread", "path": "pose.covariance[35]", "unit": "rad"},
        ],
    }
)
Way = tuple[Any, ...]


def ways(node: Any, way: Way = ()) -> Iterator[Way]:
    """The way to each place in the document."""
    yield way
    for key, child in node.items() if isinstance(node, dict) else []:
        yield from ways(child, (*way, key))
    for index, child in enumerate(node) if isinstance(node, list) else []:
        yield from ways(child, (*way, index))


def at(document: Any, way: Way) -> Any:
    for key in way:
        document = document[key]
    return document


PLACES = [way for way in dict.fromkeys([*ways(DOCUMENT), *ways(REAL)]) if way]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.dates()
    | st.sampled_from(["x", "theta", "force", "cos", "beyond", "position", "/a", "min", "rad"])
    | st.sampled_from(["a.b[3].x", "rotation.w", "orientation.yaw", "sensor_msgs/msg/JointState"])
)
keys = (
    st.text(max_size=6)
    | st.integers()
    | st.none()
    | st.sampled_from(["min", "of", "path", "joint"])
)
values = st.recursive(
    scalars
    | st.sampled_from([at(d, way) for d in (DOCUMENT, REAL) for way in ways(d) if way]).map(
        copy.deepcopy
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A document with a few things replaced, added, removed or doubled."""
    document = copy.deepcopy(draw(st.sampled_from([DOCUMENT, REAL])))
    for way in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4)):
        try:
            parent = at(document, way[:-1])
            parent[way[-1]]
        except (LookupError, TypeError):
            continue  # it has no such place, or no longer
        what = draw(st.sampled_from(["replace", "remove", "add"]))
        if what == "replace":
            parent[way[-1]] = draw(values)
        elif what == "remove":
            del parent[way[-1]]
        elif isinstance(parent, list):
            parent.append(draw(values))
        elif isinstance(parent, dict):
            parent[draw(keys)] = draw(values)
    return document


def assert_loads_or_explains(load: Any, source: str) -> None:
    try:
        assert isinstance(load(), RobotSpec)
    except SpecError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.startswith(f"{source}: ")
            assert len(problem.splitlines()) == 1
            assert len(problem) < 400
        assert len(set(error.problems)) == len(error.problems)


def test_the_documents_load_unless_they_are_changed() -> None:
    for document, size in ((DOCUMENT, 4), (REAL, 6)):
        assert RobotSpec.from_dict(document).state_dim == size


@given(mutated())
@settings(max_examples=400, deadline=None)
def test_a_changed_document_loads_or_is_explained(document: Any) -> None:
    assert_loads_or_explains(lambda: RobotSpec.from_dict(document, "robot.yaml"), "robot.yaml")


@given(values)
@settings(max_examples=100, deadline=None)
def test_any_document_loads_or_is_explained(document: Any) -> None:
    assert_loads_or_explains(lambda: RobotSpec.from_dict(document, "robot.yaml"), "robot.yaml")


@given(
    start=st.integers(0, len(TEXT)),
    length=st.integers(0, 12),
    inserted=st.text(max_size=8) | st.text("{}[]:,-?!&*|>'\"%@`#\n\t 0x_.eE~<", max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_a_changed_file_loads_or_is_explained(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, inserted: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    text = TEXT[:start] + inserted + TEXT[start + length :]
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert_loads_or_explains(lambda: load_spec(path), str(path))


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_load_or_are_explained(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    assert_loads_or_explains(lambda: load_spec(path), str(path))
