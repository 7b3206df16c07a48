"""From times to a page, and the comparison with the last committed run."""

import json
from dataclasses import replace

import pytest

from benchmarks.speed.data_rows import DATA_ROWS
from benchmarks.speed.pairs import Measured, Side
from benchmarks.speed.report import (
    NOISE,
    alt_text,
    as_json,
    draw,
    drops,
    figures_of,
    from_json,
    page,
)
from benchmarks.speed.rows import (
    ROWS,
    Goal,
    Growth,
    Row,
    exponent,
    growth_ratio,
    time_ratio,
    with_scans,
)

RESULT = {
    "ours": Measured((1.0, 1.0, 1.0), 300),
    "slow": Measured((4.0, 4.0, 4.0), 0, "in passing"),
    "fast": Measured((2.0, 2.0, 2.0), 0),
}
RATIO = Goal("time / the fastest peer's", 0.75, time_ratio("ours", "slow", "fast"))
GROWTH = Goal("growth / needed", 1.3, growth_ratio("ours", 100), "It keeps three copies")
ROW = Row("work", "some work", tuple(Side(name, "m:f") for name in RESULT), 3, (RATIO, GROWTH))
LAST = {"work": {RATIO.text: 0.5, GROWTH.text: 3.0}}


def a_run(row=ROW, last=None, result=RESULT, machine="Here"):
    value = json.loads(json.dumps(as_json(row, result, "2026-01-01", last or {})))
    return from_json(machine, f"{machine}, today.", {row.name: value})


def rendered(row=ROW, last=None, result=RESULT):
    return page([row], [a_run(row, last, result)])


def test_figures_compare_with_the_fastest_peer():
    assert figures_of(ROW, RESULT) == {RATIO.text: 0.5, GROWTH.text: 3.0}


def test_what_was_measured_survives_its_file():
    run = a_run(last={RATIO.text: 0.45})
    assert run.rows == {"work": RESULT}
    assert run.last == {"work": {RATIO.text: 0.45}}


def test_the_page_shows_goal_outcome_reason_and_the_last_run():
    lines = rendered(last={RATIO.text: 0.45}).splitlines()
    assert f"| work | {RATIO.text} | ≤ 0.75 | 0.5 (0.45): met |" in lines
    assert f"| work | {GROWTH.text} | ≤ 1.3 | 3: **missed** |" in lines
    assert f"- **work**, {GROWTH.text}: It keeps three copies." in lines
    assert any(line.startswith("| work | slow | 4.00 s |") for line in lines)


def test_a_note_with_a_bar_stays_in_its_cell():
    noted = {**RESULT, "slow": replace(RESULT["slow"], note="a|b")}
    assert r"| a\|b |" in rendered(result=noted)


def test_a_goal_may_ask_for_more():
    goal = replace(RATIO, at_least=True)
    text = rendered(replace(ROW, goals=(goal,)))
    assert f"| work | {RATIO.text} | ≥ 0.75 | 0.5: **missed** |" in text


def test_a_reason_is_given_where_any_machine_misses():
    lean = {**RESULT, "ours": replace(RESULT["ours"], bytes=100)}
    met, missed = a_run(result=lean), a_run(machine="There")
    assert "three copies" not in page([ROW], [met])
    assert "three copies" in page([ROW], [met, missed])


def test_a_row_that_one_machine_has_not_run_is_left_empty_there():
    other = replace(ROW, name="other")
    text = page([ROW, other], [a_run(), a_run(other, machine="There")])
    assert f"| work | {RATIO.text} | ≤ 0.75 | 0.5: met |  |" in text
    assert f"| other | {RATIO.text} | ≤ 0.75 |  | 0.5: met |" in text
    assert text.count("| other | slow | 4.00 s |") == 1


def test_columns_are_short_and_the_page_says_which_machine_each_is():
    lines = page([ROW], [a_run(), a_run(machine="There")]).splitlines()
    assert "| row | figure | goal | machine 1 | machine 2 |" in lines
    assert "- **machine 2**: There, today." in lines
    assert "### Machine 2: There" in lines


