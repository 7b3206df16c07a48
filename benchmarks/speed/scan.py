"""A real scan for the rows that are done on one too: written as .npy, which both sides read."""

from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

from benchmarks.speed.inputs import IMAGE
from nnunet_lib.datasets import Dataset, read_volume


def find_dataset(folder: Path) -> Path | None:
    """The first dataset in MSD layout in a folder, None if there is none."""
    found = sorted(path.parent for path in folder.glob("*/dataset.json"))
    return found[0] if found else None


def write_scan(dataset: Path, folder: Path) -> None:
    """The dataset's first scan, first channel, on the grid of the made-up one: `image.npy`."""
    volume = read_volume(Dataset.open(dataset).training[0].images)
    image = volume.array[..., 0]  # (z, y, x)
    steps = [wanted / size for wanted, size in zip(IMAGE, image.shape, strict=True)]
    sampled = zoom(image, steps, order=1)
    normalised = (sampled - sampled.mean()) / sampled.std()
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "image.npy", normalised.astype(np.float32))
