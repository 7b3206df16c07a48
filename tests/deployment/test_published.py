"""NVIDIA's figures appear beside the same work only."""

from dataclasses import replace

import pytest

from nnunet_lib.deployment import BenchmarkSettings
from nnunet_lib.deployment.published import find_published
from nnunet_lib.deployment.synthetic import synthetic_plan
from nnunet_lib.model import ComputeSettings
from nnunet_lib.planning import Plan

HALF = ComputeSettings("float16")
PATCH = {2: (192, 160), 3: (128, 128, 128)}


def nvidias(dimensions: int, batch_size: int) -> Plan:
    return synthetic_plan(
        BenchmarkSettings(
            dimensions=dimensions,
            batch_size=batch_size,
            patch_size=PATCH[dimensions],
            base_filters=32,
        )
    )


@pytest.mark.parametrize(
    ("mode", "dimensions", "batch_size", "gpus", "compute", "expected"),
    [
        ("train", 3, 2, 1, HALF, {("A100", "AMP"): 29.3, ("V100", "AMP"): 13.1}),
        ("train", 3, 2, 1, ComputeSettings(), {("A100", "TF32"): 11.8, ("V100", "FP32"): 2.5}),
        ("train", 3, 2, 1, ComputeSettings(tf32=False), {("V100", "FP32"): 2.5}),
        ("train", 3, 4, 1, HALF, {("A100", "AMP"): 31.9}),
        ("train", 3, 2, 8, HALF, {("A100", "AMP"): 219.3, ("V100", "AMP"): 97.7}),
        ("train", 2, 64, 8, HALF, {("A100", "AMP"): 11687, ("V100", "AMP"): 5696}),
        ("predict", 3, 1, 1, HALF, {("A100", "FP16"): 78.2, ("V100", "FP16"): 36.9}),
        ("predict", 2, 64, 1, ComputeSettings(), {("A100", "TF32"): 2447, ("V100", "FP32"): 1034}),
        ("train", 3, 2, 1, ComputeSettings("bfloat16"), {}),
        ("train", 3, 3, 1, HALF, {}),
        ("train", 3, 2, 2, HALF, {}),
        ("predict", 3, 2, 1, HALF, {}),
        ("predict", 3, 1, 8, HALF, {}),
        ("loader", 3, 2, 1, HALF, {}),
    ],
)
def test_figures_of_a_configuration(mode, dimensions, batch_size, gpus, compute, expected) -> None:
    found = find_published(mode, nvidias(dimensions, batch_size), compute, gpus)
    assert {(item.gpu, item.precision): item.items_per_second for item in found} == expected
    assert all(item.gpus == gpus for item in found)
    assert all((item.latency is None) == (mode == "train") for item in found)


@pytest.mark.parametrize("mode", ["train", "predict"])
def test_another_network_has_no_figures(mode: str) -> None:
    plan = nvidias(3, 1)
    assert find_published(mode, plan, HALF, 1)
    for other in (
        replace(plan, patch_size=(96, 96, 96)),
        replace(plan, filters=(16, *plan.filters[1:])),
        replace(plan, channels=plan.channels[1:], normalisation=plan.normalisation[1:]),
    ):
        assert not find_published(mode, other, HALF, 1)


def test_latency_and_throughput_of_one_figure_agree() -> None:
    for batch_size in (1, 4):
        for compute in (HALF, ComputeSettings()):
            for item in find_published("predict", nvidias(3, batch_size), compute, 1):
                seconds = batch_size / item.items_per_second
                assert item.latency == pytest.approx(1000 * seconds, rel=0.01)
