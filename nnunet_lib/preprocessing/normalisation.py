"""Intensities of one channel made comparable between cases.

Taught in lesson 02. Source: Isensee et al., Nature Methods 18 (2021), figure 2.
"""

import math

import numpy as np

from nnunet_lib.planning import Normalisation

SMALLEST_DEVIATION = 1e-8

_PART = 2**16
"""Voxels that are worked on in float64 at a time, so that no large copy is made."""


def normalise(
    channel: np.ndarray, mask: np.ndarray, normalisation: Normalisation
) -> tuple[np.ndarray, float]:
    """Normalise one channel of one case.

    Statistics are taken in float64. A channel without contrast becomes 0 everywhere.

    Args:
        channel: (z, y, x) in the channel's own units.
        mask: (z, y, x) bool, where the case is not background.
        normalisation: the plan's scheme for this channel.

    Returns:
        The normalised channel (z, y, x) float32, and the value that stands for "nothing
        here" in it, which padding uses: air for CT, raw zero otherwise.
    """
    if normalisation.scheme == "ct":
        return _normalise_ct(channel, normalisation)
    if normalisation.inside_mask:
        return _z_score_inside(channel, mask), 0.0
    mean, deviation = _mean_and_deviation(channel)
    return _scaled(channel, mean, deviation), (0.0 - mean) / deviation


def _normalise_ct(channel: np.ndarray, normalisation: Normalisation) -> tuple[np.ndarray, float]:
    """Clip, then shift and scale by the dataset's numbers; air is the lower clip bound."""
    lower, upper = normalisation.lower, normalisation.upper
    mean, deviation = normalisation.mean, normalisation.standard_deviation
    clipped = np.clip(channel, lower, upper)
    return _scaled(clipped, mean, deviation), (lower - mean) / deviation


def _z_score_inside(channel: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Z-score of the voxels in the mask; 0, the new mean, outside."""
    result = np.zeros(channel.shape, np.float32)
    if mask.any():
        inside = channel[mask]  # (voxels in the mask,)
        result[mask] = _scaled(inside, *_mean_and_deviation(inside))
    return result


def _mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation; for a constant its value and infinity, which scales to 0."""
    if values.min() == values.max():
        return float(values.flat[0]), float("inf")
    mean = float(values.mean(dtype=np.float64))
    parts = np.array_split(values.ravel(), values.size // _PART + 1)
    centred = (np.subtract(part, mean, dtype=np.float64) for part in parts)
    variance = sum(float(part @ part) for part in centred) / values.size
    return mean, max(math.sqrt(variance), SMALLEST_DEVIATION)


def _scaled(values: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """(values - mean) / deviation, in float32."""
    result = np.empty(values.shape, np.float32)
    np.subtract(values, mean, out=result)
    result /= deviation
    return result
