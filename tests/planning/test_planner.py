"""The planner against nnU-Net's own outputs, and against what every plan must satisfy."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.planning import (
    Fingerprint,
    Plan,
    PlannerSettings,
    Topology,
    make_plan,
    memory_estimate,
    plan_topology,
)

Maker = Callable[..., Fingerprint]

# Cases, labels, median shape and spacing of tasks of the Medical Segmentation Decathlon.
HIPPOCAMPUS = (260, 3, (36, 50, 35), (1.0, 1.0, 1.0))
HEART = (20, 2, (115, 320, 232), (1.37, 1.25, 1.25))
BRAIN = (484, 4, (138, 170, 138), (1.0, 1.0, 1.0))
PROSTATE = (32, 3, (20, 320, 319), (3.6, 0.625, 0.625))
SPLEEN = (41, 2, (187, 512, 512), (1.6, 0.79, 0.79))


# What nnU-Net itself assumes: a GPU of 8 GB.
NNUNET = {
    dimensions: PlannerSettings(
        dimensions, memory_gigabytes=8.0, base_filters=32, small_steps=False
    )
    for dimensions in (2, 3)
}


def plan_task(
    make_fingerprint: Maker,
    task: tuple[int, int, tuple[int, ...], tuple[float, ...]],
    dimensions: int,
) -> Plan:
    cases, labels, shape, spacing = task
    fingerprint = make_fingerprint(shape, spacing, cases, labels)
    return make_plan(fingerprint, NNUNET[dimensions])


def estimate(plan: Plan) -> int:
    topology = Topology(plan.patch_size, plan.strides, plan.kernels)
    return memory_estimate(topology, plan.filters, len(plan.labels))


# What nnU-Net 2.8.1 plans for these, with 8 GB.
@pytest.mark.parametrize(
    ("task", "dimensions", "batch_size", "patch_size"),
    [
        (HIPPOCAMPUS, 2, 366, (56, 40)),
        (HIPPOCAMPUS, 3, 9, (40, 56, 40)),
        (HEART, 2, 40, (320, 256)),
        (HEART, 3, 2, (80, 192, 160)),
        (BRAIN, 2, 105, (192, 160)),
        (BRAIN, 3, 2, (128, 128, 128)),
        (PROSTATE, 2, 32, (320, 320)),
        (PROSTATE, 3, 2, (20, 320, 256)),
        (SPLEEN, 2, 12, (512, 512)),
        (SPLEEN, 3, 2, (64, 192, 160)),
    ],
)
def test_patch_and_batch_are_nnunets(
    make_fingerprint: Maker,
    task: tuple[int, int, tuple[int, ...], tuple[float, ...]],
    dimensions: int,
    batch_size: int,
    patch_size: tuple[int, ...],
) -> None:
    plan = plan_task(make_fingerprint, task, dimensions)
    assert (plan.batch_size, plan.patch_size) == (batch_size, patch_size)


def test_hippocampus_network_is_nnunets(make_fingerprint: Maker) -> None:
    plan = plan_task(make_fingerprint, HIPPOCAMPUS, 3)
    assert plan.strides == ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    assert plan.filters == (32, 64, 128, 256)
    assert estimate(plan) == 19_174_400
    assert len(plan_task(make_fingerprint, HIPPOCAMPUS, 2).strides) == 4


def test_heart_network_is_nnunets(make_fingerprint: Maker) -> None:
    plan = plan_task(make_fingerprint, HEART, 3)
    assert plan.strides[-1] == (1, 2, 2)
    assert plan.filters == (32, 64, 128, 256, 320, 320)
    assert estimate(plan) == 528_211_200


def test_prostate_network_is_nnunets(make_fingerprint: Maker) -> None:
    plan = plan_task(make_fingerprint, PROSTATE, 3)
    strides = ["".join(str(step) for step in stage) for stage in plan.strides]
    assert strides == ["111", "122", "122", "222", "222", "122", "122"]
    assert plan.kernels == ((1, 3, 3),) * 2 + ((3, 3, 3),) * 5


SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (2.5, 1.1, 0.8), (0.9, 0.9, 3.1)]
SHAPES = [(18, 160, 170), (61, 64, 67), (97, 201, 33)]


@pytest.mark.parametrize(
    ("shape", "spacing", "dimensions", "memory"),
    [*itertools.product(SHAPES, SPACINGS, (2, 3), (0.5, 4.0))],
)
def test_every_plan_can_be_built_and_fits_the_memory(
    make_fingerprint: Maker,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    dimensions: int,
    memory: float,
) -> None:
    settings = PlannerSettings(dimensions, memory_gigabytes=memory, base_filters=16)
    plan = make_plan(make_fingerprint(shape, spacing), settings)
    products = [math.prod(axis) for axis in zip(*plan.strides, strict=True)]
    for size, product in zip(plan.patch_size, products, strict=True):
        assert size % product == 0
        assert product == 1 or size // product >= 4
    assert len(plan.strides) == len(plan.kernels) == len(plan.filters) > 1
    assert plan.kernels[-1] == (3,) * dimensions
    assert plan.batch_size >= 2
    reference = {2: 12 * 8.5e7, 3: 2 * 5.6e8}[dimensions]  # a batch that fills 8 GB
    assert 2 * estimate(plan) <= reference * memory / 8
    assert sorted(plan.axis_order) == [0, 1, 2]


def test_kernels_never_shrink_again(make_fingerprint: Maker) -> None:
    plan = make_plan(make_fingerprint((20, 320, 320), (6.0, 0.5, 0.5)))
    for before, after in itertools.pairwise(plan.kernels):
        assert all(new >= old for old, new in zip(before, after, strict=True))


class TestTargetSpacing:
    def test_is_the_median(self, make_fingerprint: Maker) -> None:
        spacings = ((1.0, 1.0, 1.0), (2.0, 1.5, 1.0), (2.5, 1.2, 1.0))
        assert make_plan(make_fingerprint(spacings=spacings)).target_spacing == (2.0, 1.2, 1.0)

    def test_thick_and_few_slices_use_the_10th_percentile_of_the_coarsest_axis(
        self, make_fingerprint: Maker
    ) -> None:
        # The finest axis varies as well, so that taking its percentile instead would show.
        spacings = tuple((2.5 + 0.5 * case, 0.8, 0.5 + 0.01 * case) for case in range(11))
        shapes = ((20, 320, 320),) * 10 + ((2000, 320, 320),)  # few in the median case
        plan = make_plan(replace(make_fingerprint(spacings=spacings), shapes=shapes))
        assert plan.axis_order == (0, 1, 2)
        assert plan.target_spacing == pytest.approx((3.0, 0.8, 0.55))
        assert "10th percentile" in " ".join(plan.reasons)

    def test_never_falls_below_the_next_coarsest_axis(self, make_fingerprint: Maker) -> None:
        spacings = ((0.5, 0.8, 0.8),) * 3 + ((5.0, 0.8, 0.8),) * 8
        plan = make_plan(make_fingerprint((20, 320, 320), spacings=spacings))
        assert 0.8 < plan.target_spacing[0] < 0.8001
        assert plan.axis_order[0] == 0

    # In the second, few beside the longer side of a slice alone.
    @pytest.mark.parametrize("shape", [(120, 320, 320), (40, 100, 320)])
    def test_many_thick_slices_keep_the_median(
        self, make_fingerprint: Maker, shape: tuple[int, ...]
    ) -> None:
        spacings = tuple((2.5 + 0.5 * case, 0.8, 0.8) for case in range(11))
        plan = make_plan(make_fingerprint(shape, spacings=spacings))
        assert plan.target_spacing[0] == pytest.approx(5.0)

    def test_slices_that_are_thick_beside_the_finest_axis_alone_keep_the_median(
        self, make_fingerprint: Maker
    ) -> None:
        spacings = tuple((2.0 + 0.1 * case, 1.5, 0.5) for case in range(11))
        plan = make_plan(make_fingerprint((20, 320, 320), spacings=spacings))
        assert plan.target_spacing[0] == pytest.approx(2.5)

    @pytest.mark.parametrize("coarsest", [0, 1, 2])
    def test_the_coarsest_axis_comes_first(self, make_fingerprint: Maker, coarsest: int) -> None:
        spacing = [0.7, 0.8, 0.9]
        spacing[coarsest] = 4.0
        shape = [64, 72, 80]
        shape[coarsest] = 24
        plan = make_plan(make_fingerprint(tuple(shape), tuple(spacing)))
        assert plan.axis_order[0] == coarsest
        assert plan.target_spacing == tuple(spacing[axis] for axis in plan.axis_order)
        in_slice = make_plan(
            make_fingerprint(tuple(shape), tuple(spacing)), PlannerSettings(dimensions=2)
        )
        assert in_slice.target_spacing == plan.target_spacing[1:]

    def test_single_slices_are_stacked_along_their_only_voxel(
        self, make_fingerprint: Maker
    ) -> None:
        fingerprint = make_fingerprint((1, 60, 60), (0.5, 0.7, 0.7))
        plan = make_plan(fingerprint, PlannerSettings(dimensions=2))
        assert plan.axis_order == (0, 1, 2)
        assert plan.patch_size == (64, 64)

    def test_may_be_given(self, make_fingerprint: Maker) -> None:
        settings = PlannerSettings(target_spacing=(1.0, 2.0, 3.0))
        plan = make_plan(make_fingerprint((60, 60, 60)), settings)
        assert plan.axis_order == (2, 0, 1)
        assert plan.target_spacing == (3.0, 1.0, 2.0)

    def test_may_be_coarser_than_a_case_is_long(self, make_fingerprint: Maker) -> None:
        settings = PlannerSettings(target_spacing=(50.0, 1.0, 1.0))
        plan = make_plan(make_fingerprint((20, 60, 60)), settings)  # less than half a voxel
        assert min(plan.patch_size) >= 1

    def test_may_be_given_inside_the_slice(self, make_fingerprint: Maker) -> None:
        settings = PlannerSettings(dimensions=2, target_spacing=(0.5, 1.0))
        plan = make_plan(make_fingerprint(), settings)
        assert plan.target_spacing == (0.5, 1.0)
        assert plan.patch_size == (112, 40)  # of a median slice that is now 100 x 35


class TestGivenSizes:
    def test_a_patch_that_can_be_pooled_is_taken(self, make_fingerprint: Maker) -> None:
        plan = make_plan(make_fingerprint(), PlannerSettings(patch_size=(16, 32, 32)))
        assert plan.patch_size == (16, 32, 32)
        assert "Patch size: as given." in plan.reasons

    def test_another_is_rounded_up_with_the_reason(self, make_fingerprint: Maker) -> None:
        plan = make_plan(make_fingerprint(), PlannerSettings(patch_size=(33, 41, 30)))
        topology = plan_topology((1.0, 1.0, 1.0), (33, 41, 30))
        assert plan.patch_size == topology.patch_size == (40, 48, 32)
        assert any("33 x 41 x 30 as given, rounded up" in reason for reason in plan.reasons)

    def test_a_patch_that_cannot_be_pooled_is_refused(self, make_fingerprint: Maker) -> None:
        with pytest.raises(InputError, match="6 x 6 x 6"):
            make_plan(make_fingerprint(), PlannerSettings(patch_size=(6, 6, 6)))

    def test_batch_size_is_taken(self, make_fingerprint: Maker) -> None:
        assert make_plan(make_fingerprint(), PlannerSettings(batch_size=1)).batch_size == 1

    @pytest.mark.parametrize(
        "wrong",
        [
            {"dimensions": 4},
            {"patch_size": (8, 8)},
            {"patch_size": (8, 8, 0)},
            {"target_spacing": (1.0, 1.0, -1.0)},
            {"dimensions": 2, "target_spacing": (1.0, 1.0, 1.0)},
            {"batch_size": 0},
            {"base_filters": 0},
            {"memory_gigabytes": -1.0},
            {"memory_gigabytes": float("nan")},
            {"target_spacing": (1.0, float("nan"), 1.0)},
            {"target_spacing": (1.0, float("inf"), 1.0)},
        ],
    )
    def test_what_no_plan_can_follow_is_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(InputError):
            PlannerSettings(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_images_too_small_for_a_network_are_refused(make_fingerprint: Maker) -> None:
    with pytest.raises(InputError, match="too small"):
        make_plan(make_fingerprint((7, 7, 7)))
    assert len(make_plan(make_fingerprint((8, 8, 8))).strides) == 2


@pytest.mark.parametrize("dimensions", [2, 3])
def test_memory_too_small_for_a_network_is_refused(
    make_fingerprint: Maker, dimensions: int
) -> None:
    with pytest.raises(InputError, match="memory_gigabytes"):
        make_plan(make_fingerprint(), PlannerSettings(dimensions, memory_gigabytes=1e-5))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_images_of_one_slice_have_no_3d_plan_and_a_2d_one(
    make_fingerprint: Maker, axis: int
) -> None:
    shape = [50, 60, 40]
    shape[axis] = 1
    spacing = [0.8, 0.7, 0.9]
    spacing[axis] = 0.5
    fingerprint = make_fingerprint(tuple(shape), tuple(spacing))
    with pytest.raises(InputError, match=f"one slice along {'zyx'[axis]}.* --dim 2"):
        make_plan(fingerprint, PlannerSettings(3))
    plan = make_plan(fingerprint, PlannerSettings(2))
    assert plan.axis_order[0] == axis
    assert f"Axis order: {'zyx'[axis]} comes first; the images have one slice." in plan.reasons


def test_a_spacing_given_in_the_slice_makes_it_no_single_one(make_fingerprint: Maker) -> None:
    fingerprint = make_fingerprint((40, 100, 100), (3.0, 1.0, 1.0))
    plan = make_plan(fingerprint, PlannerSettings(2, target_spacing=(5, 5)))
    assert "Axis order: z comes first; it is the coarsest." in plan.reasons


def test_a_target_spacing_that_leaves_one_slice_leaves_one_voxel_of_a_patch(
    make_fingerprint: Maker,
) -> None:
    settings = PlannerSettings(target_spacing=(40.0, 1.0, 1.0), base_filters=32)
    assert make_plan(make_fingerprint((40, 60, 60)), settings).patch_size == (1, 64, 64)
    bounded = make_plan(make_fingerprint((40, 512, 512)), settings)  # by the memory, in the plane
    assert bounded.patch_size[0] == 1
    assert len(bounded.strides) > 1
    assert 2 * estimate(bounded) <= 2 * 5.6e8 * settings.memory_gigabytes / 8


def test_what_a_plan_cannot_mend_is_said(make_fingerprint: Maker) -> None:
    fingerprint = make_fingerprint(cases=6)
    assert not [reason for reason in make_plan(fingerprint).reasons if "Mind" in reason]
    mixed = replace(fingerprint, orientations=("RAS",) * 4 + ("LPS",) * 2, cases_with=(6, 0, 2))
    plan = make_plan(mixed)
    assert plan.orientations == ("LPS", "RAS")
    *_, orientation, absent, rare = plan.reasons
    assert "LPS (2), RAS (4)" in orientation
    assert "label 1 (1) occurs in 0 of 6 label maps. No network can learn it." in absent
    assert "label 2 (2) occurs in 2 of 6 label maps. Some fold is without it." in rare
    few = replace(make_fingerprint(cases=3), cases_with=(3, 3, 3))  # all there are
    assert not [reason for reason in make_plan(few).reasons if "Mind" in reason]
    kept = Fingerprint.from_json(json.loads(json.dumps(mixed.to_json())))
    assert kept == mixed


@pytest.mark.parametrize(("dimensions", "edge"), [(2, 2048), (3, 256)])
def test_what_is_smaller_than_a_case_is_not_called_one(
    make_fingerprint: Maker, dimensions: int, edge: int
) -> None:
    settings = PlannerSettings(dimensions, memory_gigabytes=1000, small_steps=True)
    plan = make_plan(make_fingerprint((600, 3000, 3000)), settings)
    assert plan.patch_size == (edge,) * dimensions
    assert any(f"as many voxels as {edge} x {edge}" in reason for reason in plan.reasons)


def test_the_patch_is_no_larger_than_the_median_case(make_fingerprint: Maker) -> None:
    shapes = ((64, 64, 64), (64, 64, 64), (256, 256, 256))
    fingerprint = replace(make_fingerprint(cases=3), shapes=shapes)
    settings = PlannerSettings(memory_gigabytes=1000, small_steps=False)
    assert make_plan(fingerprint, settings).patch_size == (64, 64, 64)


def test_a_batch_is_at_most_a_twentieth_of_the_dataset(make_fingerprint: Maker) -> None:
    plan = make_plan(
        make_fingerprint(cases=100), PlannerSettings(memory_gigabytes=1000, small_steps=False)
    )
    share = plan.batch_size * math.prod(plan.patch_size) / (100 * math.prod((36, 50, 35)))
    assert share == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize(
    ("shape", "spacing", "patch_size", "whole"),
    [
        ((36, 50, 35), (1.0, 1.0, 1.0), (32, 40, 32), (40, 56, 40)),
        ((20, 100, 100), (5.0, 1.0, 1.0), (16, 80, 80), (20, 112, 112)),
        ((20, 60, 60), (5.0, 1.0, 1.0), (20, 64, 64), (20, 64, 64)),  # less would cost a stage
    ],
)
def test_small_steps_take_a_part_of_a_case_that_would_fit(
    make_fingerprint: Maker,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    patch_size: tuple[int, ...],
    whole: tuple[int, ...],
) -> None:
    fingerprint = make_fingerprint(shape, spacing)
    small, large = (
        make_plan(fingerprint, PlannerSettings(memory_gigabytes=1000, small_steps=chosen))
        for chosen in (True, False)
    )
    assert (small.patch_size, large.patch_size) == (patch_size, whole)
    assert (small.strides, small.kernels) == (large.strides, large.kernels)
    assert (f"{whole[0]} x {whole[1]} x {whole[2]} would fit" in str(small.reasons)) == (
        patch_size != whole
    )


def test_small_steps_leave_a_patch_that_memory_bounds(make_fingerprint: Maker) -> None:
    fingerprint = make_fingerprint((200, 200, 200))
    small, large = (
        make_plan(fingerprint, PlannerSettings(small_steps=chosen)) for chosen in (True, False)
    )
    assert small.patch_size == large.patch_size < (200, 200, 200)


@pytest.mark.parametrize(
    ("dimensions", "patch_size", "small"), [(2, (56, 40), 32), (3, (40, 56, 40), 2)]
)
def test_small_steps_change_the_batch_alone_of_a_given_patch(
    make_fingerprint: Maker, dimensions: int, patch_size: tuple[int, ...], small: int
) -> None:
    fingerprint = make_fingerprint(cases=200)
    nnunet = replace(NNUNET[dimensions], patch_size=patch_size)
    large, kept = (make_plan(fingerprint, replace(nnunet, small_steps=s)) for s in (False, True))
    assert (kept.batch_size, large.batch_size > small) == (small, True)
    assert replace(kept, batch_size=large.batch_size, reasons=large.reasons) == large
    given = replace(nnunet, small_steps=True, batch_size=50)
    assert make_plan(fingerprint, given).batch_size == 50


class TestNormalisation:
    @pytest.mark.parametrize("name", ["CT", "ct", "Ct"])
    def test_ct_uses_the_datasets_foreground(self, make_fingerprint: Maker, name: str) -> None:
        (scheme,) = make_plan(make_fingerprint(channels=(name,))).normalisation
        assert scheme.scheme == "ct"
        assert (scheme.lower, scheme.upper) == (-41.0, 176.0)
        assert (scheme.mean, scheme.standard_deviation) == (99.3, 39.5)

    def test_ct_whose_foreground_is_constant_has_a_plan(self, make_fingerprint: Maker) -> None:
        fingerprint = make_fingerprint(channels=("CT",))
        (statistics,) = fingerprint.intensities
        constant = replace(statistics, standard_deviation=0.0)
        (scheme,) = make_plan(replace(fingerprint, intensities=(constant,))).normalisation
        assert 0 < scheme.standard_deviation < 1e-6

    @pytest.mark.parametrize(("size", "inside"), [(0.74, True), (0.75, False), (1.0, False)])
    def test_others_use_the_mask_if_cropping_removes_a_quarter(
        self, make_fingerprint: Maker, size: float, inside: bool
    ) -> None:
        fingerprint = make_fingerprint(channels=("T1", "CT", "PET"), median_relative_size=size)
        first, second, third = make_plan(fingerprint).normalisation
        assert first == third
        assert (first.scheme, first.inside_mask) == ("z_score", inside)
        assert second.scheme == "ct"
        assert not second.inside_mask


def test_numbers_are_pythons_own(make_fingerprint: Maker) -> None:
    plan = make_plan(make_fingerprint((20, 320, 320), (3.0, 0.5, 0.5)))
    numbers = [*plan.target_spacing, *plan.patch_size, *plan.axis_order, *plan.strides[0]]
    assert not any(isinstance(number, np.generic) for number in numbers)


def test_the_first_patch_has_equal_millimetres_along_each_axis(make_fingerprint: Maker) -> None:
    whole = PlannerSettings(memory_gigabytes=1e4, small_steps=False)
    plan = make_plan(make_fingerprint((400, 1000, 1000), (2.0, 0.5, 0.5)), whole)
    z, y, x = np.multiply(plan.patch_size, plan.target_spacing)
    assert y == x
    assert z == pytest.approx(y, abs=32)  # sizes are rounded to what strides divide
    assert plan.patch_size[0] * 3 < plan.patch_size[1]


@pytest.mark.parametrize("name", ["PCT", "CTA", "CT1", "octant"])
def test_a_channel_with_ct_in_its_name_is_no_ct(make_fingerprint: Maker, name: str) -> None:
    assert make_plan(make_fingerprint(channels=(name,))).normalisation[0].scheme == "z_score"


def test_slices_of_three_times_the_thickness_are_not_yet_thick(make_fingerprint: Maker) -> None:
    spacings = ((1.5, 1.0, 1.0), *[(3.0, 1.0, 1.0)] * 4)
    plan = make_plan(make_fingerprint((20, 320, 320), spacings=spacings))
    assert plan.target_spacing[0] == 3.0
