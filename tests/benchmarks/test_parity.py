"""Parity with nnU-Net, MONAI, MedPy and surface-distance, from answers that are committed.

`python -m benchmarks.parity` made them, in an environment of the peers' own.
"""

from dataclasses import asdict, replace

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.parity.ours import FILES, REFERENCES, Row, load, rows_of
from benchmarks.parity.page import plan_lines, section
from nnunet_lib.evaluation import surface
from nnunet_lib.inference import windows
from nnunet_lib.model import blocks, convolution, toom_cook
from nnunet_lib.planning import planner, topology
from nnunet_lib.preprocessing import case, resampling
from nnunet_lib.training import losses

MOST_KILOBYTES = 400


@pytest.fixture(autouse=True)
def without_caches():
    """No weights or matrices of a library that was broken on purpose."""
    cached = (windows.bell, windows.blend_weights, windows._row_weights)
    for function in (*cached, resampling.interpolation_matrix):
        function.cache_clear()
    yield
    for function in (*cached, resampling.interpolation_matrix):
        function.cache_clear()


@pytest.mark.parametrize("name", FILES)
def test_the_library_does_what_the_peers_do(name):
    rows = rows_of(REFERENCES, name)
    assert any(row.bound is not None for row in rows)
    assert [row for row in rows if not row.held] == []


def test_the_network_does_by_fewer_products_too(monkeypatch):
    outputs, calls = toom_cook.outputs, []
    monkeypatch.setattr(toom_cook, "outputs", lambda *given: calls.append(given) or outputs(*given))
    monkeypatch.setattr(convolution, "FEWEST_VOXELS", 1)
    monkeypatch.setattr(convolution, "FEWEST_CHANNELS", 1)
    assert [row for row in rows_of(REFERENCES, "network") if not row.held] == []
    assert len(calls) > 10


def pad_at_the_end(blocks_, inputs, kernel, name):
    margins = tuple((0, 2 * (width // 2)) for width in kernel)
    padding = getattr(tf.keras.layers, f"ZeroPadding{len(kernel)}D")
    return padding(margins, name=name)(inputs)


def first_voxels(labels, strides):
    return labels[(slice(None), *(slice(None, None, step) for step in strides))]


def floored_starts(size, patch, overlap=0.5):
    steps = -(-(size - patch) // max(1, int(patch * (1 - overlap))))
    return tuple(int(step * (size - patch) / max(steps, 1)) for step in range(steps + 1))


# Where the library is broken, how, and the rows that must notice.
FAULTS = [
    ("preprocessing", resampling, "_TIE", -1e-6, "labels"),
    ("preprocessing", resampling, "CUBIC", 1, "image"),
    ("preprocessing", resampling, "separate_axis", lambda *_: None, "image"),
    ("preprocessing", resampling, "separate_axis", lambda *_: None, "labels"),
    ("preprocessing", resampling, "resampled_shape", lambda shape, *_: tuple(shape), ""),
    ("preprocessing", case, "nonzero_mask", lambda image: np.ones(image.shape[:3], bool), "image"),
    ("preprocessing", case, "nonzero_mask", lambda image: np.any(image != 0, axis=-1), "image"),
    ("planning", planner, "ANISOTROPY", 12.0, "target spacing"),
    ("planning", planner, "SMALLEST_BATCH", 12, "patch size"),
    ("planning", planner, "DATASET_SHARE", 0.2, "batch size"),
    ("planning", planner, "MASK_BELOW", 0.55, "inside mask"),
    ("planning", topology, "SMALLEST_EDGE", 6, "strides"),
    ("planning", topology, "CONVOLUTIONS_PER_STAGE", 3, "patch size"),
    ("network", blocks, "NORM_EPSILON", 1e-2, "logits"),
    ("network", blocks.Blocks, "_pad", pad_at_the_end, "logits"),
    ("network", tf.keras.layers, "LeakyReLU", lambda _, **options: tf.keras.layers.ReLU(**options),
     "logits"),
    ("loss", losses, "DICE_SMOOTHING", 1.0, "loss"),
    ("loss", losses, "deep_supervision_weights", lambda heads: (1 / heads,) * heads, "gradients"),
    ("loss", losses, "subsample", first_voxels, "gradients"),
    ("windows", windows, "SIGMA", 1 / 7, "same map and grid"),
    ("windows", windows, "window_starts", floored_starts, "same map and grid"),
    ("grids", windows, "window_starts", floored_starts, "places"),
    ("metrics", surface, "surface_of", lambda mask: mask, "assd"),
    ("metrics", surface, "_ROUNDING", 0.3, "surface dice"),
    ("metrics", surface, "max", min, "hd95"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "where", "what", "broken", "notices"),
    FAULTS,
    ids=[f"{fault[0]}: {fault[2]}, {fault[4]}" for fault in FAULTS],
)
def test_a_broken_library_is_noticed(name, where, what, broken, notices, monkeypatch):
    monkeypatch.setattr(where, what, broken, raising=what != "max")
    if what == "window_starts":
        monkeypatch.setattr("benchmarks.parity.ours.window_starts", broken)
    if what == "resampled_shape":
        monkeypatch.setattr(case, what, broken)
    assert [row for row in rows_of(REFERENCES, name) if notices in row.quantity and not row.held]


def test_what_is_no_number_is_not_held():
    row = Row("something", "a peer", 1e-3, float("nan"))
    assert not row.held
    assert not replace(row, worst=float("inf")).held
    assert replace(row, worst=1e-3).held


def test_the_section_says_what_was_held_and_what_was_not():
    row = Row("something", "a peer", 1e-3, 2e-3, "because")
    rows = [row, replace(row, worst=0.0), replace(row, bound=None)]
    text = section(
        {
            "rows": [asdict(row) for row in rows],
            "scan": "Hippocampus",
            "plans": list(plan_lines(load(REFERENCES, "planning"))),
            "versions": {"peer": "1"},
        }
    )
    lines = [line for line in text.splitlines() if "something" in line]
    assert ["**not held**" in line for line in lines] == [True, False, False]
    assert ["| held |" in line for line in lines] == [False, True, False]
    assert "A real scan, of Hippocampus, is among the cases. Peers: peer 1." in text
    assert "| Prostate | 3D | zyx | 3.6 x 0.625 x 0.625 | 20 x 320 x 256 | 2 | 111 122" in text


def test_the_answers_are_small_and_name_their_makers():
    assert load(REFERENCES, "versions")["nnunetv2"] == "2.8.1"
    size = sum(path.stat().st_size for path in REFERENCES.iterdir())
    assert size < MOST_KILOBYTES * 1024
