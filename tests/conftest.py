"""What every test may use: the real scans, a small phantom, and fixed seeds."""

import os
import random
from pathlib import Path

import numpy as np
import pytest

import nnunet_lib  # first of all: it sets TensorFlow's switches before any test loads TensorFlow

CHECKOUT = Path(__file__).resolve().parent.parent
REAL_DATASET = "Task04_Hippocampus"
REAL_DATA_VARIABLE = "NNUNET_COURSE_REAL_DATA"

assert nnunet_lib.__version__


def real_data_places() -> list[Path]:
    """Where the hippocampus scans may lie: the variable alone if it is set, else two folders."""
    if named := os.environ.get(REAL_DATA_VARIABLE):
        return [Path(named)]
    beside = CHECKOUT.parent / "shared" / "data" / REAL_DATASET
    return [beside, CHECKOUT / "data" / REAL_DATASET]


@pytest.fixture(scope="session")
def real_dataset_path() -> Path:
    """The folder of the hippocampus scans, which tests read and never write to."""
    for place in real_data_places():
        if (place / "dataset.json").is_file():
            return place
    if REAL_DATA_VARIABLE in os.environ:
        pytest.fail(f"{REAL_DATA_VARIABLE} names a folder without dataset.json")
    pytest.skip(f"{REAL_DATASET} is not here: see data/README.md")


@pytest.fixture(scope="session")
def phantom_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of six cases, made once for all tests, which read it and never write to it."""
    from nnunet_lib.datasets import make_phantom  # here: most tests need no phantom

    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder, cases=6, seed=0)
    return folder


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that may not be written; said by `os.access` alone, because root may write all."""
    folder, real = tmp_path / "read_only", os.access
    folder.mkdir()

    def access(path: Path, mode: int) -> bool:
        return real(path, mode) and not (Path(path) == folder and mode & os.W_OK)

    monkeypatch.setattr(os, "access", access)
    return folder


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Seed the global generators, for code that draws without a generator of its own."""
    random.seed(0)
    np.random.seed(0)
