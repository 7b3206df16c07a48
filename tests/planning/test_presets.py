"""The presets against NVIDIA's published values, typed here a second time."""

import math
from collections.abc import Callable

import pytest

from nnunet_lib.datasets import TASKS
from nnunet_lib.errors import InputError
from nnunet_lib.planning import (
    PRESETS,
    Fingerprint,
    IntensityStatistics,
    Normalisation,
    Plan,
    PlannerSettings,
    find_preset,
    make_plan,
    plan_from_preset,
)

Maker = Callable[..., Fingerprint]

# NVIDIA/DeepLearningExamples, TensorFlow2/Segmentation/nnUNet, data_preprocessing/configs.py:
# channels of the task, 3D patch, 3D spacing, 2D patch, 2D spacing, CT minimum, maximum, mean, std.
PUBLISHED = {
    "01": (4, [128, 128, 128], [1, 1, 1], [192, 160], [1, 1], None),
    "02": (1, [80, 192, 160], [1.37, 1.25, 1.25], [320, 256], [1.25, 1.25], None),
    "03": (1, [128, 128, 128], [1, 0.7676, 0.7676], [512, 512], [0.7676, 0.7676],
           (-17, 201, 99.4, 39.36)),
    "04": (1, [40, 56, 40], [1, 1, 1], [56, 40], [1, 1], None),
    "05": (2, [20, 320, 256], [3.6, 0.62, 0.62], [320, 320], [0.62, 0.62], None),
    "06": (1, [80, 192, 160], [1.24, 0.79, 0.79], [512, 512], [0.79, 0.79],
           (-1024, 325, -158.58, 324.7)),
    "07": (1, [40, 224, 224], [2.5, 0.8, 0.8], [512, 512], [0.8, 0.8], (-96, 215, 77.9, 75.4)),
    "08": (1, [64, 192, 192], [1.5, 0.8, 0.8], [512, 512], [0.8, 0.8], (-3, 243, 104.37, 52.62)),
    "09": (1, [64, 192, 160], [1.6, 0.79, 0.79], [512, 512], [0.79, 0.79],
           (-41, 176, 99.29, 39.47)),
    "10": (1, [56, 192, 160], [3, 0.78, 0.78], [512, 512], [0.78, 0.78],
           (-30, 165.82, 62.18, 32.65)),
}  # fmt: skip

# Worked out by hand with NVIDIA's rule: the stride into each stage, the kernel of each stage.
STAGES = {
    ("01", 3): ("111 222 222 222 222 222", "333 333 333 333 333 333"),
    ("02", 3): ("111 222 222 222 222 122", "333 333 333 333 333 333"),
    ("04", 3): ("111 222 222 222", "333 333 333 333"),
    ("05", 3): ("111 122 122 222 222 122", "133 133 333 333 333 333"),
    ("07", 3): ("111 122 222 222 222 122", "133 333 333 333 333 333"),
    ("09", 3): ("111 122 222 222 222 222", "133 333 333 333 333 333"),
    ("10", 3): ("111 122 222 222 222 122", "133 333 333 333 333 333"),
    ("04", 2): ("11 22 22 22", "33 33 33 33"),
    ("09", 2): ("11 22 22 22 22 22", "33 33 33 33 33 33"),
}


def plan_of(make_fingerprint: Maker, task: str, dimensions: int = 3, **changes: object) -> Plan:
    """The preset's plan for a dataset like the task's."""
    number, _, spacing, *_, ct = PUBLISHED[task]
    channels = ("CT",) if ct else tuple(f"MRI {channel}" for channel in range(number))
    fingerprint = make_fingerprint(
        **{"spacing": tuple(spacing), "channels": channels, "labels": 3} | changes
    )
    return plan_from_preset(fingerprint, find_preset(task), PlannerSettings(dimensions))


def test_there_is_a_preset_for_each_task_of_the_decathlon() -> None:
    assert [preset.task for preset in PRESETS] == [task.number for task in TASKS]
    assert [preset.name for preset in PRESETS] == [task.name for task in TASKS]


@pytest.mark.parametrize("task", PUBLISHED)
def test_plans_have_the_published_values(make_fingerprint: Maker, task: str) -> None:
    _, patch_3d, spacing_3d, patch_2d, spacing_2d, ct = PUBLISHED[task]
    volumes, slices = (plan_of(make_fingerprint, task, dimensions) for dimensions in (3, 2))
    assert (list(volumes.patch_size), list(volumes.target_spacing)) == (patch_3d, spacing_3d)
    assert (list(slices.patch_size), list(slices.target_spacing)) == (patch_2d, spacing_2d)
    assert (volumes.batch_size, slices.batch_size) == (2, 64)
    assert volumes.axis_order == slices.axis_order == (0, 1, 2)
    for plan in (volumes, slices):
        for scheme in plan.normalisation:
            if ct is None:
                assert scheme == Normalisation("z_score", inside_mask=True)
            else:
                assert scheme.scheme == "ct"
                assert (
                    scheme.lower, scheme.upper, scheme.mean, scheme.standard_deviation
                ) == ct  # fmt: skip


@pytest.mark.parametrize(("task", "dimensions"), STAGES)
def test_strides_and_kernels_follow_nvidias_rule(
    make_fingerprint: Maker, task: str, dimensions: int
) -> None:
    plan = plan_of(make_fingerprint, task, dimensions)
    strides, kernels = (
        " ".join("".join(map(str, stage)) for stage in stages)
        for stages in (plan.strides, plan.kernels)
    )
    assert (strides, kernels) == STAGES[task, dimensions]


