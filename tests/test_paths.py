"""A path may be a string wherever a user names one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnunet_lib.datasets import (
    find_images,
    make_phantom,
    read_header,
    read_label,
    read_volume,
    write_label,
)
from nnunet_lib.evaluation import EvaluationReport
from nnunet_lib.inference import Postprocessing, load_members
from nnunet_lib.model import (
    LAST,
    Checkpoint,
    build_unet,
    load_network,
    save_checkpoint,
    variable_arrays,
)
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.training import read_metrics

PLAN = Plan(
    dataset="phantom",
    dimensions=2,
    labels=("background", "tube"),
    channels=("MRI",),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(8, 8),
    batch_size=2,
    strides=((1, 1), (2, 2)),
    kernels=((3, 3), (3, 3)),
    filters=(4, 8),
)
READS: dict[str, Callable[[Any], Any]] = {
    "scans": lambda path: [case.identifier for case in find_images(path, 1)],
    "scans/a.nii.gz": lambda path: read_volume(path).array.tolist(),
    "labels/a.nii.gz": lambda path: (read_label(path).array.tolist(), read_header(path).shape),
    "run": lambda path: (load_network(path)[1], read_metrics(path)),
    "run/plan.json": Plan.load,
    "run/": lambda path: (Postprocessing.load(path), load_members([path])[0].plan),
    "new.json": lambda path: EvaluationReport(()).save(path),
    "new.nii.gz": lambda path: write_label(path, np.ones((2, 3, 4), np.uint8), np.eye(4)),
    "phantom": lambda path: make_phantom(path, cases=1).name,
}
"""By the path of each, below one folder."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each kind."""
    root = tmp_path_factory.mktemp("paths")
    for kind in ("scans", "labels"):
        write_label(root / kind / "a.nii.gz", np.ones((2, 3, 4), np.uint8), np.eye(4))
    model = build_unet(PLAN)
    save_checkpoint(root / "run" / LAST, Checkpoint(PLAN, True, variable_arrays(model.variables)))
    PLAN.save(root / "run" / "plan.json")
    return root


@pytest.mark.parametrize("name", READS)
def test_a_string_names_what_a_path_does(folder: Path, name: str) -> None:
    assert READS[name](str(folder / name)) == READS[name](folder / name)


def test_one_path_is_a_volume_of_one_file(folder: Path) -> None:
    path = folder / "scans" / "a.nii.gz"
    assert np.array_equal(read_volume(path).array, read_volume([path]).array)
