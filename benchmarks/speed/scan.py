"""A real scan for the rows that are done on one too: written as .npy, which both sides read."""

from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

from benchmarks.speed.inputs import CLASSES, IMAGE
from nnunet_lib.datasets import Dataset, is_phantom, read_label, read_volume
from nnunet_lib.errors import InputError


def find_dataset(folder: Path) -> Path | None:
    """The first dataset of real scans in MSD layout in a folder, None if there is none."""
    found = sorted(path.parent for path in folder.glob("*/dataset.json"))
    return next((root for root in found if not is_phantom(root)), None)


def open_real(root: Path) -> Dataset:
    """Open a dataset of real scans.

    Raises:
        InputError: if it is no dataset, or a phantom.
    """
    if is_phantom(root):
        raise InputError(
            f"{root}: is a phantom, whose scans are made up. Name a dataset of real scans."
        )
    return Dataset.open(root)


def write_scan(dataset: Path, folder: Path) -> None:
    """The dataset's first case on the grid of the made-up one: `image.npy` and `label.npy`.

    The first channel, normalised, and as many labels as the made-up case has.
    """
    case = Dataset.open(dataset).training[0]
    assert case.label is not None  # training cases have one
    image = _on_the_grid(read_volume(case.images).array[..., 0], order=1)
    label = np.minimum(read_label(case.label).array, CLASSES - 1)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "image.npy", ((image - image.mean()) / image.std()).astype(np.float32))
    np.save(folder / "label.npy", _on_the_grid(label, order=0))


def _on_the_grid(array: np.ndarray, order: int) -> np.ndarray:
    steps = [wanted / size for wanted, size in zip(IMAGE, array.shape, strict=True)]
    return zoom(array, steps, order=order)
