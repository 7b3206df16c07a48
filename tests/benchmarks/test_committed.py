"""The committed pages say what the committed records hold."""

import re
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.accuracy import page as accuracy
from nnunet_lib.files import read_json

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNS = accuracy.read_runs(ROOT / accuracy.RESULTS)
MACHINE = "(family 25, model 17)"
"""Whose runs README shows."""
SHOWN = [run for run in RUNS if run.system == "nnunet_lib" and MACHINE in run.machine]


def test_results_md_is_made_of_the_records(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    committed = command.PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(command, "PAGE", tmp_path / "RESULTS.md")
    command.write_page(command._tables())
    assert command.PAGE.read_text(encoding="utf-8") == committed


def test_accuracy_md_is_made_of_the_records():
    committed = (ROOT / accuracy.RESULTS).with_name(accuracy.PAGE)
    assert accuracy.page(RUNS) == committed.read_text(encoding="utf-8")


def test_the_readme_s_accuracy_is_the_recorded_one():
    said = re.findall(r"^\| (\d+) minutes \| (\d+) \| \S+ \| (.+) \|$", README, re.MULTILINE)
    recorded = [
        (f"{run.minutes:g}", str(run.steps), f"{run.dice:.3f} ({low:.3f} to {high:.3f})")
        for run in SHOWN
        if run.fold == 0
        for low, high in [run.interval]
    ]
    assert said == recorded
    assert MACHINE in README


def test_the_readme_s_five_folds_are_the_recorded_ones():
    folds = [run for run in SHOWN if run.minutes == 15]
    assert [run.fold for run in folds] == [0, 1, 2, 3, 4]
    *first, last = [f"{run.dice:.3f}" for run in folds]
    mean = sum(run.dice * run.cases for run in folds) / sum(run.cases for run in folds)
    cases = sum(run.cases for run in folds)
    assert (
        f"gave {', '.join(first)} and {last}: **{mean:.3f} as the mean of all {cases} c" in README
    )


def test_the_readme_s_slower_machine_is_the_recorded_one():
    slow = [run for run in RUNS if "without AVX-512" in run.machine]
    for run in slow:
        assert re.search(rf"{run.minutes:g} minutes (gave )?{run.dice:.3f}", README)
    assert len(slow) == 4


@pytest.mark.parametrize(("row", "digits"), [("ranks", 2), ("ranks-planned", 3)])
def test_the_page_of_clusters_gives_what_ranks_did(row, digits):
    text = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    tables = read_json(ROOT / command.RESULTS).values()
    there = [table["rows"][row]["figures"] for table in tables if row in table["rows"]]
    shares = sorted(one["work of 2 ranks / twice that of 1"] for one in there)
    assert len(shares) >= 2
    words = {"ranks": "{} to {} of twice the work of one", "ranks-planned": "{} and {}"}
    ends = [f"{share:.{digits}f}" for share in (shares[0], shares[-1])]
    assert words[row].format(*ends) in text
