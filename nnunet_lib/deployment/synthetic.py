"""Made-up cases to measure speed on: noise with a ball of labels in it, and a plan for them."""

from pathlib import Path

import numpy as np

from nnunet_lib.datasets.nifti import times
from nnunet_lib.deployment.settings import BenchmarkSettings
from nnunet_lib.errors import InputError
from nnunet_lib.loading import CaseFiles
from nnunet_lib.planning import Normalisation, Plan, divisors, stage_filters
from nnunet_lib.planning.presets import find_preset, preset_topology

PATCH = {2: (96, 80), 3: (64, 64, 64)}
"""Half of NVIDIA's for BraTS, so that a CPU takes a step in seconds."""
BATCH_SIZE = {2: 32, 3: 2}
BASE_FILTERS = 12
LABELS = ("background", "shell", "mantle", "core")  # as many as BraTS has
SLICES = 16  # of a volume that 2D patches come from
ROOM = 1.25  # a case's size, in patches


def synthetic_plan(settings: BenchmarkSettings) -> Plan:
    """NVIDIA's network for BraTS, in the size that the settings say.

    Raises:
        InputError: if the patch is none that the network can halve as often as it wants.
    """
    dimensions = settings.dimensions
    patch = settings.patch_size or PATCH[dimensions]
    channels = settings.channels or find_preset("1").channels
    topology = preset_topology((1.0,) * dimensions, patch)
    if len(topology.strides) == 1:
        raise InputError(
            f"patch size {times(patch)}: cannot be halved even once. Give at least 8 on an axis."
        )
    multiples = divisors(topology.strides)
    if any(size % step for size, step in zip(patch, multiples, strict=True)):
        raise InputError(f"patch size {times(patch)}: must be a multiple of {times(multiples)}.")
    filters = settings.base_filters or BASE_FILTERS
    return Plan(
        dataset="made up",
        dimensions=dimensions,
        channels=tuple(f"channel {number}" for number in range(channels)),
        labels=LABELS,
        axis_order=(0, 1, 2),
        target_spacing=(1.0,) * dimensions,
        normalisation=(Normalisation("z_score"),) * channels,
        patch_size=patch,
        batch_size=settings.batch_size or BATCH_SIZE[dimensions],
        strides=topology.strides,
        kernels=topology.kernels,
        filters=stage_filters(len(topology.strides), filters, dimensions),
    )


def write_cases(folder: Path, plan: Plan, number: int) -> list[CaseFiles]:
    """Write cases as preprocessing does, each somewhat larger than the patch."""
    sizes = tuple(round(ROOM * size) for size in plan.patch_size)
    shape = sizes if plan.dimensions == 3 else (SLICES, *sizes)
    label = _ball(shape)  # (a, b, c, 1)
    cases = []
    for case in range(number):
        random = np.random.default_rng(case)
        image = random.standard_normal((*shape, len(plan.channels)), np.float32)
        files = CaseFiles(folder / f"{case}_image.npy", folder / f"{case}_label.npy")
        np.save(files.image, image)
        np.save(files.label, label)
        cases.append(files)
    return cases


def _ball(shape: tuple[int, ...]) -> np.ndarray:
    """Labels 1 to 3 from the shell of a centred ellipsoid to its core: (*shape, 1) uint8."""
    axes = [np.linspace(-1, 1, size) for size in shape]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))
    rings = np.searchsorted([0.2, 0.4, 0.6], radius)  # 0 at the core, 3 outside
    return (len(LABELS) - 1 - rings).astype(np.uint8)[..., None]
