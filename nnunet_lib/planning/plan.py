"""The plan: every decision that nnU-Net takes from the data, in one JSON file.

Taught in lesson 02. Prediction needs nothing else about the training data.
"""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from nnunet_lib.datasets.nifti import times
from nnunet_lib.errors import InputError
from nnunet_lib.files import as_tuples, read_json, write_json

PLAN_FORMAT = 1

Scheme = Literal["z_score", "ct"]
Norm = Literal["instance", "batch", "group", "none"]


@dataclass(frozen=True)
class Normalisation:
    """How one channel's intensities are normalised.

    `z_score` subtracts each case's mean and divides by its standard deviation, taken inside
    the non-zero mask if `inside_mask`. `ct` clips to [lower, upper], then subtracts `mean`
    and divides by `standard_deviation`: all four in the channel's own units, over the
    foreground of the whole dataset.
    """

    scheme: Scheme
    inside_mask: bool = False
    lower: float = 0.0
    upper: float = 0.0
    mean: float = 0.0
    standard_deviation: float = 1.0

    def describe(self) -> str:
        """The scheme in one line."""
        if self.scheme == "ct":
            return (
                f"CT: clip to {self.lower:g} .. {self.upper:g}, subtract {self.mean:g}, "
                f"divide by {self.standard_deviation:g}"
            )
        return f"z-score {'inside the non-zero mask' if self.inside_mask else 'over all voxels'}"


_DEPTHS = {
    "dimensions": 0,
    "batch_size": 0,
    "patch_size": 1,
    "filters": 1,
    "strides": 2,
    "kernels": 2,
}
"""Of counts in a plan: a number, a list of numbers, or a list of lists."""


def _as_item(reason: str) -> str:
    """A line of a list, wrapped: notebooks break longer ones in the middle of a word."""
    return textwrap.fill(f"- {reason}", width=79, subsequent_indent="  ", break_on_hyphens=False)