@pytest.mark.parametrize("task", PUBLISHED)
@pytest.mark.parametrize(("dimensions", "most"), [(3, 320), (2, 512)])
def test_filters_double_up_to_a_limit(
    make_fingerprint: Maker, task: str, dimensions: int, most: int
) -> None:
    plan = plan_of(make_fingerprint, task, dimensions)
    assert list(plan.filters) == [min(2 ** (5 + i), most) for i in range(len(plan.strides))]


@pytest.mark.slow  # TensorFlow's import alone is
@pytest.mark.parametrize(
    ("task", "dimensions", "labels", "parameters"),
    [
        ("01", 3, 4, 31_192_868),
        ("04", 3, 3, 5_601_187),
        ("04", 2, 3, 1_926_499),
        # Our decoder takes a level's kernel from the level itself: see CONTRIBUTING.
        ("05", 3, 3, 30_555_075 - 221_184),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(
    make_fingerprint: Maker, task: str, dimensions: int, labels: int, parameters: int
) -> None:
    from nnunet_lib.model import build_unet

    plan = plan_of(make_fingerprint, task, dimensions, labels=labels)
    assert build_unet(plan, deep_supervision=False).count_params() == parameters


def test_the_rest_is_the_datasets_own(make_fingerprint: Maker) -> None:
    fingerprint = make_fingerprint(labels=5, channels=("T1",))
    plan = plan_from_preset(fingerprint, find_preset("4"))
    assert plan.dataset == fingerprint.dataset
    assert plan.channels == fingerprint.channels
    assert plan.labels == fingerprint.labels


def test_a_plan_says_whose_values_it_has_and_survives_its_file(
    make_fingerprint: Maker, tmp_path
) -> None:
    plan = plan_of(make_fingerprint, "09")
    text = " ".join(plan.describe().split())
    assert "NVIDIA's published ones for Task09_Spleen" in text
    assert "clipped and scaled by NVIDIA's published preset" in text
    assert "z-score inside the non-zero mask" in plan_of(make_fingerprint, "04").describe()
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def test_the_batch_size_may_be_given(make_fingerprint: Maker) -> None:
    settings = PlannerSettings(batch_size=1)
    plan = plan_from_preset(make_fingerprint(), find_preset("04"), settings)
    assert plan.batch_size == 1
    assert "Batch size: as given." in plan.reasons


@pytest.mark.parametrize(
    ("task", "channels"),
    [
        ("09", ("MRI",)),
        ("04", ("CT",)),
        ("04", ("T1", "T2")),
        ("05", ("T2",)),
        ("01", ("T1", "T2", "FLAIR", "CT")),
    ],
)
def test_images_of_another_kind_are_refused(
    make_fingerprint: Maker, task: str, channels: tuple[str, ...]
) -> None:
    with pytest.raises(InputError, match=rf"Task{task}_\w+ is for .*{channels[-1]}"):
        plan_from_preset(make_fingerprint(channels=channels), find_preset(task))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patch_size", (32, 32, 32)),
        ("target_spacing", (1.0, 1.0, 1.0)),
        ("memory_gigabytes", 8.0),
        ("base_filters", 24),
        ("small_steps", False),
    ],
)
def test_what_the_preset_decides_cannot_be_given_and_ignored(
    make_fingerprint: Maker, name: str, value: object
) -> None:
    settings = PlannerSettings(**{name: value})
    with pytest.raises(InputError, match=f"decides {name}"):
        plan_from_preset(make_fingerprint(), find_preset("04"), settings)


def test_slices_along_another_axis_are_refused(make_fingerprint: Maker) -> None:
    with pytest.raises(InputError, match="lie along x"):
        plan_of(make_fingerprint, "09", spacing=(0.8, 0.8, 5.0))


def test_the_last_digits_of_a_header_turn_no_axis(make_fingerprint: Maker) -> None:
    plan = plan_of(make_fingerprint, "04", spacing=(1.0, 1.0, math.nextafter(1.0, 2.0) + 1e-6))
    assert plan == plan_of(make_fingerprint, "04")


def test_a_dataset_of_ones_own_needs_no_preset_to_have_its_values(
    make_fingerprint: Maker,
) -> None:
    """A task 11: nothing but the fingerprint and, where wanted, the settings."""
    fingerprint = make_fingerprint((60, 300, 300), (5.0, 0.741, 0.741), channels=("CT",))
    plan = make_plan(fingerprint)
    assert plan.normalisation[0].lower == fingerprint.intensities[0].percentile_00_5
    given = make_plan(
        fingerprint, PlannerSettings(patch_size=(16, 64, 64), target_spacing=(5.0, 1.0, 1.0))
    )
    assert given.patch_size == (16, 64, 64)
    assert given.target_spacing == (5.0, 1.0, 1.0)


def test_a_preset_s_plan_says_what_the_dataset_hides() -> None:
    values = IntensityStatistics(1.0, 1.0, 1.0, 0.0, 2.0, 0.0, 2.0)
    fingerprint = Fingerprint(
        dataset="Made up",
        channels=("MRI",),
        labels=("background", "often", "once"),
        spacings=((1.0, 1.0, 1.0),) * 6,
        shapes=((36, 50, 35),) * 6,
        median_relative_size=1.0,
        intensities=(values,),
        orientations=("RAS", "LPS", *["RAS"] * 4),
        cases_with=(6, 6, 1),
    )
    plan = plan_from_preset(fingerprint, find_preset("04"))
    assert plan.orientations == ("LPS", "RAS")
    assert sum("Mind:" in reason for reason in plan.reasons) == 2
