"""From a trained network and a raw scan to a label map on the scan's own grid."""

from nnunet_lib.inference.sliding_window import (
    BlendMode,
    Network,
    blend_weights,
    pad_to_patch,
    sliding_window,
    weight_sums,
    window_starts,
    windows_of,
)
from nnunet_lib.inference.test_time_augmentation import flip_combinations, with_flips

__all__ = [
    "BlendMode",
    "Network",
    "blend_weights",
    "flip_combinations",
    "pad_to_patch",
    "sliding_window",
    "weight_sums",
    "window_starts",
    "windows_of",
    "with_flips",
]
