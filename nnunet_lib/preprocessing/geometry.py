"""How a preprocessed case lies in the original image: all that the way back needs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_lib.datasets import Box
from nnunet_lib.errors import InputError
from nnunet_lib.files import as_tuples, read_json


@dataclass(frozen=True)
class Geometry:
    """Where a preprocessed case came from.

    Attributes:
        original_shape: voxels (z, y, x) of the image as read.
        affine: NIfTI's 4x4, rows of four, from (i, j, k) to millimetres.
        spacing: millimetres (z, y, x) of the image as read.
        box: what cropping kept, (start, stop) for (z, y, x).
        axis_order: the plan's permutation of (z, y, x); plan order from here on.
        resampled_shape: voxels before padding, plan order.
        resampled_spacing: millimetres that resampling aimed at, plan order. In 2D the slice
            axis has the case's own.
        padding: (before, after) voxels an axis, plan order; zeros without padding.
        padding_value: what stands for "nothing here" in each channel.
    """

    original_shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    spacing: tuple[float, ...]
    box: Box
    axis_order: tuple[int, ...]
    resampled_shape: tuple[int, ...]
    resampled_spacing: tuple[float, ...]
    padding: tuple[tuple[int, int], ...]
    padding_value: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the preprocessed case, padding included, plan order."""
        pairs = zip(self.resampled_shape, self.padding, strict=True)
        return tuple(size + sum(padding) for size, padding in pairs)

    @property
    def cropped_shape(self) -> tuple[int, ...]:
        """Voxels of the cropped image before resampling, plan order."""
        sizes = [stop - start for start, stop in self.box]
        return tuple(sizes[axis] for axis in self.axis_order)

    @property
    def cropped_spacing(self) -> tuple[float, ...]:
        """Millimetres of the cropped image, plan order."""
        return tuple(self.spacing[axis] for axis in self.axis_order)

    def unpad(self, array: np.ndarray) -> np.ndarray:
        """A preprocessed array (a, b, c, ...) without its padding, as a view."""
        pairs = zip(self.resampled_shape, self.padding, strict=True)
        inside: np.ndarray = array[tuple(slice(pad[0], pad[0] + size) for size, pad in pairs)]
        return inside

    def to_json(self) -> dict[str, Any]:
        """The geometry as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any, source: str = "geometry") -> "Geometry":
        """Rebuild a geometry from `to_json`'s value; `source` names it in errors."""
        try:
            return cls(**{name: as_tuples(item) for name, item in value.items()})
        except (AttributeError, TypeError) as error:
            raise InputError(
                f"{source}: is not a geometry ({error}); preprocess the case again."
            ) from None

    @classmethod
    def load(cls, path: Path) -> "Geometry":
        """Read the geometry from a preprocessed case's JSON file.

        Raises:
            InputError: if the file is missing or holds no geometry.
        """
        value = read_json(path)
        if not isinstance(value, dict) or "geometry" not in value:
            raise InputError(f"{path}: holds no geometry; preprocess the case again.")
        return cls.from_json(value["geometry"], source=str(path))
