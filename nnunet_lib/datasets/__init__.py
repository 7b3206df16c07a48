"""Datasets: reading, checking and making them, and NIfTI in and out. Taught in lesson 01."""

from nnunet_lib.datasets.cropping import Box, bounding_box, box_slices, nonzero_mask
from nnunet_lib.datasets.dataset import Case, Dataset, find_images
from nnunet_lib.datasets.findings import Finding
from nnunet_lib.datasets.nifti import (
    LabelMap,
    Volume,
    read_header,
    read_label,
    read_volume,
    write_label,
    write_probabilities,
    write_volume,
)
from nnunet_lib.datasets.phantom import make_phantom
from nnunet_lib.datasets.validation import require_valid, validate

__all__ = [
    "Box",
    "Case",
    "Dataset",
    "Finding",
    "LabelMap",
    "Volume",
    "bounding_box",
    "box_slices",
    "find_images",
    "make_phantom",
    "nonzero_mask",
    "read_header",
    "read_label",
    "read_volume",
    "require_valid",
    "validate",
    "write_label",
    "write_probabilities",
    "write_volume",
]
