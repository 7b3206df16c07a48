"""What NVIDIA published for the Decathlon's ten tasks, as plans.

Source of all values and of the rule for strides: NVIDIA/DeepLearningExamples,
TensorFlow2/Segmentation/nnUNet at commit 729963dd: data_preprocessing/configs.py (patch, spacing,
CT intensities), models/nn_unet.py (strides, kernels), models/unet.py (filters),
data_preprocessing/preprocessor.py (normalisation), scripts/train.py (batch size).

They let a result be compared with theirs. A dataset of one's own needs none: `make_plan` decides
everything from its fingerprint, and `PlannerSettings` overrules it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from nnunet_lib.datasets import TASKS, find_task
from nnunet_lib.errors import InputError
from nnunet_lib.planning.fingerprint import Fingerprint
from nnunet_lib.planning.plan import Normalisation, Plan
from nnunet_lib.planning.planner import PlannerSettings, cautions, coarsest_first, is_ct
from nnunet_lib.planning.topology import Topology, stage_filters

BASE_FILTERS = 32
BATCH_SIZE = {2: 64, 3: 2}  # slices, volumes
MOST_POOLINGS = 5
SMALLEST_TO_POOL = 8  # voxels
NEAR = 2.0  # an axis is halved while its spacing is at most this many times the finest


@dataclass(frozen=True)
class Preset:
    """One task's configuration. Axes are in spatial order (z, y, x), the slice axis first.

    Attributes:
        task: 1 to 10.
        channels: how many the images have.
        spacing: millimetres (z, y, x); in 2D the last two.
        patch_3d: voxels (z, y, x).
        patch_2d: pixels (y, x).
        ct: how CT is normalised, in Hounsfield units; None for MRI, whose cases are z-scored.
    """

    task: int
    channels: int
    spacing: tuple[float, float, float]
    patch_3d: tuple[int, int, int]
    patch_2d: tuple[int, int]
    ct: Normalisation | None = None

    @property
    def name(self) -> str:
        """The task's name, such as `Task04_Hippocampus`."""
        return TASKS[self.task - 1].name

    def require_fit(self, channels: Sequence[str], settings: PlannerSettings) -> None:
        """Refuse images of another kind, and settings that the preset leaves no room for.

        Raises:
            InputError: with what does not fit.
        """
        kinds = {is_ct(channel) for channel in channels}
        if len(channels) != self.channels or kinds != {self.ct is not None}:
            wanted = f"{self.channels}-channel {'CT' if self.ct else 'MRI'}"
            raise InputError(
                f"the preset for {self.name} is for {wanted}, but the dataset's channels are "
                f"{', '.join(channels)}. Give the dataset's own task, or plan without a preset."
            )
        free, default = {"dimensions", "batch_size"}, PlannerSettings()
        names = [field.name for field in fields(settings) if field.name not in free]
        given = [name for name in names if getattr(settings, name) != getattr(default, name)]
        if given:
            raise InputError(
                f"the preset decides {', '.join(given)}. Leave that out, or plan without a preset."
            )


def _ct(lower: float, upper: float, mean: float, standard_deviation: float) -> Normalisation:
    return Normalisation("ct", False, lower, upper, mean, standard_deviation)


PRESETS = (
    Preset(1, 4, (1.0, 1.0, 1.0), (128, 128, 128), (192, 160)),
    Preset(2, 1, (1.37, 1.25, 1.25), (80, 192, 160), (320, 256)),
    Preset(3, 1, (1.0, 0.7676, 0.7676), (128, 128, 128), (512, 512), _ct(-17, 201, 99.4, 39.36)),
    Preset(4, 1, (1.0, 1.0, 1.0), (40, 56, 40), (56, 40)),
    Preset(5, 2, (3.6, 0.62, 0.62), (20, 320, 256), (320, 320)),
    Preset(6, 1, (1.24, 0.79, 0.79), (80, 192, 160), (512, 512), _ct(-1024, 325, -158.58, 324.7)),
    Preset(7, 1, (2.5, 0.8, 0.8), (40, 224, 224), (512, 512), _ct(-96, 215, 77.9, 75.4)),
    Preset(8, 1, (1.5, 0.8, 0.8), (64, 192, 192), (512, 512), _ct(-3, 243, 104.37, 52.62)),
    Preset(9, 1, (1.6, 0.79, 0.79), (64, 192, 160), (512, 512), _ct(-41, 176, 99.29, 39.47)),
    Preset(10, 1, (3.0, 0.78, 0.78), (56, 192, 160), (512, 512), _ct(-30, 165.82, 62.18, 32.65)),
)


