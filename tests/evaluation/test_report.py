"""A report put together from parts is the report of the whole."""

import json
from dataclasses import replace

import pytest

from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.evaluation import (
    CaseScores,
    ClassScore,
    EvaluationReport,
    SurfaceScores,
    check_results_path,
    evaluate_folder,
    predicted_cases,
)


def shared_out(folders, ranks, **options):
    """What each rank reports, through JSON, as ranks exchange it."""
    cases = predicted_cases(folders[0])
    for rank in range(ranks):
        share = Ranks(rank, ranks).share(cases)
        part = evaluate_folder(*folders, cases=share, progress=False, **options)
        yield EvaluationReport.from_json(json.loads(json.dumps(part.to_json())))


def test_a_case_named_in_another_encoding_has_its_row(five_cases, tmp_path):
    report = evaluate_folder(*five_cases, progress=False, tolerance=None)
    first = replace(report.cases[0], case="Jos\udce9")  # a byte that is no UTF-8
    replace(report, cases=(first, *report.cases[1:])).save(tmp_path / "scores.json")
    assert b"\nJos\xe9,1," in (tmp_path / "scores.csv").read_bytes().replace(b"\r\n", b"\n")


@pytest.mark.parametrize("options", [{}, {"empty_as": "one"}, {"tolerance": None}])
@pytest.mark.parametrize("ranks", [1, 2, 3, 7])  # of five cases: uneven, and some with none
def test_ranks_together_report_what_one_process_does(five_cases, ranks, options):
    parts = list(shared_out(five_cases, ranks, **options))
    alone = evaluate_folder(*five_cases, progress=False, **options)
    assert sum(len(part.cases) for part in parts) == len(alone.cases) == 5
    merged = EvaluationReport.merged(parts)
    assert merged == alone
    assert merged.to_json() == alone.to_json()
    assert merged.describe() == alone.describe()


def test_merging_needs_every_part(five_cases):
    first, second = shared_out(five_cases, 2)
    alone = evaluate_folder(*five_cases, progress=False)
    assert first != alone
    assert EvaluationReport.merged([second, first]) == alone  # in any order
    with pytest.raises(ValueError, match="Two parts hold the case"):
        EvaluationReport.merged([first, second, first])


@pytest.mark.parametrize(
    "change", [{"tolerance_mm": 2.0}, {"empty_as": "one"}, {"labels_without_prediction": 3}]
)
def test_parts_that_were_evaluated_differently_are_refused(five_cases, change):
    first, second = shared_out(five_cases, 2)
    with pytest.raises(ValueError, match="different"):
        EvaluationReport.merged([first, replace(second, **change)])


def test_a_class_of_one_part_is_absent_from_the_others():
    one = CaseScores("b", {2: ClassScore(0.5, 1.0, 2.0)})
    other = CaseScores("a", {8: ClassScore(0.0, 0.5, 0.0)})
    merged = EvaluationReport.merged([EvaluationReport((one,)), EvaluationReport((other,))])
    absent = ClassScore(None, 0.0, 0.0)
    assert [case.case for case in merged.cases] == ["a", "b"]
    assert list(merged.cases[0].classes.items()) == [(2, absent), (8, other.classes[8])]
    assert list(merged.cases[1].classes.items()) == [(2, one.classes[2]), (8, absent)]


def test_an_absent_class_counts_as_one_where_that_was_asked():
    score = ClassScore(0.5, 1.0, 2.0, SurfaceScores(1.0, 0.5, 0.25))
    cases = (CaseScores("a", {1: score}), CaseScores("b", {}))
    merged = EvaluationReport.merged([EvaluationReport(cases, 0, "one", 1.0)])
    assert merged.cases[1].classes == {1: ClassScore(1, 0.0, 0.0, SurfaceScores(None, None, 1))}
    assert merged.classes[1].dice == 0.75
    assert merged.surface_classes[1].mean == SurfaceScores(1.0, 0.5, 0.625)
    assert merged.surface_classes[1].cases_with_distances == 1


def test_a_report_on_nothing_still_says_what_was_measured():
    empty = EvaluationReport((), 4, "undefined", 2.0)
    assert EvaluationReport.from_json(empty.to_json()) == empty
    assert empty.to_json()["mean"]["hd95_mm"] is None
    assert empty.describe().endswith("without a prediction: 4")
    assert "hd95_mm" not in replace(empty, tolerance_mm=None).to_json()["mean"]


@pytest.mark.parametrize("value", [None, [], {"cases": 3}, {"cases": [{}]}, {"cases": []}])
def test_json_that_is_no_report_is_refused(value):
    with pytest.raises(InputError, match="no evaluation report"):
        EvaluationReport.from_json(value)


def test_results_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "folder.json").mkdir()
    check_results_path(tmp_path / "scores.json")
    for name, problem in (("scores.csv", "JSON"), ("folder.json", "folder")):
        with pytest.raises(InputError, match=problem):
            check_results_path(tmp_path / name)


def test_the_interval_is_told_from_low_to_high():
    cases = (CaseScores(str(d), {1: ClassScore(d, 0.0, 0.0)}) for d in (0.7, 0.8, 0.9))
    report = EvaluationReport(tuple(cases))
    low, high = report.mean.confidence_interval
    assert low < report.mean.dice < high
    assert f"{low:.4f} to {high:.4f}" in report.describe()


def test_the_table_beside_the_report_has_to_be_writable_too(tmp_path):
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(InputError, match=r"scores\.csv"):
        check_results_path(tmp_path / "scores.json")
