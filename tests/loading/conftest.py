"""Small preprocessed cases, and a way to look at what the loader makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from nnunet_lib.loading import CaseFiles, Loader

WriteCase = Callable[[str, np.ndarray, np.ndarray], CaseFiles]


@pytest.fixture(params=get_args(Loader))
def loader(request: pytest.FixtureRequest) -> Loader:
    """Each loader in turn: what holds for one holds for the other."""
    return request.param


@pytest.fixture
def write_case(tmp_path: Path) -> WriteCase:
    """Write an image (d, h, w, c) and a label (d, h, w) as preprocessing does."""

    def write(name: str, image: np.ndarray, label: np.ndarray) -> CaseFiles:
        case = CaseFiles(tmp_path / f"{name}_image.npy", tmp_path / f"{name}_label.npy")
        np.save(case.image, np.ascontiguousarray(image, np.float32))
        np.save(case.label, np.ascontiguousarray(label[..., np.newaxis], np.uint8))
        return case

    return write


@pytest.fixture
def numbered_cases(write_case: WriteCase) -> list[CaseFiles]:
    """Seven cases whose image and label hold the case's number everywhere."""
    shape = (8, 10, 9)
    return [
        write_case(f"case_{i}", np.full((*shape, 1), i), np.full(shape, i)) for i in range(1, 8)
    ]


@pytest.fixture
def coordinate_case(write_case: WriteCase) -> Callable[..., CaseFiles]:
    """A case whose three channels hold each voxel's z, y and x, and whose label one of them."""

    def write(shape: tuple[int, int, int] = (20, 22, 24), labelled_axis: int = 0) -> CaseFiles:
        image = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        return write_case(f"coordinates_{labelled_axis}", image, image[..., labelled_axis])

    return write


@pytest.fixture
def random_cases(write_case: WriteCase) -> list[CaseFiles]:
    """Three cases of noise, a few voxels of which are labelled."""
    random = np.random.default_rng(2)
    images = [random.normal(size=(10, 12, 11, 1)) for _ in range(3)]
    return [write_case(f"r{i}", image, image[..., 0] > 2) for i, image in enumerate(images)]
