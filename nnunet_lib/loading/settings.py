"""What the loader does to the data, as plain values. Taught in lesson 03.

Needs neither TensorFlow nor DALI.
"""

import math
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

from nnunet_lib.errors import InputError

Range = tuple[float, float]

# nnU-Net's limit: above this ratio the coarse axis is too coarse to be mixed with the others.
ANISOTROPY_LIMIT = 3.0


@dataclass(frozen=True)
class AugmentationSettings:
    """Probabilities and ranges of the augmentations, in the order in which they are applied.

    A probability is for one patch (for flips: one patch and one axis). A range is drawn from
    uniformly. The defaults are what `train` does: NVIDIA's list (see `nvidia`) without mirroring,
    which cost accuracy in trials of 5 minutes on two cores, and with nnU-Net's rotation, low
    resolution and gamma, because without them a longer training learns its cases by heart:
    docs/defaults.md has the trials. NVIDIA's ranges and its probability 0.15 are kept, but it draws
    one coin for brightness and contrast together, where here each has its own. nnU-Net itself
    mirrors with 0.5, turns with 0.2, and has low resolution with 0.25 and gamma with 0.3, 0.1
    inverted.

    Attributes:
        enabled: False leaves patches as they were cropped.
        zoom_scale: side of the region that is enlarged to a patch, as a share of the patch.
        noise_standard_deviation: of additive Gaussian noise, in units of the normalised image.
        blur_sigma: of the Gaussian blur, in voxels.
        brightness_factor: multiplies the image, so zero stays zero.
        contrast_factor: stretches each channel about its mean in the patch; values beyond the
            patch's own range are clipped to it, as nnU-Net does.
        rotation_limit: largest angle about each axis, either way, in degrees.
        slice_rotation_limit: the same where slices are kept apart, and only turn in plane.
        low_resolution_channel_probability: for each channel of a patch of lower resolution.
        low_resolution_scale: side of a channel of lower resolution, as a share of the patch.
        inverted_gamma_probability: of a gamma change of the negative image.
        gamma_exponent: bends each channel's range; its mean and deviation stay. nnU-Net draws it
            below one as often as above.
    """

    enabled: bool = True
    zoom_probability: float = 0.15
    zoom_scale: Range = (0.7, 1.0)
    rotation_probability: float = 0.3
    rotation_limit: float = 30.0
    slice_rotation_limit: float = 180.0
    flip_probability: float = 0.0
    noise_probability: float = 0.15
    noise_standard_deviation: Range = (0.0, 0.3)
    blur_probability: float = 0.15
    blur_sigma: Range = (0.5, 1.5)
    brightness_probability: float = 0.15
    brightness_factor: Range = (0.7, 1.3)
    contrast_probability: float = 0.15
    contrast_factor: Range = (0.65, 1.5)
    low_resolution_probability: float = 0.25
    low_resolution_channel_probability: float = 0.5
    low_resolution_scale: Range = (0.5, 1.0)
    inverted_gamma_probability: float = 0.0
    gamma_probability: float = 0.3
    gamma_exponent: Range = (0.7, 1.5)

    def __post_init__(self) -> None:
        if not isinstance(self.enabled, bool):
            raise InputError(f"enabled is {self.enabled!r}; give True or False.")
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name.endswith("_probability"):
                _check_probability(item.name, value)
            elif item.type == Range:
                _check_range(item.name, value)
        for name in ("rotation_limit", "slice_rotation_limit"):
            limit = getattr(self, name)
            number = isinstance(limit, Real)
            if not number or not 0 <= limit <= 180:
                raise InputError(f"{name} is {limit!r}; give 0 to 180 degrees.")
        for name in ("zoom_scale", "low_resolution_scale"):
            lowest, highest = getattr(self, name)
            if lowest <= 0 or highest > 1:
                raise InputError(
                    f"{name} is {(lowest, highest)}; give a range above 0 and up to 1."
                )
        for name in ("blur_sigma", "gamma_exponent"):
            if getattr(self, name)[0] <= 0:
                raise InputError(f"{name} is {getattr(self, name)}; give a range above 0.")

    @classmethod
    def none(cls) -> "AugmentationSettings":
        """No augmentation at all."""
        return cls(enabled=False)

    @classmethod
    def nvidia(cls) -> "AugmentationSettings":
        """The list of NVIDIA's nnU-Net for TensorFlow 2: it mirrors, and never turns a patch."""
        return cls(
            flip_probability=0.5,
            rotation_probability=0.0,
            low_resolution_probability=0.0,
            gamma_probability=0.0,
        )


