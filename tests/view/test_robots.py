"""How robots stand in the picture."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("yourdfpy")
pytest.importorskip("pybullet_data")

from mbrl_node.spec import load_spec
from mbrl_node.view.kinematics import Base, limbs
from mbrl_node.view.urdf import load_urdf, urdf_file

ROBOTS = sorted(file.stem for file in (Path(__file__).parents[2] / "config/robots").glob("*.yaml"))
DRAWN = {"cartpole": 3, "furuta": 3, "husky": 9, "panda_velocity": 41}  # bodies


@functools.cache
def loaded(robot: str):
    """The robot and its URDF, whose meshes take a second to load."""
    spec = load_spec(robot)
    return spec, load_urdf(spec, urdf_file(spec))


@pytest.mark.parametrize("robot", ROBOTS)
def test_each_robot_is_drawn_with_all_of_its_meshes_and_moves_with_its_state(robot, caplog):
    spec, urdf = loaded(robot)
    assert not caplog.records
    assert len(urdf.model.scene.geometry) == DRAWN.get(robot, len(urdf.model.scene.geometry))
    assert bool(urdf.columns) != Base(spec).moves


@pytest.mark.parametrize("robot", ["cartpole", "furuta", "panda_velocity", "half_cheetah"])
def test_the_ends_of_limbs_are_where_the_picture_has_them(robot):
    spec, urdf = loaded(robot)
    states = np.random.default_rng(0).uniform(-1.0, 1.0, (5, spec.state_dim))
    bases = Base(spec).poses(states)
    ends = np.stack([limb.places(bases, states) for limb in limbs(urdf)], 1)
    for state, places in zip(states, ends, strict=True):
        joints = urdf.model.actuated_joint_names
        values = [state[urdf.columns[j]] if j in urdf.columns else 0.0 for j in joints]
        urdf.model.update_cfg(np.array(values))
        drawn = np.concatenate(
            [
                mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
                for name, mesh in urdf.model.scene.geometry.items()
                for pose in [urdf.model.scene.graph.get(frame_to=name)[0]]
            ]
        )
        for place in places:  # a corner or the middle of a face, at most so far from a vertex
            assert np.linalg.norm(drawn - place, axis=1).min() < 0.06


def test_the_pole_s_end_swings_about_the_cart():
    spec, urdf = loaded("cartpole")
    (pole,) = limbs(urdf)
    states = np.array([[0.0, 0.0, 0.0, 0.0], [0.5, np.pi, 0.0, 0.0]])
    ends = pole.places(Base(spec).poses(states), states)
    assert np.allclose(ends, [[0.0, 0.0, 1.0], [0.5, 0.0, -1.0]], atol=1e-6)


def test_a_vehicle_stands_where_its_odometry_says():
    spec = load_spec("husky")
    pose = Base(spec).poses(np.array([[1.0, 2.0, np.pi / 2, 0.0, 0.0]]))[0]
    assert np.allclose(pose[:3, 3], [1.0, 2.0, 0.0])
    assert np.allclose(pose[:3, :3] @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])


def test_a_mesh_that_is_not_there_or_no_mesh_is_left_out_with_one_warning(tmp_path, caplog):
    (tmp_path / "broken.stl").write_text("no mesh")
    box = '<visual><geometry><box size="1 1 1"/></geometry></visual>'
    meshes = "".join(
        f'<visual><geometry><mesh filename="{name}"/></geometry></visual>'
        for name in ("package://robot/none.dae", "broken.stl", "broken.stl")
    )
    path = tmp_path / "robot.urdf"
    path.write_text(f'<robot name="robot"><link name="base">{box}{meshes}</link></robot>')
    urdf = load_urdf(load_spec("cartpole"), path)
    assert len(urdf.model.scene.geometry) == 1
    (record,) = caplog.records
    assert record.message.endswith("cannot be read: package://robot/none.dae, broken.stl")


def test_what_is_no_urdf_is_a_sentence_and_no_robot(caplog):
    assert load_urdf(load_spec("cartpole"), "<robot") is None
    assert "its URDF cannot be read, so it is not shown" in caplog.text
