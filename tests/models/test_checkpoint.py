"""Model files: written whole, and refused by name when they cannot be used."""

import math

import pytest
import torch
from safetensors import safe_open

from mbrl_node.models import (
    CheckpointError,
    InverseConfig,
    ModelConfig,
    WorldModel,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from mbrl_node.models.checkpoint import checkpoint_path
from mbrl_node.spec import load_spec

SPEC = load_spec("cartpole")
SMALL = ModelConfig(members=3, hidden=(16,))


def random_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 4, generator=generator), torch.randn(size, 1, generator=generator)


def test_a_checkpoint_gives_the_same_model_back(tmp_path):
    model = WorldModel(SPEC, SMALL)
    state, action = random_batch(16)
    model.dynamics.fit_normalizer(state, action, state + 0.1 * torch.randn(16, 4))
    save_checkpoint(model, tmp_path / "m.safetensors", {"version": 7, "held_out_error": math.nan})
    loaded, info = load_checkpoint(tmp_path / "m.safetensors", SPEC)
    batch = state.expand(3, -1, -1), action.expand(3, -1, -1)
    assert torch.equal(model.dynamics.predict(*batch), loaded.dynamics.predict(*batch))
    assert info["version"] == 7 and loaded.dynamics.config == SMALL
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]  # no half-written file is left


def test_checkpoints_that_cannot_be_used_are_refused_by_name(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError, match=r"m\.safetensors: cannot be read"):
        load_checkpoint(path, SPEC)
    model = WorldModel(SPEC, SMALL)
    save_checkpoint(model, path, {})
    with pytest.raises(CheckpointError, match=r"m\.safetensors: was learned for another robot"):
        load_checkpoint(path, SPEC.with_overrides(rate=50.0))
    fields = SPEC.model_dump()["state"]
    fields[0]["fields"][0]["model_input"] = True
    with pytest.raises(CheckpointError, match=r"was learned from \["):
        load_checkpoint(path, SPEC.with_overrides(state=fields))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"m\.safetensors: cannot be read"):
        load_checkpoint(path, SPEC)
    with torch.no_grad():
        model.dynamics.net.biases[0][:] = math.nan
    save_checkpoint(model, path, {})
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(path, SPEC)


def test_the_newest_usable_checkpoint_is_found(tmp_path):
    assert newest_checkpoint(tmp_path, SPEC) is None
    model = WorldModel(SPEC, SMALL)
    for version in (1, 2, 10):
        save_checkpoint(model, checkpoint_path(tmp_path, version), {"version": version})
    checkpoint_path(tmp_path, 11).write_bytes(b"cut off")
    newest = newest_checkpoint(tmp_path, SPEC)
    assert newest is not None and newest[2]["version"] == 10


def test_an_inverse_model_is_saved_with_the_rest_and_a_file_without_one_still_loads(tmp_path):
    config = InverseConfig(train=True, steps=3, members=2, hidden=(8, 4))
    model, path = WorldModel(SPEC, SMALL, inverse=config), tmp_path / "m.safetensors"
    state, action = random_batch(16)
    model.inverse.fit_normalizer(state, state + 0.3, action)
    save_checkpoint(model, path, {})
    loaded = load_checkpoint(path, SPEC)[0].inverse
    assert loaded.config == config and loaded.steps == 3
    for mine, theirs in zip(
        model.inverse.predict(state, state + 0.1), loaded.predict(state, state + 0.1), strict=True
    ):
        assert torch.equal(mine, theirs)
    save_checkpoint(WorldModel(SPEC, SMALL), path, {})
    with safe_open(path, framework="pt") as file:  # as written before there were any
        assert "inverse" not in file.metadata()
    assert load_checkpoint(path, SPEC)[0].inverse is None


def test_an_inverse_model_of_a_shape_that_is_none_is_refused_by_name(tmp_path):
    path = tmp_path / "m.safetensors"
    model = WorldModel(SPEC, SMALL, inverse=InverseConfig(hidden=(8,)))
    model.inverse.config = InverseConfig.model_construct(steps=0, hidden=(8,))
    save_checkpoint(model, path, {})
    with pytest.raises(CheckpointError, match=r"m\.safetensors: is damaged"):
        load_checkpoint(path, SPEC)
