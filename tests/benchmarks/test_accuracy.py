"""The page of the accuracy comparison: what is kept, replaced and shown."""

from dataclasses import replace

import pytest

from benchmarks.accuracy.__main__ import WORK, Comparison, main
from benchmarks.accuracy.page import FIGURE, PAGE, Run, add_run, page, read_runs, write_page
from nnunet_lib.files import write_json

SIZE = ", 2 cores, 24 GiB of memory"
WHERE = ("2026-01-01", "Processor of 1998", "Hippocampus")
OURS = Run("nnunet_lib", 5.0, 900, 2, 0.87, (0.86, 0.88), 40, *WHERE)
PEER = Run("nnunetv2", 5.0, 12, 9, 0.31, (0.2, 0.42), 40, *WHERE)


def test_a_run_takes_the_place_of_the_same_system_and_time_only(tmp_path):
    path = tmp_path / "accuracy.json"
    later, longer = replace(OURS, dice=0.88), replace(OURS, minutes=15.0)
    for run in (OURS, PEER, longer, later):
        add_run(run, path)
    assert read_runs(path) == (later, PEER, longer)


@pytest.mark.parametrize(("dice", "word"), [(0.865, "met"), (0.8649, "missed")])
def test_the_page_says_whether_the_goal_was_met(dice, word):
    row = next(
        line for line in page([replace(OURS, dice=dice), PEER]).splitlines() if "900" in line
    )
    assert f"| 0.865: {word} |" in row


@pytest.mark.parametrize(("dice", "times"), [(0.865, 0), (0.8649, 1)])
def test_a_reason_is_given_where_a_goal_is_missed(dice, times):
    assert page([replace(OURS, dice=dice), PEER]).count("Why goals are missed: ") == times


def test_goals_are_not_the_peers_nor_those_of_other_data():
    assert "missed" not in page([PEER, replace(OURS, dice=0.1, dataset="Spleen")])


@pytest.mark.parametrize(
    "other", [{"machine": f"Processor (family 2, model 30){SIZE}"}, {"dataset": "Spleen"}]
)
def test_runs_of_other_data_or_machines_stand_beside_and_have_curves_of_their_own(tmp_path, other):
    path = tmp_path / "accuracy.json"
    elsewhere = replace(OURS, dice=0.4, **other)
    for run in (OURS, elsewhere):
        add_run(run, path)
    assert set(read_runs(path)) == {OURS, elsewhere}
    (name,) = other.values()
    text = page(read_runs(path))
    assert f"nnunet_lib, {name.removesuffix(SIZE)}: 0.400 after 5" in text
    assert f"nnunet_lib, {getattr(OURS, *other)}: 0.870 after 5" in text
    assert "Processor of 1998 |" in text


def test_page_and_figure_are_written_and_the_alt_text_tells_the_curve(tmp_path):
    path = tmp_path / "accuracy.json"
    for run in (OURS, PEER, replace(OURS, minutes=15.0, dice=0.89)):
        add_run(run, path)
    write_page(path)
    text = (tmp_path / PAGE).read_text()
    assert "Processor of 1998: 0.870" not in text  # one machine needs no name in the curve
    assert "nnunet_lib: 0.870 after 5, 0.890 after 15" in text
    assert (tmp_path / FIGURE).read_bytes().startswith(b"\x89PNG")


def test_folds_are_kept_apart_and_averaged_by_cases_once_all_are_there(tmp_path):
    path = tmp_path / "accuracy.json"
    longer = replace(OURS, minutes=15.0, steps=2700)
    for fold, (dice, cases) in enumerate([(0.9, 40), (0.8, 40), (0.9, 40), (0.9, 40), (0.8, 20)]):
        assert "All folds" not in page(read_runs(path))
        add_run(replace(longer, fold=fold, dice=dice, cases=cases), path)
    add_run(replace(OURS, fold=1, dice=0.1), path)  # the other time has one fold alone
    first, all_folds = page(read_runs(path)).split("## All folds")
    assert first.count("| 2700 |") == 1
    assert "nnunet_lib: 0.900 after 15" in first
    mean = (0.9 * 120 + 0.8 * 60) / 180
    row = f"| 0.9000, 0.8000, 0.9000, 0.9000, 0.8000 | {mean:.4f} | 0.885: missed |"
    assert row in all_folds
    assert "Hippocampus, 180" in all_folds
    assert "0.1000" not in all_folds


def test_a_name_with_a_bar_stays_in_its_cell():
    (row,) = [line for line in page([replace(OURS, dataset="a|b")]).splitlines() if "900" in line]
    assert r"| a\|b, 40 |" in row


@pytest.fixture
def dataset(tmp_path):
    """Makes a dataset of so many cases in a folder of that name; no file of a scan is there."""

    def make(folder, cases=5, name="Hippocampus"):
        names = [f"case_{number}.nii.gz" for number in range(cases)]
        description = {
            "name": name,
            "modality": {"0": "MRI"},
            "labels": {"0": "background", "1": "structure"},
            "training": [{"image": f"imagesTr/{n}", "label": f"labelsTr/{n}"} for n in names],
        }
        write_json(tmp_path / folder / "dataset.json", description)
        return tmp_path / folder

    return make


def test_a_dataset_s_name_is_no_path_and_datasets_of_one_name_share_nothing(dataset):
    more = Comparison(dataset("one", cases=6)).work
    places = [Comparison(dataset(folder)).work for folder in ("one", "two")]
    assert len({more, *places}) == 3
    away = Comparison(dataset("one", name="../../../escaped")).work
    assert away == places[0]  # what counts is where it lies, and its cases
    assert {place.parent for place in places} == {WORK}
    assert {place.name.isalnum() for place in places} == {True}


@pytest.mark.parametrize("minutes", ["-1", "0", "nan", "inf", "many"])
def test_minutes_that_are_none_are_refused_at_once(monkeypatch, capsys, minutes):
    monkeypatch.setattr("sys.argv", ["accuracy", "--dataset", "nowhere", f"--minutes={minutes}"])
    with pytest.raises(SystemExit):
        main()
    assert f"{minutes}: must be a number of minutes above 0" in capsys.readouterr().err


def test_a_run_that_fails_is_one_line_below_what_it_said_itself(
    dataset, tmp_path, monkeypatch, capfd
):
    given = ["--dataset", str(dataset("one")), "--systems", "nnunet_lib"]
    monkeypatch.setattr("sys.argv", ["accuracy", *given])
    monkeypatch.setattr("benchmarks.accuracy.__main__.WORK", tmp_path / "work")
    with pytest.raises(SystemExit, match=r"This ended with code 2, see above: .* plan --data"):
        main()
    said = capfd.readouterr().err
    assert "case_0" in said
    assert "Traceback" not in said


def test_nnunet_is_asked_for_one_fold_alone(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["accuracy", "--dataset", "nowhere", "--folds", "0", "1"])
    with pytest.raises(SystemExit):
        main()
    assert "--systems nnunet_lib" in capsys.readouterr().err