def find_preset(task: str) -> Preset:
    """The preset for task "4" or "04".

    Raises:
        InputError: if there is no such task.
    """
    return PRESETS[find_task(task).number - 1]


def plan_from_preset(
    fingerprint: Fingerprint, preset: Preset, settings: PlannerSettings | None = None
) -> Plan:
    """A plan with the preset's values, for the fingerprint's dataset.

    Of `settings` only `dimensions` and `batch_size` may be given.

    Raises:
        InputError: if the images are of another kind than the preset's, if their coarsest axis
            is not z, or if other settings are given.
    """
    settings = settings or PlannerSettings()
    preset.require_fit(fingerprint.channels, settings)
    _require_z_coarsest(fingerprint, preset)
    dimensions = settings.dimensions
    patch = preset.patch_2d if dimensions == 2 else preset.patch_3d
    topology = preset_topology(preset.spacing[-dimensions:], patch)
    # NVIDIA takes the statistics of an MRI channel over its own non-zero voxels; nnU-Net, and so
    # this library, over those where any channel is not zero, with their holes.
    scheme = preset.ct or Normalisation("z_score", inside_mask=True)
    return Plan(
        dataset=fingerprint.dataset,
        dimensions=dimensions,
        channels=fingerprint.channels,
        labels=fingerprint.labels,
        axis_order=(0, 1, 2),
        target_spacing=preset.spacing[-dimensions:],
        normalisation=(scheme,) * len(fingerprint.channels),
        patch_size=topology.patch_size,
        batch_size=settings.batch_size or BATCH_SIZE[dimensions],
        strides=topology.strides,
        kernels=topology.kernels,
        filters=stage_filters(len(topology.strides), BASE_FILTERS, dimensions),
        orientations=fingerprint.kinds_of_orientation,
        reasons=(*_reasons(preset, settings), *cautions(fingerprint)),
    )


def preset_topology(spacing: Sequence[float], patch_size: Sequence[int]) -> Topology:
    """NVIDIA's rule for strides and kernels, which is not quite nnU-Net's `plan_topology`.

    At each level an axis is halved if it has at least 8 voxels and its spacing is at most twice
    the finest; its kernel is 3 under the same condition on spacing. It ends when nothing is
    halved, or after 5 halvings.
    """
    spacings, sizes = list(spacing), list(patch_size)
    strides = [(1,) * len(sizes)]
    kernels: list[tuple[int, ...]] = []
    while len(kernels) < MOST_POOLINGS:
        near = [value / min(spacings) <= NEAR for value in spacings]
        pairs = zip(near, sizes, strict=True)
        stride = tuple(2 if is_near and size >= SMALLEST_TO_POOL else 1 for is_near, size in pairs)
        if max(stride) == 1:
            break
        strides.append(stride)
        kernels.append(tuple(3 if is_near else 1 for is_near in near))
        spacings = [value * step for value, step in zip(spacings, stride, strict=True)]
        sizes = [size // step for size, step in zip(sizes, stride, strict=True)]
    kernels.append((3,) * len(sizes))
    return Topology(tuple(patch_size), tuple(strides), tuple(kernels))


def _require_z_coarsest(fingerprint: Fingerprint, preset: Preset) -> None:
    """The presets know the axes by their place: z, then y and x, as the Decathlon stores them."""
    # Headers hold 32-bit numbers: their last digits are no reason to call an axis coarser.
    spacing = np.round(np.median(np.array(fingerprint.spacings), axis=0), 2)
    coarsest = coarsest_first(spacing.tolist(), fingerprint)[0]
    if coarsest != 0:
        raise InputError(
            f"the preset for {preset.name} takes z for the slice axis, but the slices of "
            f"{fingerprint.dataset} lie along {'zyx'[coarsest]}. Plan without a preset."
        )


def _reasons(preset: Preset, settings: PlannerSettings) -> tuple[str, ...]:
    """One sentence a decision."""
    normalisation = (
        "clipped and scaled by" if preset.ct else "z-score inside the non-zero mask, much as in"
    )
    batch = "as given" if settings.batch_size else f"NVIDIA's for {settings.dimensions}D training"
    return (
        f"Target spacing and patch size: NVIDIA's published ones for {preset.name}.",
        "Axis order: z comes first, as in NVIDIA's presets.",
        f"Normalisation: {normalisation} NVIDIA's published preset.",
        "Stages: by NVIDIA's rule; an axis is halved while at least 8 voxels remain to halve and "
        "its spacing is at most twice the finest, five times at most.",
        f"Batch size: {batch}.",
    )
