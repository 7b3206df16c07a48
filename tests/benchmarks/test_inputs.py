"""What the rows on speed give to both sides."""

import numpy as np
import pytest

from benchmarks.speed import data_inputs, inputs
from benchmarks.speed.scan import find_dataset, write_scan
from nnunet_lib.datasets import make_phantom
from nnunet_lib.files import write_json


def test_every_lone_convolution_is_the_same_work():
    work = {channels**2 * np.prod(grid) for channels, grid in inputs.CONVOLUTIONS.items()}
    assert len(work) == 1
    assert inputs.convolution_flops() == 2 * 27 * work.pop()


def test_the_forward_pass_is_counted_as_the_network_computes_it():
    from benchmarks.speed.ours import PLAN
    from nnunet_lib.model import build_unet

    flops = 0.0
    for layer in build_unet(PLAN, deep_supervision=False).layers:
        if "conv" not in type(layer).__name__.lower():
            continue
        grid, kernel = layer.output_shape[1:4], layer.kernel.shape
        transposed = "Transpose" in type(layer).__name__
        taps = np.prod(kernel[3:]) if transposed else np.prod(kernel)  # one tap a voxel
        flops += 2 * inputs.BATCH * np.prod(grid) * taps
    assert inputs.forward_flops() == pytest.approx(flops)


def test_only_real_scans_are_found(tmp_path):
    make_phantom(tmp_path / "a phantom", cases=1)
    assert find_dataset(tmp_path) is None
    write_json(tmp_path / "scans/dataset.json", {"name": "Hippocampus"})
    assert find_dataset(tmp_path) == tmp_path / "scans"


def test_a_real_scan_takes_the_made_up_one_s_place(phantom_path, tmp_path, monkeypatch):
    write_scan(phantom_path, tmp_path)
    monkeypatch.setenv(inputs.REAL_SCAN, str(tmp_path))
    image, label = data_inputs.case_of((8, 8, 8))
    assert image.shape == label.shape == inputs.image().shape == inputs.IMAGE
    assert (image.dtype, label.dtype) == (np.float32, np.uint8)
    assert set(np.unique(label)) == set(range(inputs.CLASSES))
    assert abs(float(image.mean())) < 1e-3
    predicted, true = data_inputs.predicted_and_true()
    assert predicted.sum() == true.sum()
    assert (predicted != true).any()
