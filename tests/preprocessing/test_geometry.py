"""The geometry as a file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.preprocessing import Geometry

GEOMETRY = Geometry(
    original_shape=(10, 20, 30),
    affine=tuple(tuple(row) for row in np.diag([1.0, 2.0, 3.0, 1.0]).tolist()),
    spacing=(3.0, 2.0, 1.0),
    box=((1, 9), (2, 18), (3, 27)),
    axis_order=(2, 0, 1),
    resampled_shape=(12, 24, 32),
    resampled_spacing=(2.0, 1.0, 1.0),
    padding=((2, 2), (0, 0), (0, 1)),
    padding_value=(-3.5, 0.0),
)


def test_comes_back_equal_from_json() -> None:
    value = json.loads(json.dumps(GEOMETRY.to_json()))
    assert Geometry.from_json(value) == GEOMETRY


def test_knows_its_shapes() -> None:
    assert GEOMETRY.shape == (16, 24, 33)
    assert GEOMETRY.cropped_shape == (24, 8, 16)
    assert GEOMETRY.cropped_spacing == (1.0, 3.0, 2.0)


def test_unpad_takes_away_what_padding_added() -> None:
    inside = np.random.default_rng(0).normal(size=(12, 24, 32, 2))
    padded = np.pad(inside, [*GEOMETRY.padding, (0, 0)])
    np.testing.assert_array_equal(GEOMETRY.unpad(padded), inside)
    without = replace(GEOMETRY, padding=((0, 0),) * 3)
    np.testing.assert_array_equal(without.unpad(inside), inside)


@pytest.mark.parametrize("content", ["[]", "{}", '{"geometry": {}}', '{"geometry": 3}', "{"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "case.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"case\.json"):
        Geometry.load(path)
