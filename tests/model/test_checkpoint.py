"""Checkpoints come back as they were written, or say what is wrong with them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.errors import InputError
from nnunet_lib.model import (
    BEST,
    LAST,
    Checkpoint,
    as_network,
    build_unet,
    checkpoint,
    find_checkpoint,
    load_checkpoint,
    load_network,
    save_checkpoint,
    variable_arrays,
)
from nnunet_lib.planning import Normalisation, Plan

PLAN = Plan(
    dataset="made up",
    dimensions=2,
    channels=("MRI",),
    labels=("background", "organ"),
    axis_order=(2, 0, 1),
    target_spacing=(0.7, 1.25),
    normalisation=(Normalisation("ct", lower=-100, upper=200, mean=50, standard_deviation=40),),
    patch_size=(8, 8),
    batch_size=2,
    strides=((1, 1), (2, 2)),
    kernels=((3, 3), (3, 3)),
    filters=(4, 8),
)


def written(path: Path) -> Path:
    model = build_unet(PLAN)
    save_checkpoint(path, Checkpoint(PLAN, True, variable_arrays(model.variables)))
    return path


def test_everything_comes_back(tmp_path: Path) -> None:
    state = {"Adam/m": np.arange(3.0), "iteration": np.array(7)}
    weights = variable_arrays(build_unet(PLAN).variables)
    progress = {"step": 12, "best_dice": 0.5}
    save_checkpoint(tmp_path / LAST, Checkpoint(PLAN, True, weights, state, progress))
    read = load_checkpoint(tmp_path / LAST)
    assert read.plan == PLAN
    assert read.progress == progress
    for ours, theirs in ((read.weights, weights), (read.optimiser, state)):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_loaded_network_predicts_as_the_model_that_was_saved(tmp_path: Path) -> None:
    model = build_unet(PLAN)
    save_checkpoint(tmp_path / LAST, Checkpoint(PLAN, True, variable_arrays(model.variables)))
    patches = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    network, plan = load_network(tmp_path)
    assert plan == PLAN
    np.testing.assert_array_equal(network(patches), as_network(model)(patches))


def test_a_checkpoint_needs_no_pickle(tmp_path: Path) -> None:
    with np.load(written(tmp_path / LAST), allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_a_checkpoint_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as another:
        another.setattr(checkpoint, "CHECKPOINT_FORMAT", 1)
        written(tmp_path / LAST)
    with pytest.raises(InputError, match="another version"):
        load_checkpoint(tmp_path / LAST)


def test_a_folder_without_the_wanted_checkpoint_says_so(tmp_path: Path) -> None:
    written(tmp_path / LAST)
    assert find_checkpoint(tmp_path) == tmp_path / LAST
    with pytest.raises(InputError, match=BEST):
        find_checkpoint(tmp_path, BEST)


def test_a_checkpoint_file_does_not_stand_for_another_state(tmp_path: Path) -> None:
    path = written(tmp_path / LAST)
    assert find_checkpoint(path) == path
    with pytest.raises(InputError, match=f"another was asked for: {BEST}"):
        find_checkpoint(path, BEST)
    best = path.rename(tmp_path / BEST)
    assert find_checkpoint(best, BEST) == find_checkpoint(best) == best


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Name a run folder of `train`\.$"):
        find_checkpoint(tmp_path)
    runs = [tmp_path / name for name in ("second", "first")]
    for run in runs:
        run.mkdir()
        (run / LAST).touch()
    with pytest.raises(InputError, match=f"one of the runs in it: {runs[1]}, {runs[0]}"):
        find_checkpoint(tmp_path)


def test_variables_of_one_name_are_not_written_over_each_other() -> None:
    variables = [tf.Variable(value, name="kernel") for value in (1.0, 2.0)]
    with pytest.raises(ValueError, match="share a name"):
        variable_arrays(variables)


@pytest.mark.parametrize("content", [b"", b"not a zip", None], ids=["empty", "text", "cut short"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = written(tmp_path / LAST)
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with pytest.raises(InputError, match=str(path)):
        load_checkpoint(path)


def test_an_array_alone_is_no_checkpoint(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"image\.npy: is damaged or not a checkpoint"):
        load_checkpoint(tmp_path / "image.npy")


def test_weights_of_another_plan_are_refused(tmp_path: Path) -> None:
    weights = variable_arrays(build_unet(PLAN).variables)
    other = replace(PLAN, filters=(8, 8))
    save_checkpoint(tmp_path / LAST, Checkpoint(other, True, weights))
    with pytest.raises(InputError, match="does not fit"):
        load_network(tmp_path)


def test_a_write_that_fails_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / LAST)
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="no space"):
        written(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [LAST]
