"""Pooling rules and the memory estimate, on cases worked out by hand."""

import pytest

from nnunet_lib.planning import divisors, memory_estimate, plan_topology, stage_filters


@pytest.mark.parametrize(
    ("size", "stages"), [((7, 7), 1), ((8, 8), 2), ((15, 15), 3), ((16, 16), 3), ((11, 4), 1)]
)
def test_an_axis_is_pooled_while_four_voxels_remain(size: tuple[int, ...], stages: int) -> None:
    # 15 is padded to 16, so 8 are left after the first pooling, which suffice for a second.
    assert len(plan_topology((1.0, 1.0), size).strides) == stages


def test_one_axis_alone_needs_twelve_voxels() -> None:
    assert plan_topology((1.0, 1.0), (11, 4)).strides == ((1, 1),)
    assert plan_topology((1.0, 1.0), (12, 4)).strides == ((1, 1), (2, 1))


def test_a_coarse_axis_waits_until_the_others_come_near() -> None:
    topology = plan_topology((4.0, 1.0, 1.0), (32, 128, 128))
    assert topology.strides[:4] == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    assert topology.kernels[:3] == ((1, 3, 3), (1, 3, 3), (3, 3, 3))


def test_exactly_twice_as_coarse_counts_as_coarse() -> None:
    assert plan_topology((2.0, 1.0), (64, 64)).strides[1] == (1, 2)
    assert plan_topology((1.99, 1.0), (64, 64)).strides[1] == (2, 2)


def test_the_patch_is_rounded_up_and_kept_where_nothing_is_pooled() -> None:
    topology = plan_topology((10.0, 1.0, 1.0), (5.5, 33, 40))
    assert topology.patch_size[0] == 6
    for size, multiple in zip(topology.patch_size, divisors(topology.strides), strict=True):
        assert size % multiple == 0


def test_the_estimate_counts_every_convolution() -> None:
    topology = plan_topology((1.0, 1.0), (8, 8))  # two stages: 8 x 8 and 4 x 4
    encoder = 2 * 64 * 10 + 2 * 16 * 20
    decoder = (2 + 1) * 64 * 10
    segmentation = 64 * 3
    assert memory_estimate(topology, (10, 20), 3) == encoder + decoder + segmentation


def test_filters_double_up_to_a_limit() -> None:
    assert stage_filters(6, 32, dimensions=3) == (32, 64, 128, 256, 320, 320)
    assert stage_filters(6, 32, dimensions=2) == (32, 64, 128, 256, 512, 512)
    assert stage_filters(3, 8, dimensions=3) == (8, 16, 32)


def test_a_kernel_that_has_grown_stays_large_where_its_axis_is_no_longer_halved() -> None:
    assert set(plan_topology((1.0, 1.0, 1.0), (8, 64, 64)).kernels) == {(3, 3, 3)}


def test_a_fine_axis_that_is_too_short_does_not_keep_the_others_from_being_halved() -> None:
    assert len(plan_topology((1.0, 4.0, 4.0), (4, 64, 64)).strides) > 1
