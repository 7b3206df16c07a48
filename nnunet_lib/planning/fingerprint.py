"""The fingerprint: what the plan needs to know about a dataset, and nothing more.

Taught in lesson 01. Source: Isensee et al., Nature Methods 18 (2021), "dataset fingerprint".
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_lib.datasets import (
    Case,
    Dataset,
    bounding_box,
    box_slices,
    nonzero_voxels,
    orientation_of,
    read_label,
    read_volume,
)
from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json, write_json
from nnunet_lib.parallel import run_all

FINGERPRINT_FORMAT = 1
VOXELS_PER_CASE = 10_000
SEED = 1234


@dataclass(frozen=True)
class IntensityStatistics:
    """One channel's intensities over the foreground of all cases, in the channel's own units."""

    mean: float
    median: float
    standard_deviation: float
    minimum: float
    maximum: float
    percentile_00_5: float
    percentile_99_5: float


@dataclass(frozen=True)
class Fingerprint:
    """What planning knows about a dataset.

    Attributes:
        dataset: the dataset's name.
        channels: name of each image channel.
        labels: name of each label value; labels[0] is the background.
        spacings: millimetres (z, y, x) of each training case.
        shapes: voxels (z, y, x) of each training case after cropping to non-zero.
        median_relative_size: median over cases of voxels after cropping / voxels before.
        intensities: foreground statistics, one a channel.
        orientations: of each training case, such as "RAS"; see `datasets.orientation_of`.
        cases_with: how many training cases have each label value.
    """

    dataset: str
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    spacings: tuple[tuple[float, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    median_relative_size: float
    intensities: tuple[IntensityStatistics, ...]
    orientations: tuple[str, ...] = ()
    cases_with: tuple[int, ...] = ()

    @property
    def kinds_of_orientation(self) -> tuple[str, ...]:
        """Each orientation once, sorted."""
        return tuple(sorted(set(self.orientations)))

    def to_json(self) -> dict[str, Any]:
        """The fingerprint as plain JSON values, with the format's version."""
        return {"format": FINGERPRINT_FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any, source: str = "fingerprint") -> "Fingerprint":
        """Rebuild a fingerprint from `to_json`'s value; `source` names it in errors."""
        try:
            if value["format"] != FINGERPRINT_FORMAT:
                raise InputError(f"{source}: written by another version; make it again.")
            return cls(
                dataset=value["dataset"],
                channels=tuple(value["channels"]),
                labels=tuple(value["labels"]),
                spacings=tuple(tuple(spacing) for spacing in value["spacings"]),
                shapes=tuple(tuple(shape) for shape in value["shapes"]),
                median_relative_size=value["median_relative_size"],
                intensities=tuple(IntensityStatistics(**item) for item in value["intensities"]),
                orientations=tuple(value.get("orientations", ())),
                cases_with=tuple(value.get("cases_with", ())),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{source}: is not a fingerprint ({error}); make it again.") from None

    def save(self, path: Path) -> None:
        """Write the fingerprint as one JSON file."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> "Fingerprint":
        """Read a fingerprint.

        Raises:
            InputError: if the file is missing or is not a fingerprint.
        """
        return cls.from_json(read_json(path), source=str(path))


@dataclass(frozen=True)
class _CaseTask:
    case: Case
    classes: int
    seed: tuple[int, int]


@dataclass(frozen=True)
class _CaseFacts:
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    relative_size: float
    orientation: str
    has: tuple[bool, ...]  # each label value
    intensities: np.ndarray  # (VOXELS_PER_CASE, channel), or (0, channel) without foreground


def compute_fingerprint(dataset: Dataset, workers: int = 1, seed: int = SEED) -> Fingerprint:
    """Read every training case once and note what planning needs.

    The intensities of `VOXELS_PER_CASE` foreground voxels a case, drawn with replacement, give
    the statistics, so that each case weighs the same and memory stays bounded. The result
    depends on `seed`, not on `workers`.

    Raises:
        InputError: if there are no training cases, a file is unreadable, or no case has any
            foreground.
    """
    if not dataset.training:
        raise InputError(f"{dataset.root}: lists no training cases; there is nothing to plan.")
    tasks = [
        _CaseTask(case, len(dataset.labels), (seed, index))
        for index, case in enumerate(dataset.training)
    ]
    facts = run_all(_case_facts, tasks, workers, "fingerprint")
    return Fingerprint(
        dataset=dataset.name,
        channels=dataset.channels,
        labels=dataset.labels,
        spacings=tuple(fact.spacing for fact in facts),
        shapes=tuple(fact.shape for fact in facts),
        median_relative_size=float(np.median([fact.relative_size for fact in facts])),
        intensities=_statistics(dataset, np.concatenate([fact.intensities for fact in facts])),
        orientations=tuple(fact.orientation for fact in facts),
        cases_with=tuple(map(sum, zip(*(fact.has for fact in facts), strict=True))),
    )


def _case_facts(task: _CaseTask) -> _CaseFacts:
    case = task.case
    if case.label is None:
        raise InputError(f"case {case.identifier}: has no label; a training case needs one.")
    volume = read_volume(case.images)
    label = read_label(case.label)
    box = bounding_box(nonzero_voxels(volume.array))
    cropped = volume.array[box_slices(box)]  # (z, y, x, channel)
    foreground = cropped[label.array[box_slices(box)] > 0]  # (foreground voxel, channel)
    return _CaseFacts(
        spacing=tuple(float(value) for value in volume.spacing),
        shape=cropped.shape[:3],
        relative_size=cropped.size / volume.array.size,
        orientation=orientation_of(volume.affine),
        has=tuple(bool((label.array == value).any()) for value in range(task.classes)),
        intensities=_draw(foreground, np.random.default_rng(task.seed)),
    )


def _draw(foreground: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """`VOXELS_PER_CASE` rows of (voxel, channel), with replacement; none from none."""
    if len(foreground) == 0:
        return foreground
    rows: np.ndarray = foreground[generator.integers(len(foreground), size=VOXELS_PER_CASE)]
    return rows


def _statistics(dataset: Dataset, intensities: np.ndarray) -> tuple[IntensityStatistics, ...]:
    """Statistics of (voxel, channel) intensities, one a channel."""
    if len(intensities) == 0:
        raise InputError(
            f"{dataset.root}: no training case has a foreground voxel; check the labels."
        )
    return tuple(_channel_statistics(channel) for channel in intensities.T.astype(np.float64))


def _channel_statistics(values: np.ndarray) -> IntensityStatistics:
    low, median, high = (float(value) for value in np.percentile(values, (0.5, 50.0, 99.5)))
    return IntensityStatistics(
        mean=float(values.mean()),
        median=median,
        standard_deviation=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        percentile_00_5=low,
        percentile_99_5=high,
    )