def _are_counts(value: Any, depth: int) -> bool:
    """Whether numbers in tuples of that depth are whole and above 0."""
    if depth:
        return isinstance(value, tuple) and all(_are_counts(item, depth - 1) for item in value)
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True)
class Plan:
    """Everything that preprocessing, training and prediction need to know about a dataset.

    `axis_order` permutes the spatial order (z, y, x) so that the coarsest axis comes first.
    All sizes below are in that plan order; in 2D they hold the two axes inside a slice.

    Attributes:
        dataset: the dataset's name.
        dimensions: 2 or 3.
        channels: name of each image channel, such as ("MRI",).
        labels: name of each label value; labels[0] is the background.
        axis_order: permutation of (0, 1, 2).
        target_spacing: millimetres an axis.
        normalisation: one a channel.
        patch_size: voxels an axis.
        batch_size: patches a training step.
        strides: one a stage and axis; the first stage's are 1.
        kernels: one a stage and axis, 1 or 3.
        filters: channels of each stage.
        norm: what normalises the features after each convolution, see `model.blocks`.
        negative_slope: of the leaky ReLU, in [0, 1); 0 makes it a ReLU.
        mirrored: whether training mirrors patches. Only then can prediction average over flips.
        orientations: how the training scans are stored, such as ("RAS",); none if not known.
        reasons: one sentence a decision, for people.
    """

    dataset: str
    dimensions: int
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    axis_order: tuple[int, ...]
    target_spacing: tuple[float, ...]
    normalisation: tuple[Normalisation, ...]
    patch_size: tuple[int, ...]
    batch_size: int
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    filters: tuple[int, ...]
    norm: Norm = "instance"
    negative_slope: float = 0.01
    mirrored: bool = True
    orientations: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a plan that no network can follow: people may edit its file.

        Raises:
            InputError: if parts of the plan contradict each other.
        """
        for wrong, message in self._contradictions():
            if wrong:
                raise InputError(f"the plan's {message}. Correct the plan, or make it again.")

    def _contradictions(self) -> Iterator[tuple[bool, str]]:
        """(whether it is so, what is wrong); later ones rely on the earlier ones."""
        yield not isinstance(self.dataset, str), f"dataset is {self.dataset!r}, no name"
        for field in ("channels", "labels", "orientations", "reasons"):
            words = getattr(self, field)
            listed = isinstance(words, tuple) and all(isinstance(word, str) for word in words)
            yield not listed, f"{field} are {words!r}, no list of words"
        yield not self.channels, "channels are none"
        yield len(self.labels) < 2, f"labels are {', '.join(self.labels)} alone"
        for field, depth in _DEPTHS.items():
            value = getattr(self, field)
            wrong = not _are_counts(value, depth)
            yield wrong, f"{field} is {value!r}, not made of whole numbers above 0"
        yield not isinstance(self.mirrored, bool), f"mirrored is {self.mirrored!r}, no truth value"
        yield self.dimensions not in (2, 3), f"dimensions are {self.dimensions}, not 2 or 3"
        order = [axis for axis in self.axis_order if type(axis) is int]
        yield sorted(order) != [0, 1, 2], f"axis_order is {self.axis_order}"
        per_axis = (self.patch_size, self.target_spacing, *self.strides, *self.kernels)
        wrong_axes = any(
            len(values) != self.dimensions
            or not all(value > 0 and math.isfinite(value) for value in values)
            for values in per_axis
        )
        yield wrong_axes, f"sizes are not {self.dimensions} positive numbers each"
        kernels = {size for kernel in self.kernels for size in kernel}
        yield not kernels <= {1, 3}, f"kernels have sizes other than 1 and 3: {self.kernels}"
        stages = {len(self.strides), len(self.kernels), len(self.filters)}
        yield len(stages) != 1 or stages == {0}, "strides, kernels and filters differ in number"
        yield set(self.strides[0]) != {1}, f"first stage has strides {self.strides[0]}, not 1"
        yield len(self.normalisation) != len(self.channels), "normalisation is not one a channel"
        for number, scheme in enumerate(self.normalisation):
            name = f"normalisation of channel {number}"
            yield scheme.scheme not in get_args(Scheme), f"{name} is {scheme.scheme}"
            masked = isinstance(scheme.inside_mask, bool)
            yield not masked, f"{name} has inside_mask {scheme.inside_mask!r}, no truth value"
            for field in ("lower", "upper", "mean", "standard_deviation"):
                value = getattr(scheme, field)
                number_given = isinstance(value, int | float) and not isinstance(value, bool)
                finite = number_given and math.isfinite(value)
                yield not finite, f"{name} has the {field} {value!r}, no finite number"
            unclear = not (scheme.lower <= scheme.upper and scheme.standard_deviation > 0)
            yield unclear, f"{name} has no range to clip to, or a standard_deviation of 0 or less"
        steps = [math.prod(axis) for axis in zip(*self.strides, strict=True)]
        rests = [size % step for size, step in zip(self.patch_size, steps, strict=True)]
        yield self.norm not in get_args(Norm), f"norm is {self.norm}"
        slope = self.negative_slope
        yield not 0 <= slope < 1, f"negative_slope is {slope}, not in [0, 1)"
        yield any(rests), f"patch_size {times(self.patch_size)} is no multiple of {times(steps)}"

    def describe(self) -> str:
        """The plan as a plain-text table for people, with the reasons below it."""
        rows = [
            ("dataset", f"{self.dataset} ({self.dimensions}D)"),
            ("channels", ", ".join(self.channels)),
            ("labels", ", ".join(f"{value} {name}" for value, name in enumerate(self.labels))),
            ("axis order", ", ".join("zyx"[axis] for axis in self.axis_order)),
            ("target spacing", f"{times(self.target_spacing)} mm"),
            *(
                (f"normalisation of {name}", scheme.describe())
                for name, scheme in zip(self.channels, self.normalisation, strict=True)
            ),
            ("patch size", f"{times(self.patch_size)} voxels"),
            ("batch size", f"{self.batch_size}"),
            ("norm", self.norm),
            ("negative slope", f"{self.negative_slope:g}"),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        return "\n".join([*lines, "", *self._stage_table(), "", *map(_as_item, self.reasons)])

    def _stage_table(self) -> list[str]:
        """One line a stage: what enters it, and how it is made."""
        lines = [f"{'stage':<6} {'voxels':<16} {'stride':<10} {'kernel':<10} filters"]
        size = self.patch_size
        stages = zip(self.strides, self.kernels, self.filters, strict=True)
        for stage, (stride, kernel, filters) in enumerate(stages):
            size = tuple(voxels // step for voxels, step in zip(size, stride, strict=True))
            lines.append(
                f"{stage:<6} {times(size):<16} {times(stride):<10} {times(kernel):<10} {filters}"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values, with the format's version."""
        return {"format": PLAN_FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Any, source: str = "plan") -> "Plan":
        """Rebuild a plan from `to_json`'s value; `source` names it in errors."""
        try:
            fields = {name: as_tuples(item) for name, item in value.items()}
            if fields.pop("format") != PLAN_FORMAT:
                raise InputError("the plan was written by another version; make it again.")
            schemes = tuple(Normalisation(**item) for item in fields.pop("normalisation"))
            return cls(normalisation=schemes, **fields)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise InputError(f"{source}: is not a plan ({error}); make it again.") from None

    def save(self, path: Path) -> None:
        """Write the plan as one JSON file."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> "Plan":
        """Read a plan.

        Raises:
            InputError: if the file is missing or is not a plan.
        """
        return cls.from_json(read_json(Path(path)), source=str(path))