@dataclass(frozen=True)
class LoaderSettings:
    """How training batches are drawn.

    Attributes:
        batch_size: patches (3D) or slices (2D) a batch.
        patch_size: voxels an axis in plan order; three entries in 3D, two in 2D.
        dimensions: 2 or 3.
        foreground_oversampling: probability that a patch is aimed at a foreground class.
        number_of_volumes: volumes that a 2D batch's slices come from (NVIDIA's `nvol`); it
            divides batch_size. Without meaning in 3D, where each patch has its own volume.
        seed: the same seed and epoch give the same batches, whatever `threads` is.
        threads: patches drawn at once.
    """

    batch_size: int
    patch_size: tuple[int, ...]
    dimensions: int = 3
    foreground_oversampling: float = 0.33
    number_of_volumes: int = 2
    seed: int = 0
    threads: int = 2
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)

    def __post_init__(self) -> None:
        if self.dimensions not in (2, 3) or len(self.patch_size) != self.dimensions:
            raise InputError(
                f"patch_size {self.patch_size} does not fit dimensions {self.dimensions}: "
                "give 2 or 3 dimensions and as many sizes."
            )
        for name in ("batch_size", "number_of_volumes", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give 1 or more.")
        if min(self.patch_size) < 1:
            raise InputError(f"patch_size is {self.patch_size}; give 1 or more for each axis.")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; give 0 or more.")
        _check_probability("foreground_oversampling", self.foreground_oversampling)
        if self.dimensions == 2 and self.batch_size % self.number_of_volumes:
            raise InputError(
                f"A batch of {self.batch_size} slices cannot be shared evenly by "
                f"{self.number_of_volumes} volumes. Make batch_size a multiple of "
                "number_of_volumes (--nvol)."
            )

    @property
    def crop_size(self) -> tuple[int, int, int]:
        """What is cropped from a volume: the patch in 3D, a slice one voxel thick in 2D."""
        sizes = (1, *self.patch_size) if self.dimensions == 2 else self.patch_size
        return sizes[0], sizes[1], sizes[2]

    @property
    def patches_per_volume(self) -> int:
        """How many patches in a row come from the same volume: 1 in 3D."""
        return self.batch_size // self.number_of_volumes if self.dimensions == 2 else 1

    @property
    def keeps_slices_apart(self) -> bool:
        """Whether zoom, rotation, blur and low resolution stay inside slices, and mix none.

        True in 2D and for anisotropic 3D patches. Plan order puts the coarsest axis first, so
        axis 0 has the fewest voxels for the same extent (nnU-Net's "dummy 2D" augmentation).
        """
        anisotropy = max(self.patch_size) / self.patch_size[0]
        return self.dimensions == 2 or anisotropy > ANISOTROPY_LIMIT


def _check_probability(name: str, value: Any) -> None:
    number = isinstance(value, Real)
    if not number or not 0 <= value <= 1:
        raise InputError(f"{name} is {value!r}; a probability lies between 0 and 1.")


def _check_range(name: str, value: Any) -> None:
    pair = isinstance(value, tuple) and len(value) == 2
    numbers = pair and all(isinstance(end, Real) and math.isfinite(end) for end in value)
    if not numbers or not 0 <= value[0] <= value[1]:
        raise InputError(
            f"{name} is {value!r}; give (lowest, highest), finite numbers, neither below 0."
        )
