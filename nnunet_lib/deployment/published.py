"""Throughput that NVIDIA published for its own implementation, to stand beside ours.

These are NVIDIA's measurements, not ours. They hold for one configuration each: the network of
its preset for BraTS, on the GPUs, and with the batch, that a figure names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_lib.model.compute import ComputeSettings
from nnunet_lib.planning import Plan
from nnunet_lib.planning.presets import BASE_FILTERS, find_preset

SOURCE = (
    "NVIDIA, DeepLearningExamples, TensorFlow2/Segmentation/nnUNet, README at commit 729963dd: "
    "BraTS, TensorFlow 22.11 container, XLA"
)


@dataclass(frozen=True)
class Published:
    """One figure of NVIDIA's.

    Attributes:
        gpu: which one.
        gpus: how many together.
        precision: as NVIDIA names it: AMP or FP16, TF32, FP32.
        items_per_second: images (2D) or volumes (3D), over all GPUs.
        latency: milliseconds a batch, the mean; None where none is published.
    """

    gpu: str
    gpus: int
    precision: str
    items_per_second: float
    latency: float | None = None


# (dimensions, GPUs, batch size a GPU): A100 in AMP and TF32, V100 in AMP and FP32
_TRAINING: dict[tuple[int, int, int], tuple[float | None, ...]] = {
    (2, 1, 64): (1662.8, 804.2, 819.2, 337.4),
    (2, 8, 64): (11687, 6251, 5696, 2586),
    (3, 1, 1): (27.0, 11.6, 12.2, 2.1),
    (3, 1, 2): (29.3, 11.8, 13.1, 2.5),
    (3, 1, 4): (31.9, 12.2, None, None),
    (3, 8, 2): (219.3, 92.9, 97.7, 19.9),
    (3, 8, 4): (244.0, 96.5, None, None),
}
# The same for inference, with FP16 in the place of AMP, and the latency below.
_INFERENCE: dict[tuple[int, int, int], tuple[float | None, ...]] = {
    (2, 1, 64): (4160.9, 2447, 2263, 1034),
    (3, 1, 1): (78.2, 38.9, 36.9, 9.7),
    (3, 1, 4): (83.2, 41.7, 38.8, 10.1),
}
_LATENCY: dict[tuple[int, int, int], tuple[float | None, ...]] = {
    (2, 1, 64): (15.4, 26.2, 28.3, 61.9),
    (3, 1, 1): (12.8, 25.7, 27.1, 103.6),
    (3, 1, 4): (48.1, 96.0, 103.1, 394.7),
}
_NOTHING = (None,) * 4


def find_published(
    mode: str, plan: Plan, compute: ComputeSettings, processes: int
) -> tuple[Published, ...]:
    """NVIDIA's figures for the same work in the same precision; empty if there are none.

    Args:
        mode: of the benchmark; NVIDIA published none for the loader alone.
        plan: tells the network, the patch and the batch of one process.
        compute: the precision.
        processes: as many as GPUs.
    """
    if mode not in ("train", "predict") or not _is_nvidias(plan):
        return ()
    key = (plan.dimensions, processes, plan.batch_size)
    rates = (_TRAINING if mode == "train" else _INFERENCE).get(key, _NOTHING)
    latencies = _LATENCY.get(key, _NOTHING) if mode == "predict" else _NOTHING
    half = "AMP" if mode == "train" else "FP16"
    columns = (("A100", half), ("A100", "TF32"), ("V100", half), ("V100", "FP32"))
    wanted = _precisions(compute)
    return tuple(
        Published(gpu, processes, precision, rate, latency)
        for (gpu, precision), rate, latency in zip(columns, rates, latencies, strict=True)
        if rate is not None and precision in wanted
    )


def _is_nvidias(plan: Plan) -> bool:
    """Whether a plan has the patch and the network of NVIDIA's preset for BraTS."""
    brats = find_preset("1")
    patch = brats.patch_2d if plan.dimensions == 2 else brats.patch_3d
    first = (plan.patch_size, len(plan.channels), plan.filters[0])
    return first == (patch, brats.channels, BASE_FILTERS)


def _precisions(compute: ComputeSettings) -> Sequence[str]:
    """NVIDIA's names for what was asked; none for bfloat16, which it did not measure."""
    if compute.precision == "float32":
        return ("TF32", "FP32") if compute.tf32 else ("FP32",)
    return ("AMP", "FP16") if compute.precision == "float16" else ()
