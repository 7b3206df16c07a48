"""Plans under which preprocessing keeps intensities, so that results can be said in advance."""

import numpy as np
import pytest

from nnunet_lib.planning import Normalisation, Plan

KEEP = Normalisation("ct", lower=-1e6, upper=1e6, mean=0.0, standard_deviation=1.0)


@pytest.fixture
def make_plan():
    """A plan whose classes are as many as its channels, as an identity network needs."""

    def make(spacing, patch_size, axis_order=(0, 1, 2), classes=3):
        dimensions = len(patch_size)
        return Plan(
            dataset="made up",
            dimensions=dimensions,
            channels=tuple(f"channel {number}" for number in range(classes)),
            labels=("background", *(f"class {number}" for number in range(1, classes))),
            axis_order=axis_order,
            target_spacing=tuple(spacing[axis] for axis in axis_order)[-dimensions:],
            normalisation=(KEEP,) * classes,
            patch_size=patch_size,
            batch_size=2,
            strides=((1,) * dimensions,),
            kernels=((3,) * dimensions,),
            filters=(8,),
        )

    return make


@pytest.fixture
def oblique():
    """An affine for spacing (z, y, x), turned about two axes and moved."""

    def make(spacing):
        a, b = 0.3, -0.2
        about_k = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        about_i = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        affine = np.eye(4)
        affine[:3, :3] = about_k @ about_i @ np.diag(spacing[::-1])  # columns are i, j, k
        affine[:3, 3] = (-40.0, 17.5, 3.25)
        return affine

    return make
