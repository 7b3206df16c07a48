"""What both sides are given, from NumPy alone: each environment makes it anew.

`RandomState` is used for its frozen streams: every version of NumPy draws the same numbers. Arrays
are in spatial order (z, y, x), without axes for batch and channels.
"""

import os
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np

PATCH = (40, 56, 40)
BATCH = 2
PLANNED_BATCH = 9
"""What nnU-Net plans with this patch for all 260 cases of Hippocampus."""
CLASSES = 3
FILTERS = (32, 64, 128, 256)
"""The network of the pairs: 4 stages, two 3x3x3 convolutions each, instance norm, leaky ReLU."""
QUICK_PATCH = (32, 40, 32)
QUICK_FILTERS = (16, 32, 64, 128)
"""What the library plans by default for Hippocampus: steps of a fifth of the time."""
HEADS = 3
"""Decoder levels that learn: all three that a network of 4 stages has."""
HEAD_WEIGHTS = (4 / 7, 2 / 7, 1 / 7)
IMAGE = (80, 112, 80)
"""27 windows of PATCH with an overlap of one half."""
SMALL_IMAGE = (60, 84, 60)
"""8 windows."""
SCAN = (512, 512, 400)
COARSE_SCAN = (256, 256, 200)
REAL_SCAN = "BENCHMARK_SCAN"
"""The environment variable that names the folder of a real scan, where a row is about one."""
CONVOLUTIONS = {
    32: (64, 80, 80),
    64: (40, 40, 64),
    128: (20, 32, 40),
    256: (16, 20, 20),
    320: (16,) * 3,
}
"""Grids on which a 3x3x3 convolution of so many channels to as many is the same work."""
MATRIX = 2048
COPIED = 2**28
"""Bytes."""


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal noise of that shape, float32."""
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def labels(*shape: int, seed: int = 0) -> np.ndarray:
    """Random labels below CLASSES, uint8."""
    return np.random.RandomState(seed).randint(0, CLASSES, shape).astype(np.uint8)


def real_scan() -> tuple[np.ndarray, np.ndarray] | None:
    """Image (z, y, x) float32 and label uint8 of a real scan on the grid IMAGE, if it is told."""
    folder = os.environ.get(REAL_SCAN)
    if not folder:
        return None
    return np.load(Path(folder) / "image.npy"), np.load(Path(folder) / "label.npy")


def image() -> np.ndarray:
    """What the network segments: the real scan if there is one, else noise."""
    real = real_scan()
    return noise(*IMAGE) if real is None else real[0]


def forward_flops() -> float:
    """Floating-point operations of the network's convolutions for one batch, two a product."""
    voxels = [BATCH * prod(PATCH) / 8**level for level in range(len(FILTERS))]
    entering = (1, *FILTERS)
    down = (
        n * 27 * (come * own + own * own)
        for n, come, own in zip(voxels, entering, FILTERS, strict=False)
    )
    up = (  # the transposed convolution, then two on twice the channels and on their own
        n * (below * own + 27 * (2 * own * own + own * own))
        for n, (own, below) in zip(voxels, pairwise(FILTERS), strict=False)
    )
    return 2 * (sum(down) + sum(up) + voxels[0] * FILTERS[0] * CLASSES)


def convolution_flops() -> float:
    """Floating-point operations of one of `CONVOLUTIONS`."""
    channels, grid = next(iter(CONVOLUTIONS.items()))
    return 2.0 * 27 * channels**2 * prod(grid)
