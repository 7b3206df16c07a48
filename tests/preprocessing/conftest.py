"""Small plans and volumes for preprocessing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnunet_lib.datasets import LabelMap, Volume
from nnunet_lib.planning import Normalisation, Plan


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """A plan for (z, y, x) = (2, 1, 1) mm with patch 8 x 16 x 16, changed as asked."""

    def make(**changes: Any) -> Plan:
        values: dict[str, Any] = {
            "dataset": "Made up",
            "dimensions": 3,
            "channels": ("MRI",),
            "labels": ("background", "one", "two"),
            "axis_order": (0, 1, 2),
            "target_spacing": (2.0, 1.0, 1.0),
            "normalisation": (Normalisation("z_score"),),
            "patch_size": (8, 16, 16),
            "batch_size": 2,
            "strides": ((1, 1, 1), (2, 2, 2)),
            "kernels": ((3, 3, 3), (3, 3, 3)),
            "filters": (8, 16),
        }
        values |= changes
        if values["dimensions"] == 2:
            values |= {
                "target_spacing": values["target_spacing"][-2:],
                "patch_size": values["patch_size"][-2:],
                "strides": ((1, 1), (2, 2)),
                "kernels": ((3, 3), (3, 3)),
            }
        return Plan(**values)

    return make


@pytest.fixture
def make_volume() -> Callable[..., tuple[Volume, LabelMap]]:
    """Noise with two label blocks, inside a margin of zeros if asked for."""

    def make(
        shape: tuple[int, int, int] = (12, 20, 18),
        spacing: tuple[float, float, float] = (2.0, 1.0, 1.0),
        channels: int = 1,
        margin: int = 0,
        seed: int = 0,
    ) -> tuple[Volume, LabelMap]:
        image = np.random.default_rng(seed).normal(100, 20, (*shape, channels))
        label = np.zeros(shape, np.uint8)
        blocks = tuple(slice(size // 3, 2 * size // 3) for size in shape)
        label[blocks] = 1
        label[blocks[0], blocks[1], shape[2] // 2 :][..., : shape[2] // 4] = 2
        padding = [(margin, margin)] * 3
        image = np.pad(image.astype(np.float32), [*padding, (0, 0)])
        label = np.pad(label, padding)
        affine = np.diag([*spacing[::-1], 1.0])
        return Volume(image, affine, spacing), LabelMap(label, affine, spacing)

    return make
