"""From times to a page, and the comparison with the last committed run."""

import json

import pytest

from benchmarks.speed.data_rows import DATA_ROWS
from benchmarks.speed.pairs import Measured, Side
from benchmarks.speed.report import NOISE, as_json, drops, figures_of, from_json, page
from benchmarks.speed.rows import ROWS, Goal, Row, growth_ratio, time_ratio

RESULT = {
    "ours": Measured((1.0, 1.0, 1.0), 300),
    "slow": Measured((4.0, 4.0, 4.0), 0, "in passing"),
    "fast": Measured((2.0, 2.0, 2.0), 0),
}
RATIO = Goal("time / the fastest peer's", 0.75, time_ratio("ours", "slow", "fast"))
GROWTH = Goal("growth / needed", 1.3, growth_ratio("ours", 100), "It keeps three copies.")
ROW = Row("work", "some work", tuple(Side(name, "m:f") for name in RESULT), 3, (RATIO, GROWTH))
LAST = {"work": {RATIO.text: 0.5, GROWTH.text: 3.0}}


def rendered(last):
    return page([ROW], {"rows": {"work": as_json(ROW, RESULT)}}, last, "Some machine.")


def test_figures_compare_with_the_fastest_peer():
    assert figures_of(ROW, RESULT) == {RATIO.text: 0.5, GROWTH.text: 3.0}


def test_what_was_measured_survives_its_file():
    value = json.loads(json.dumps(as_json(ROW, RESULT)))
    assert from_json(value) == RESULT


def test_the_page_shows_goal_outcome_reason_and_the_last_run():
    lines = rendered({"work": {RATIO.text: 0.45}}).splitlines()
    assert f"| work | {RATIO.text} | 0.5 | 0.45 | ≤ 0.75 | met |" in lines
    missed = f"| work | {GROWTH.text} | 3 |  | ≤ 1.3 | **missed**. It keeps three copies. |"
    assert missed in lines
    assert any(line.startswith("| work | slow | 4.00 s |") for line in lines)


def test_a_planted_drop_is_told_and_noise_is_not():
    worse = {"work": {RATIO.text: 0.5 * (1 + NOISE) + 0.01, GROWTH.text: 3.0 * (1 + NOISE) - 0.01}}
    (sentence,) = drops(worse, LAST)
    assert "work" in sentence
    assert RATIO.text in sentence


@pytest.mark.parametrize("figures", [{"new": {RATIO.text: 9.0}}, {"work": {"another": 9.0}}])
def test_what_was_not_measured_before_cannot_drop(figures):
    assert list(drops(figures, LAST)) == []


def test_every_goal_is_about_sides_of_its_row():
    rows = (*ROWS, *DATA_ROWS)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        result = {side.name: Measured((1.0,), 2**30, "2% of a step") for side in row.sides}
        assert len(figures_of(row, result)) == len(row.goals)
