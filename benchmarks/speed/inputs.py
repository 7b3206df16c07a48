"""What both sides are given, from NumPy alone: each environment makes it anew.

`RandomState` is used for its frozen streams: every version of NumPy draws the same numbers. Arrays
are in spatial order (z, y, x), without axes for batch and channels.
"""

import numpy as np

PATCH = (40, 56, 40)
BATCH = 2
CLASSES = 3
FILTERS = (32, 64, 128, 256)
"""The network of the pairs: 4 stages, two 3x3x3 convolutions each, instance norm, leaky ReLU."""
HEADS = 3
"""Decoder levels that learn, as in nnU-Net: all but the coarsest of 4."""
HEAD_WEIGHTS = (4 / 7, 2 / 7, 1 / 7)
IMAGE = (80, 112, 80)
"""27 windows of PATCH with an overlap of one half."""
SCAN = (512, 512, 400)
COARSE_SCAN = (256, 256, 200)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal noise of that shape, float32."""
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def labels(*shape: int, seed: int = 0) -> np.ndarray:
    """Random labels below CLASSES, uint8."""
    return np.random.RandomState(seed).randint(0, CLASSES, shape).astype(np.uint8)
