"""Average predictions over mirrored copies of a case. Taught in lesson 10."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def flip_combinations(axes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """All subsets of `axes`, the empty one first: 4 of two axes, 8 of three."""
    return tuple(
        subset for count in range(len(axes) + 1) for subset in itertools.combinations(axes, count)
    )


def with_flips(
    predict: Callable[[FloatArray], FloatArray], image: FloatArray, axes: Sequence[int]
) -> FloatArray:
    """Mean logits over all flips of the whole case, each undone before it is added.

    The mean is equivariant by construction: it belongs to a flipped image exactly as its
    flip belongs to the image, whatever `predict` does.

    Args:
        predict: image (*spatial, channels) -> logits (*spatial, classes).
        image: (*spatial, channels). Flipped copies are views, and are not written to.
        axes: the spatial axes to flip, such as (0, 1, 2), or (1, 2) for a 2D model.

    Returns:
        Mean logits (*spatial, classes), float32.
    """
    if not axes:
        return predict(image)
    combinations = flip_combinations(axes)
    mean = np.array(predict(image), np.float32)  # (*spatial, classes), a copy to add to
    for flipped in combinations[1:]:
        mean += np.flip(predict(np.flip(image, flipped)), flipped)
    mean /= len(combinations)
    return mean
