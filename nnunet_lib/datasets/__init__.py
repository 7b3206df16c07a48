"""Datasets: reading, checking and making them, and NIfTI in and out. Taught in lesson 01.

Fetching them is in `nnunet_lib.datasets.download`: only who does it should load an HTTP library.
"""

from nnunet_lib.datasets.conversion import convert
from nnunet_lib.datasets.cropping import Box, bounding_box, box_slices, nonzero_mask, nonzero_voxels
from nnunet_lib.datasets.dataset import Case, Dataset, find_images
from nnunet_lib.datasets.decathlon import TASKS, DecathlonTask, find_task
from nnunet_lib.datasets.findings import Finding
from nnunet_lib.datasets.nifti import (
    ENDINGS,
    Header,
    LabelMap,
    Placement,
    Volume,
    file_ending,
    orientation_of,
    read_header,
    read_label,
    read_volume,
    stem,
    write_label,
    write_probabilities,
    write_volume,
)
from nnunet_lib.datasets.phantom import is_phantom, make_phantom
from nnunet_lib.datasets.validation import require_valid, validate

__all__ = [
    "ENDINGS",
    "TASKS",
    "Box",
    "Case",
    "Dataset",
    "DecathlonTask",
    "Finding",
    "Header",
    "LabelMap",
    "Placement",
    "Volume",
    "bounding_box",
    "box_slices",
    "convert",
    "file_ending",
    "find_images",
    "find_task",
    "is_phantom",
    "make_phantom",
    "nonzero_mask",
    "nonzero_voxels",
    "orientation_of",
    "read_header",
    "read_label",
    "read_volume",
    "require_valid",
    "stem",
    "validate",
    "write_label",
    "write_probabilities",
    "write_volume",
]
