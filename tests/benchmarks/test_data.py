"""What the rows about data give to both sides, and that this library's side can do it."""

import ast
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import data_inputs
from benchmarks.speed.data_rows import DATA_ROWS
from benchmarks.speed.rows import ROWS

WORKS = sorted({side.work for row in (*DATA_ROWS, *ROWS) for side in row.sides})


@pytest.mark.parametrize("work", WORKS)
def test_the_work_that_a_row_names_is_there(work):
    """Read, not imported: what peers do needs the peers."""
    module, name, *arguments = work.split(":")
    tree = ast.parse(Path(*module.split(".")).with_suffix(".py").read_text())
    (found,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    assert len(found.args.args) - len(found.args.defaults) <= len(arguments)
    assert len(arguments) <= len(found.args.args)


def test_a_list_of_transforms_says_those_that_are_drawn():
    said = data_inputs.in_words(data_inputs.NNUNET)
    assert "rotation (0.2; 30 degrees an axis)" in said
    assert "low resolution (0.125; (0.5, 1.0))" in said
    assert "rotation" not in data_inputs.in_words(data_inputs.NVIDIA)


def test_scans_have_a_margin_and_two_structures_inside():
    shape = data_inputs.ANISOTROPIC.shape
    scan, label = data_inputs.scan_of(shape), data_inputs.label_of(shape)
    assert scan[0, 0, 0] == 0
    assert set(np.unique(label)) == {0, 1, 2}
    assert (scan[label > 0] > 0).all()


def test_the_two_maps_overlap_and_differ():
    predicted, true = data_inputs.predicted_and_true()
    assert 0.5 < (predicted & true).sum() / (predicted | true).sum() < 1


@pytest.mark.parametrize("name", ["loading-wait", "loading-wait-quick"])
def test_what_waits_is_read_from_each_side_s_note_in_the_report(name):
    from benchmarks.speed.pairs import Measured

    (row,) = [row for row in DATA_ROWS if row.name == name]
    notes = {side.name: f"{number}.50% of a step" for number, side in enumerate(row.sides)}
    result = {side: Measured((1.0,), 0, note) for side, note in notes.items()}
    expected = [pytest.approx(0.005 + number / 100) for number in range(len(row.sides))]
    assert [goal.value(result) for goal in row.goals] == expected


@pytest.mark.slow  # preprocesses and draws for real
@pytest.mark.parametrize("name", ["anisotropic", "overlap", "surfaces", "augmentation_naive"])
def test_the_work_can_be_done(name):
    from benchmarks.speed import data_ours

    assert getattr(data_ours, name)()() is not None
