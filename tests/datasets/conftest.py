"""Small files and datasets, written with nibabel alone and not with the code under test."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.array([[0.8, 0, 0, -3], [0, 1.2, 0, 5], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])
SHAPE = (5, 6, 7)  # i, j, k


def save(path, data, affine=AFFINE, change=None):
    """Write `data` in NIfTI's order; `change` may alter the header behind nibabel's back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    if change is not None:
        change(image.header)
    nib.save(image, path)
    return path


@pytest.fixture
def write_nifti():
    return save


@pytest.fixture
def affine():
    return AFFINE.copy()


@pytest.fixture
def msd_folder(tmp_path) -> Path:
    """Three sound training cases and a test case of two channels, in MSD layout."""
    generator = np.random.default_rng(0)
    root = tmp_path / "msd"
    names = ["a", "b", "c"]
    for name in names:
        save(root / f"imagesTr/{name}.nii.gz", generator.random((*SHAPE, 2), dtype=np.float32))
        save(root / f"labelsTr/{name}.nii.gz", generator.integers(0, 3, SHAPE, dtype=np.uint8))
    save(root / "imagesTs/t.nii.gz", generator.random((*SHAPE, 2), dtype=np.float32))
    description = {
        "name": "Small",
        "modality": {"0": "T1", "1": "T2"},
        "labels": {"0": "background", "1": "one", "2": "two"},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in names
        ],
        "test": ["./imagesTs/t.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


@pytest.fixture
def nnunet_folder(tmp_path) -> Path:
    """Two sound training cases and a test case of two channels, in nnU-Net's layout."""
    generator = np.random.default_rng(1)
    root = tmp_path / "nnunet"
    for part, name in [("Tr", "p_1"), ("Tr", "p_2"), ("Ts", "q_1")]:
        for channel in range(2):
            path = root / f"images{part}/{name}_{channel:04d}.nii.gz"
            save(path, generator.random(SHAPE, dtype=np.float32))
        if part == "Tr":
            save(root / f"labelsTr/{name}.nii.gz", generator.integers(0, 3, SHAPE, dtype=np.uint8))
    description = {
        "channel_names": {"0": "T2", "1": "ADC"},
        "labels": {"background": 0, "PZ": 1, "TZ": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root
