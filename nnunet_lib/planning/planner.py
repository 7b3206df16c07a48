"""From a fingerprint to a plan, by nnU-Net's rules.

Taught in lesson 02. Source: Isensee et al., Nature Methods 18 (2021), figure 2 and its
supplementary note 3.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnunet_lib.datasets import Dataset, require_valid
from nnunet_lib.datasets.nifti import times
from nnunet_lib.errors import InputError
from nnunet_lib.planning.fingerprint import (
    Fingerprint,
    IntensityStatistics,
    compute_fingerprint,
)
from nnunet_lib.planning.plan import Normalisation, Plan
from nnunet_lib.planning.topology import (
    Topology,
    divisors,
    memory_estimate,
    plan_topology,
    stage_filters,
)

ANISOTROPY = 3.0  # an axis this many times coarser than the next is treated apart
MASK_BELOW = 0.75  # relative size after cropping under which statistics stay inside the mask
DATASET_SHARE = 0.05  # of the dataset's voxels, the most that one batch may hold
SMALLEST_BATCH = 2
SMALL_BATCH = {2: 32, 3: 2}  # slices, volumes: what `small_steps` keeps to
FOLDS = 5  # unless training is told otherwise: fewer cases with a class leave one without it
SMALL_PATCH = 0.8  # of a whole median case an axis: volumes alone, likewise
REFERENCE_GIGABYTES = 8.0


@dataclass(frozen=True)
class _Reference:
    """A network that was seen to fill `REFERENCE_GIGABYTES`, and where the patch starts."""

    estimate: float
    batch_size: int
    start_edge: int


_REFERENCES = {2: _Reference(8.5e7, 12, 2048), 3: _Reference(5.6e8, 2, 256)}


@dataclass(frozen=True)
class PlannerSettings:
    """What the user decides; None leaves the decision to the rules.

    Attributes:
        dimensions: 2 or 3.
        memory_gigabytes: memory that training may fill, as on the GPU of nnU-Net's reference.
            It bounds patch and batch size; a CPU's time rather than its memory asks for the
            small default.
        base_filters: channels of the first stage; nnU-Net has 32, which a CPU finds slow. The
            convolutions of AVX-512 processors work on 16 channels at once, so that fewer filters
            save little (CONTRIBUTING has the measurement).
        patch_size: voxels an axis in plan order (coarsest axis first; in 2D the two axes in
            the slice). Rounded up to what the network can pool; not shrunk to the memory.
        target_spacing: millimetres an axis. In 3D in spatial order (z, y, x); in 2D the two
            axes in the slice.
        batch_size: patches a training step.
        small_steps: keep the batch to 2 volumes or 32 slices, and where a whole median case would
            fit, take a volume of 0.8 of it an axis. A CPU needs proportionally longer for a
            larger step, and in the same minutes many small steps teach more than few large ones
            (docs/defaults.md has the trials). nnU-Net has this off.
    """

    dimensions: int = 3
    memory_gigabytes: float = 0.5
    base_filters: int = 16
    patch_size: tuple[int, ...] | None = None
    target_spacing: tuple[float, ...] | None = None
    batch_size: int | None = None
    small_steps: bool = True

    def __post_init__(self) -> None:
        """Refuse what no plan can follow."""
        if self.dimensions not in (2, 3):
            raise InputError(f"dimensions is {self.dimensions}; give 2 or 3.")
        for name in ("patch_size", "target_spacing"):
            values = getattr(self, name)
            if values is not None and not _are_positive(values, self.dimensions):
                raise InputError(
                    f"{name} is {values}; give {self.dimensions} numbers above 0, because the "
                    f"plan has {self.dimensions} dimensions."
                )
        for name in ("memory_gigabytes", "base_filters", "batch_size"):
            value = getattr(self, name)
            if value is not None and not _are_positive((value,), 1):
                raise InputError(f"{name} is {value}; give a number above 0.")


def _are_positive(values: Sequence[float], number: int) -> bool:
    return len(values) == number and all(math.isfinite(value) and value > 0 for value in values)


def plan_dataset(
    dataset: Dataset, settings: PlannerSettings | None = None, workers: int = 1
) -> tuple[Fingerprint, Plan]:
    """Check a dataset, fingerprint it, and plan for it: `compute_fingerprint`, then `make_plan`.

    Raises:
        InputError: as `require_valid` and `make_plan` do.
    """
    require_valid(dataset, workers)
    fingerprint = compute_fingerprint(dataset, workers)
    return fingerprint, make_plan(fingerprint, settings)


def make_plan(fingerprint: Fingerprint, settings: PlannerSettings | None = None) -> Plan:
    """Decide spacing, normalisation, patch, network and batch from a fingerprint.

    Raises:
        InputError: if the images, the given patch size or the memory are too small for a
            network with at least one pooling.
    """
    settings = settings or PlannerSettings()
    spacing, spacing_reason = _target_spacing(fingerprint, settings)  # (z, y, x)
    axis_order = coarsest_first(spacing, fingerprint)
    order_reason = _order_reason(axis_order, spacing, fingerprint)
    spacing = _with_given_in_plane(spacing, axis_order, settings)
    median_shape = _median_shape(fingerprint, spacing)  # (z, y, x) after resampling
    if settings.dimensions == 3 and _of_one_slice(fingerprint).any():
        raise InputError(
            f"{fingerprint.dataset}: the images have one slice along {'zyx'[axis_order[0]]}, and a "
            "3D network needs more. Plan for slices: --dim 2."
        )
    # The last axes in plan order: all three in 3D, the two in the slice in 2D.
    axes = axis_order[-settings.dimensions :]
    grid = _Grid(
        spacing=tuple(spacing[axis] for axis in axes),
        median_shape=tuple(median_shape[axis] for axis in axes),
        dataset_voxels=math.prod(median_shape) * len(fingerprint.shapes),
    )
    topology, patch_reason = _choose_topology(grid, fingerprint, settings)
    batch_size, batch_reason = _batch_size(topology, grid, fingerprint, settings)
    normalisation = tuple(
        _normalisation(name, statistics, fingerprint.median_relative_size)
        for name, statistics in zip(fingerprint.channels, fingerprint.intensities, strict=True)
    )
    return Plan(
        dataset=fingerprint.dataset,
        dimensions=settings.dimensions,
        channels=fingerprint.channels,
        labels=fingerprint.labels,
        axis_order=axis_order,
        target_spacing=grid.spacing,
        normalisation=normalisation,
        patch_size=topology.patch_size,
        batch_size=batch_size,
        strides=topology.strides,
        kernels=topology.kernels,
        filters=_filters(topology, settings),
        orientations=fingerprint.kinds_of_orientation,
        reasons=(
            spacing_reason,
            order_reason,
            *_normalisation_reasons(fingerprint, normalisation),
            patch_reason,
            _stage_reason(topology),
            batch_reason,
            *cautions(fingerprint),
        ),
    )


@dataclass(frozen=True)
class _Grid:
    """What the network sees: plan order, `dimensions` axes."""

    spacing: tuple[float, ...]
    median_shape: tuple[float, ...]
    dataset_voxels: float


def _target_spacing(
    fingerprint: Fingerprint, settings: PlannerSettings
) -> tuple[tuple[float, ...], str]:
    """Millimetres (z, y, x), and why."""
    if settings.target_spacing is not None and settings.dimensions == 3:
        given = tuple(float(value) for value in settings.target_spacing)
        return given, "Target spacing: as given."
    spacings = np.array(fingerprint.spacings)  # (case, 3)
    target = np.median(spacings, axis=0)
    size = np.median(np.array(fingerprint.shapes), axis=0)
    coarsest = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != coarsest]
    next_coarsest = float(target[others].max())
    thick = target[coarsest] > ANISOTROPY * next_coarsest
    few = size[coarsest] * ANISOTROPY < size[others].min()
    reason = "Target spacing: the median of the cases on every axis."
    if thick and few:
        fine = float(np.percentile(spacings[:, coarsest], 10))
        # Never as fine as the next axis: the coarsest axis has to stay the coarsest.
        target[coarsest] = fine if fine >= next_coarsest else next_coarsest + 1e-5
        reason = (
            f"Target spacing: the median of the cases, but along {'zyx'[coarsest]} their 10th "
            "percentile: its slices are thick and few, and the median would blur finer cases."
        )
    if settings.target_spacing is not None:
        reason = "Target spacing: as given inside the slice."
    return tuple(float(value) for value in target), reason


def _with_given_in_plane(
    spacing: tuple[float, ...], axis_order: tuple[int, ...], settings: PlannerSettings
) -> tuple[float, ...]:
    """(z, y, x), with what the user gave for the two axes inside the slice of a 2D plan."""
    if settings.dimensions == 3 or settings.target_spacing is None:
        return spacing
    values = list(spacing)
    for axis, given in zip(axis_order[1:], settings.target_spacing, strict=True):
        values[axis] = float(given)
    return tuple(values)


def coarsest_first(spacing: Sequence[float], fingerprint: Fingerprint) -> tuple[int, ...]:
    """The permutation of (z, y, x) that puts the coarsest axis first."""
    # Images of one slice have no meaningful spacing between slices: that axis goes first.
    coarsest = int(np.argmax(np.where(_of_one_slice(fingerprint), np.inf, spacing)))
    return (coarsest, *(axis for axis in range(3) if axis != coarsest))


def _of_one_slice(fingerprint: Fingerprint) -> npt.NDArray[np.bool_]:
    """Along which of the axes (z, y, x) the median case has a single voxel."""
    return np.asarray(np.median(np.array(fingerprint.shapes), axis=0) == 1)


def _order_reason(
    axis_order: tuple[int, ...], spacing: Sequence[float], fingerprint: Fingerprint
) -> str:
    first, *others = axis_order
    why = "it is the coarsest"
    if _of_one_slice(fingerprint)[first]:
        why = "the images have one slice"
    elif spacing[first] == max(spacing[axis] for axis in others):
        why = "no axis is coarser"
    return f"Axis order: {'zyx'[first]} comes first; {why}."


def cautions(fingerprint: Fingerprint) -> Iterator[str]:
    """What the plan cannot mend, and whoever reads it should know."""
    stored = Counter(fingerprint.orientations)
    if len(stored) > 1:
        kinds = ", ".join(f"{name} ({number})" for name, number in sorted(stored.items()))
        yield (
            f"Mind: the scans are stored in several orientations, {kinds}. The arrays' axes "
            "then lead to different sides of the body, and left may be taken for right. "
            "data/README.md says what to do."
        )
    for value, number in enumerate(fingerprint.cases_with):
        if number < min(FOLDS, len(fingerprint.shapes)):
            yield (
                f"Mind: {fingerprint.labels[value]} ({value}) occurs in {number} of "
                f"{len(fingerprint.shapes)} label maps. "
                + ("Some fold is without it." if number else "No network can learn it.")
            )


def _median_shape(fingerprint: Fingerprint, target: Sequence[float]) -> tuple[float, ...]:
    """Median voxels (z, y, x) of the cases once they have the target spacing."""
    shapes, spacings = np.array(fingerprint.shapes), np.array(fingerprint.spacings)
    resampled = np.round(spacings / np.array(target) * shapes)  # (case, 3), in nnU-Net's order
    return tuple(max(1.0, float(size)) for size in np.median(resampled, axis=0))


def _filters(topology: Topology, settings: PlannerSettings) -> tuple[int, ...]:
    return stage_filters(len(topology.strides), settings.base_filters, settings.dimensions)


def _estimate(topology: Topology, labels: int, settings: PlannerSettings) -> int:
    return memory_estimate(topology, _filters(topology, settings), labels)


def _budget(settings: PlannerSettings) -> float:
    """How large the `memory_estimate`s of all patches of a batch may be together."""
    share = settings.memory_gigabytes / REFERENCE_GIGABYTES
    reference = _REFERENCES[settings.dimensions]
    return reference.estimate * reference.batch_size * share


def _choose_topology(
    grid: _Grid, fingerprint: Fingerprint, settings: PlannerSettings
) -> tuple[Topology, str]:
    if settings.patch_size is not None:
        return _given_topology(grid, settings.patch_size)
    start = _start_patch(grid, settings.dimensions)
    topology = plan_topology(grid.spacing, start)
    if len(topology.strides) == 1:
        raise InputError(
            f"{fingerprint.dataset}: the images are too small for a U-Net (median "
            f"{times(grid.median_shape)} voxels at {times(grid.spacing)} mm). Give a patch "
            "size of at least 8 on every axis, or a finer target spacing."
        )
    shrunk = _shrink(topology, grid, len(fingerprint.labels), settings)
    if shrunk != topology:
        return shrunk, (
            "Patch size: as the median case in proportion, as large as "
            f"{settings.memory_gigabytes:g} GB allow."
        )
    pairs = zip(topology.patch_size, grid.median_shape, strict=True)
    if any(size < median for size, median in pairs):
        edge = _REFERENCES[settings.dimensions].start_edge
        most = times((edge,) * settings.dimensions)
        return topology, (
            f"Patch size: equal millimetres an axis, as many voxels as {most}, and along no axis "
            "more than the median case."
        )
    part = _part_of_a_case(topology, grid.spacing)
    if settings.small_steps and settings.dimensions == 3 and part != topology:
        return part, (
            f"Patch size: {times(topology.patch_size)} would fit, a whole median case; at most "
            f"{SMALL_PATCH:g} of that an axis, for quick steps on a CPU."
        )
    return topology, "Patch size: the median case, rounded up to what the network can pool."


def _part_of_a_case(topology: Topology, spacing: Sequence[float]) -> Topology:
    """`SMALL_PATCH` of the patch an axis, rounded down, if the network stays as it is; or all."""
    steps = divisors(topology.strides)
    pairs = zip(topology.patch_size, steps, strict=True)
    pieces = [(size // step, step) for size, step in pairs]  # of one or two, none can be spared
    smaller = [max(min(2, count), int(SMALL_PATCH * count)) * step for count, step in pieces]
    part = plan_topology(spacing, smaller)
    return part if part.strides == topology.strides else topology


def _given_topology(grid: _Grid, given: tuple[int, ...]) -> tuple[Topology, str]:
    topology = plan_topology(grid.spacing, given)
    if len(topology.strides) == 1:
        raise InputError(
            f"patch_size {times(given)} cannot be pooled even once. Give at least 8 on two "
            "axes of similar spacing, or at least 12 on one."
        )
    if topology.patch_size == given:
        return topology, "Patch size: as given."
    multiples = times(divisors(topology.strides))
    return topology, (
        f"Patch size: {times(given)} as given, rounded up to a multiple of {multiples}, which "
        "the network's strides need."
    )


def _start_patch(grid: _Grid, dimensions: int) -> list[float]:
    """A patch of the same millimetres on every axis, no larger than the median case."""
    voxels = _REFERENCES[dimensions].start_edge ** dimensions
    scale = (voxels * math.prod(grid.spacing)) ** (1 / dimensions)
    pairs = zip(grid.spacing, grid.median_shape, strict=True)
    return [min(round(scale / spacing), size) for spacing, size in pairs]


def _shrink(topology: Topology, grid: _Grid, labels: int, settings: PlannerSettings) -> Topology:
    """Take voxels from the axis that is largest beside the median case, until two patches fit.

    A large patch goes before a large batch: the batch shrinks to its least before the patch does.
    """
    while _estimate(topology, labels, settings) * SMALLEST_BATCH > _budget(settings):
        ratios = [
            (patch / median, axis)
            for axis, (patch, median) in enumerate(
                zip(topology.patch_size, grid.median_shape, strict=True)
            )
            if patch > 1
        ]
        topology = _smaller(topology, grid.spacing, axis=max(ratios)[1])
        if len(topology.strides) == 1:
            raise InputError(
                f"memory_gigabytes {settings.memory_gigabytes:g} is too small for any network "
                f"with {settings.base_filters} base filters. Give more, or fewer filters."
            )
    return topology


def _smaller(topology: Topology, spacing: Sequence[float], axis: int) -> Topology:
    """The next smaller patch along `axis`, and its network."""
    reduced = list(topology.patch_size)
    reduced[axis] -= divisors(topology.strides)[axis]
    # A smaller patch may need fewer poolings, thus a smaller step: sizes between are not lost.
    step = divisors(plan_topology(spacing, reduced).strides)[axis]
    patch_size = list(topology.patch_size)
    patch_size[axis] -= step
    return plan_topology(spacing, patch_size)


def _batch_size(
    topology: Topology, grid: _Grid, fingerprint: Fingerprint, settings: PlannerSettings
) -> tuple[int, str]:
    if settings.batch_size is not None:
        return settings.batch_size, "Batch size: as given."
    batch_size, reason = _largest_batch(topology, grid, fingerprint, settings)
    limit = SMALL_BATCH[settings.dimensions]
    if settings.small_steps and batch_size > limit:
        return limit, f"Batch size: {batch_size} would fit; kept small, for quick steps on a CPU."
    return batch_size, reason


def _largest_batch(
    topology: Topology, grid: _Grid, fingerprint: Fingerprint, settings: PlannerSettings
) -> tuple[int, str]:
    """As many patches as memory and dataset allow."""
    estimate = _estimate(topology, len(fingerprint.labels), settings)
    by_memory = round(_budget(settings) / estimate)
    by_dataset = round(DATASET_SHARE * grid.dataset_voxels / math.prod(topology.patch_size))
    if min(by_memory, by_dataset) < SMALLEST_BATCH:
        return SMALLEST_BATCH, f"Batch size: {SMALLEST_BATCH}, the least that training gets."
    if by_memory <= by_dataset:
        return by_memory, f"Batch size: what {settings.memory_gigabytes:g} GB hold."
    return by_dataset, f"Batch size: at most {DATASET_SHARE:.0%} of the dataset's voxels."


def is_ct(channel: str) -> bool:
    """Whether a channel's intensities are in fixed units: nnU-Net goes by the name alone."""
    return channel.casefold() == "ct"