def test_a_figure_stays_what_it_was_when_the_code_that_made_it_changes():
    renamed = replace(RATIO, value=time_ratio("a new name", "fast"))
    text = page([replace(ROW, goals=(renamed, replace(GROWTH, text="asked since")))], [a_run()])
    assert f"| work | {RATIO.text} | ≤ 0.75 | 0.5: met |" in text
    assert "| work | asked since | ≤ 1.3 |  |" in text


@pytest.mark.parametrize(("at_least", "direction"), [(False, 1), (True, -1)])
def test_a_planted_drop_is_told_and_noise_is_not(at_least, direction):
    row = replace(ROW, goals=(replace(RATIO, at_least=at_least),))
    worst = 0.5 * (1 + direction * NOISE)
    (sentence,) = drops([row], {"work": {RATIO.text: worst + direction * 0.01}}, LAST)
    assert "work" in sentence
    assert RATIO.text in sentence
    assert list(drops([row], {"work": {RATIO.text: worst - direction * 0.01}}, LAST)) == []


@pytest.mark.parametrize(("at_least", "direction"), [(False, 1), (True, -1)])
@pytest.mark.parametrize("before", [0.0, -0.01, 0.05])
def test_a_figure_near_zero_drops_beyond_its_own_margin(at_least, direction, before):
    goal = replace(RATIO, at_least=at_least, unsure=0.1)
    row, last = replace(ROW, goals=(goal,)), {"work": {goal.text: before}}
    for change, drop in ((0.0, 0), (0.09, 0), (-0.5, 0), (0.11, 1)):
        figures = {"work": {goal.text: before + direction * change}}
        assert len(list(drops([row], figures, last))) == drop


def test_a_figure_without_goal_cannot_drop():
    row = replace(ROW, goals=(replace(RATIO, limit=None),))
    assert list(drops([row], {"work": {RATIO.text: 9.0}}, LAST)) == []


def test_what_was_not_measured_cannot_drop():
    figures = {"work": {RATIO.text: 9.0, GROWTH.text: 9.0}}
    assert list(drops([ROW], figures, {})) == []
    assert list(drops([ROW], {}, LAST)) == []


def test_a_power_law_gives_its_exponent():
    assert exponent([3 * size**1.5 for size in (2, 3, 7)], (2, 3, 7)) == pytest.approx(1.5)


def test_what_shrinks_as_its_work_grows_does_not_grow():
    assert exponent([4.1, 3.9, 1.7], (2, 3, 7)) == 0


def test_growth_is_drawn_and_told():
    sides = tuple(Side(str(size), "m:f") for size in (1, 2, 4))
    law = Goal("time ~ size^k, k", 1.1, lambda _: 2.0)
    beside = Side("16", "m:f")  # of no size, and so no part of the drawn law
    row = Row("growing", "work", (*sides, beside), 3, (law,), growth=Growth("voxels", (1, 2, 4)))
    result = {side.name: Measured((int(side.name) ** 2.0,), 2**20) for side in row.sides}
    linear = {name: replace(one, seconds=(float(name),)) for name, one in result.items()}
    runs = [a_run(row, result=result), a_run(machine="Elsewhere")]  # which has other rows alone
    runs.append(a_run(row, result=linear, machine="There"))
    figure = draw([row], runs)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["machine 1", "machine 3"]
    drawn = [line.get_color() for line in figure.axes[0].lines[::2]]
    assert [line.get_color() for line in figure.legends[0].get_lines()] == drawn
    above, below = figure.axes
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["k = 2.00", "k = 1.00"]
    assert below.get_legend().get_texts()[0].get_text() in ("k = 0.00", "k = -0.00")
    assert "work, machine 1: time ~ size^k, k = 2. work, machine 3:" in alt_text([row], runs)
    text = rendered(row, result=result)
    assert text.index("How cost grows") < text.index("| growing | time ~ size^k, k | ≤ 1.1 | 2: ")


def test_rows_on_a_scan_stand_beside_the_others():
    rows = with_scans([replace(ROW, on_a_scan=True), replace(ROW, name="other")])
    assert [row.name for row in rows] == ["work", "work-scan", "other"]


def test_every_goal_is_about_sides_of_its_row():
    rows = (*ROWS, *DATA_ROWS)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        result = {side.name: Measured((1.0,), 2**30, "2% of a step") for side in row.sides}
        assert len(figures_of(row, result)) == len(row.goals)
