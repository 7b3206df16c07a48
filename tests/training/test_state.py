"""What makes a run another run, which a resumed one must not become."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json
from nnunet_lib.inference import CROSS_VALIDATION, FOLD, POSTPROCESSING, InferenceSettings
from nnunet_lib.loading import AugmentationSettings
from nnunet_lib.model import BEST, LAST, Checkpoint, ComputeSettings, save_checkpoint
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.training import LossSettings, TrainingSettings
from nnunet_lib.training.job import PLAN as PLAN_FILE
from nnunet_lib.training.job import _clear, plan_of
from nnunet_lib.training.log import METRICS, TENSORBOARD
from nnunet_lib.training.state import SETTINGS, load_last

PLAN = Plan(
    dataset="made up",
    dimensions=2,
    channels=("MRI",),
    labels=("background", "one"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(8, 8),
    batch_size=2,
    strides=((1, 1), (2, 2)),
    kernels=((3, 3), (3, 3)),
    filters=(4, 8),
)

# Another value of every setting that may change, and of every one that may not.
MAY_CHANGE: dict[str, Any] = {
    "epochs": 9,
    "time_limit": 5.0,
    "checkpoint_interval": 3,
    "validation_interval": 2,
    "inference": InferenceSettings(tta=True),
    "resume": True,
    "overwrite": True,
}
STAYS: dict[str, Any] = {
    "fold": 1,
    "number_of_folds": 4,
    "steps_per_epoch": 7,
    "optimiser": "sgd",
    "learning_rate": 0.5,
    "momentum": 0.5,
    "weight_decay": 0.5,
    "scheduler": "cosine",
    "restarts": 1,
    "scale_learning_rate": False,
    "warmup": 0.5,
    "gradient_clip": 1.0,
    "deep_supervision": False,
    "loss": LossSettings(focal=True),
    "batch_size": 3,
    "base_filters": 2,
    "norm": "group",
    "negative_slope": 0.2,
    "foreground_oversampling": 0.5,
    "number_of_volumes": 2,
    "augmentation": AugmentationSettings.none(),
    "loader": "tf",
    "compute": ComputeSettings("float16"),
    "seed": 7,
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that may be gone on with."""
    save_checkpoint(tmp_path / LAST, Checkpoint(PLAN, True, {}))
    write_json(tmp_path / SETTINGS, asdict(TrainingSettings()))
    return tmp_path


def test_of_every_setting_it_is_said_whether_it_may_change() -> None:
    assert MAY_CHANGE.keys() | STAYS.keys() == {field.name for field in fields(TrainingSettings)}


@pytest.mark.parametrize("name", MAY_CHANGE)
def test_a_run_may_go_on_for_longer_and_otherwise_watched(run: Path, name: str) -> None:
    settings = replace(TrainingSettings(), **{name: MAY_CHANGE[name]})
    assert load_last(run, PLAN, settings) is not None


@pytest.mark.parametrize("name", STAYS)
def test_a_run_does_not_go_on_under_other_settings(run: Path, name: str) -> None:
    settings = replace(TrainingSettings(), **{name: STAYS[name]})
    with pytest.raises(InputError, match=f"{name.replace('_', ' ')} was .* and is now"):
        load_last(run, PLAN, settings)


def test_of_another_plan_it_is_said_what_differs(run: Path) -> None:
    plan = replace(PLAN, norm="batch", batch_size=4)
    with pytest.raises(InputError, match=r"another plan .*: they differ in batch size, norm\. "):
        load_last(run, plan, TrainingSettings())


def test_damaged_settings_are_refused_by_the_files_name(run: Path) -> None:
    write_json(run / SETTINGS, [])
    with pytest.raises(InputError, match=rf"{SETTINGS}: is damaged"):
        load_last(run, PLAN, TrainingSettings())


def test_a_run_begun_anew_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    own = (PLAN_FILE, SETTINGS, LAST, BEST, METRICS, FOLD, POSTPROCESSING, CROSS_VALIDATION)
    for name in own:
        (tmp_path / name).touch()
    (tmp_path / TENSORBOARD).mkdir()
    _clear(tmp_path, overwrite=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("asked", "slope"), [(None, 0.1), (0.0, 0.0), (0.2, 0.2)])
def test_a_slope_of_0_is_a_choice(asked: float | None, slope: float) -> None:
    plan = replace(PLAN, negative_slope=0.1)
    assert plan_of(plan, TrainingSettings(negative_slope=asked)).negative_slope == slope


def test_without_augmentation_a_run_does_not_mirror() -> None:
    for enabled in (True, False):
        augmentation = AugmentationSettings(enabled=enabled, flip_probability=0.5)
        found = plan_of(PLAN, TrainingSettings(augmentation=augmentation))
        assert found.mirrored == enabled