def _normalisation(
    channel: str, statistics: IntensityStatistics, median_relative_size: float
) -> Normalisation:
    if not is_ct(channel):
        return Normalisation("z_score", inside_mask=median_relative_size < MASK_BELOW)
    return Normalisation(
        "ct",
        lower=statistics.percentile_00_5,
        upper=statistics.percentile_99_5,
        mean=statistics.mean,
        standard_deviation=max(statistics.standard_deviation, 1e-8),
    )


def _normalisation_reasons(
    fingerprint: Fingerprint, normalisation: Sequence[Normalisation]
) -> list[str]:
    """One sentence a channel."""
    size = f"cropping keeps {fingerprint.median_relative_size:.0%} of the median case"
    reasons = []
    for name, scheme in zip(fingerprint.channels, normalisation, strict=True):
        if scheme.scheme == "ct":
            why = "fixed units, so clipped and scaled by the whole dataset's foreground"
        elif scheme.inside_mask:
            why = f"z-score a case inside the non-zero mask ({size}, less than {MASK_BELOW:.0%})"
        else:
            why = f"z-score a case over all its voxels ({size})"
        reasons.append(f"Normalisation of {name}: {why}.")
    return reasons


def _stage_reason(topology: Topology) -> str:
    return (
        f"Stages: {len(topology.strides)}; an axis is halved while at least 4 voxels remain and "
        "its spacing is less than twice the finest."
    )
