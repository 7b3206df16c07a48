"""The command: what it keeps, replaces, compares and says, with toys for rows."""

import json
import subprocess
from dataclasses import replace
from unittest.mock import ANY

import pytest

from benchmarks import __main__ as command
from benchmarks.speed.pairs import Side
from benchmarks.speed.rows import Goal, Row

HERE = "Processor of 2030"
VERSIONS = command._versions


def toy(name, work="report:3:4"):
    goal = Goal("seconds", 5.0, lambda result: result["ours"].median)
    return Row(name, f"toy {name}", (Side("ours", f"tests.benchmarks.toys:{work}"),), 1, (goal,))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command in a folder of its own, on toy rows and a toy machine."""
    monkeypatch.setenv("TOY", "5")
    monkeypatch.setattr(command, "ROWS", (toy("first"), toy("second")))
    monkeypatch.setattr(command, "ROW_NAMES", ("first", "second"))
    monkeypatch.setattr(command, "PEERS", tmp_path)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(command, "PAGE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(command, "find_dataset", lambda _: None)
    monkeypatch.setattr(command, "machine", lambda: HERE)
    monkeypatch.setattr(command, "_versions", lambda: {"toys": "1.0"})
    monkeypatch.setattr(command, "committed", lambda: None)

    def start(*rows, more=()):
        monkeypatch.setattr("sys.argv", ["benchmarks", "--rows", *rows, *more])
        command.main()
        return json.loads((tmp_path / "results.json").read_text())

    return start


def test_rows_that_are_not_measured_keep_their_figures_and_their_day(run, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "today", lambda: "2026-01-01")
    run("first", "second")
    monkeypatch.setattr(command, "today", lambda: "2026-02-02")
    values = run("second")
    assert [row["date"] for row in values[HERE]["rows"].values()] == ["2026-01-01", "2026-02-02"]
    assert "2026-02-02; first on 2026-01-01." in (tmp_path / "RESULTS.md").read_text()


def test_rows_measured_with_other_versions_are_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "today", lambda: "2026-01-01")
    monkeypatch.setattr(command, "_versions", lambda: {"toys": "1.0", "bricks": "7"})
    run("first")
    monkeypatch.setattr(command, "_versions", lambda: {"toys": "2.0", "bricks": "7"})
    run("second")
    told = "toys 1.0, bricks 7; 2026-01-01; second on 2026-01-01 with toys 2.0."
    assert told in (tmp_path / "RESULTS.md").read_text()


@pytest.fixture
def scans(monkeypatch):
    """Two datasets, of which the second is in the command line."""

    monkeypatch.setattr(command, "open_real", lambda folder: folder)  # a path has a name too
    monkeypatch.setattr(command, "write_scan", lambda *_: None)
    row = replace(toy("first"), on_a_scan=True)
    monkeypatch.setattr(command, "ROWS", (row,))
    return ("--dataset", "Hearts")


def test_a_scan_of_another_dataset_is_not_compared_with_and_that_is_said(
    run, scans, tmp_path, monkeypatch, capsys
):
    figures = {"date": "2026-01-01", "figures": {"seconds": 2.0}}
    rows = {"first-scan": {**figures, "dataset": "Brains"}}
    monkeypatch.setattr(command, "committed", lambda: {HERE: {"rows": rows}})
    kept = run("first", more=scans)[HERE]["rows"]
    assert [row.get("dataset") for row in kept.values()] == [None, "Hearts"]
    assert "first-scan is not compared: this scan is of Hearts" in capsys.readouterr().out
    assert "; real scans of Hearts." in (tmp_path / "RESULTS.md").read_text()
    rows["first-scan"]["dataset"] = "Hearts"
    with pytest.raises(SystemExit, match="first-scan: seconds is 3, and was 2"):
        run("first", more=scans)


def test_a_row_on_a_scan_can_be_chosen_alone(run, scans, monkeypatch):
    monkeypatch.setattr(command, "ROW_NAMES", ("first", "first-scan"))
    assert list(run("first-scan", more=scans)[HERE]["rows"]) == ["first-scan"]


def test_a_phantom_is_no_real_scan(run, phantom_path):
    with pytest.raises(SystemExit, match="is a phantom"):
        run("first", more=("--dataset", str(phantom_path)))


@pytest.mark.parametrize(
    ("more", "told"),
    [(("--dataset", "nowhere"), "nowhere"), (("--turns", "0"), "2"), (("--turns", "x"), "2")],
)
def test_bad_input_is_told_without_a_traceback(run, more, told):
    with pytest.raises(SystemExit, match=told) as stopped:
        run("first", more=more)
    assert not isinstance(stopped.value.__cause__, Exception)


@pytest.mark.parametrize("turns", ["0", "x", "-1"])
def test_a_number_of_turns_that_is_none_is_told(run, capsys, turns):
    with pytest.raises(SystemExit):
        run("first", more=(f"--turns={turns}",))
    assert f"{turns}: must be a whole number of at least 1" in capsys.readouterr().err


def test_a_damaged_file_of_results_is_told_before_anything_is_measured(run, tmp_path, monkeypatch):
    (tmp_path / "results.json").write_text("{")
    monkeypatch.setattr(command, "_measure", None)
    with pytest.raises(SystemExit, match=r"results\.json: is not valid JSON"):
        run("first")


def test_who_stops_it_keeps_the_rows_and_the_page_of_them(run, tmp_path, monkeypatch):
    measure = command._measure

    def stopped(row, *others):
        if row.name == "second":
            raise KeyboardInterrupt
        return measure(row, *others)

    monkeypatch.setattr(command, "_measure", stopped)
    with pytest.raises(SystemExit, match="Stopped"):
        run("first", "second")
    assert "| first | seconds | ≤ 5 | 3: met |" in (tmp_path / "RESULTS.md").read_text()


@pytest.fixture
def broken_peers(tmp_path):
    """An environment whose Python says why it cannot work, and ends."""
    python = tmp_path / "peers/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho No module named anything >&2\nexit 1\n")
    python.chmod(0o755)
    return python


def test_peers_that_do_not_tell_their_versions_end_it_before_anything_is_measured(
    run, broken_peers, monkeypatch
):
    monkeypatch.setattr(command, "PEERS", broken_peers)
    monkeypatch.setattr(command, "_versions", VERSIONS)
    monkeypatch.setattr(command, "_measure", None)
    with pytest.raises(SystemExit, match=r"No module named anything\). Remove .*peers;"):
        run("first")


def test_peers_that_give_no_answers_are_told_in_a_sentence(run, broken_peers, monkeypatch):
    monkeypatch.setattr("benchmarks.parity.live.PEERS", broken_peers)
    with pytest.raises(SystemExit, match="peers ended with code 1"):
        run("parity")


def test_machines_stand_side_by_side_each_with_its_own_rows(run, tmp_path, monkeypatch):
    here = run("first", "second")[HERE]
    monkeypatch.setattr(command, "machine", lambda: "Another processor")
    monkeypatch.setattr(command, "ROWS", (toy("first"), toy("second", "report:4:4")))
    values = run("second")
    assert values[HERE] == here
    assert list(values["Another processor"]["rows"]) == ["second"]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| row | figure | goal | machine 1 | machine 2 |" in text
    assert f"**machine 1**: {HERE}" in text
    assert "**machine 2**: Another processor" in text
    assert "| first | seconds | ≤ 5 | 3: met |  |" in text
    assert "| second | seconds | ≤ 5 | 3: met | 4: met |" in text


def test_whether_results_agree_is_no_machine_s(run, tmp_path, monkeypatch):
    values = run("first", "second")
    monkeypatch.setattr(command, "machine", lambda: "Another processor")
    monkeypatch.setattr(command.parity, "compare", lambda _: [])
    (tmp_path / "RESULTS.md").unlink()
    assert run("parity") == values
    assert HERE in (tmp_path / "RESULTS.md").read_text()


def test_a_drop_against_the_last_run_here_fails_and_stands_in_the_page(run, tmp_path, monkeypatch):
    last = {HERE: {"rows": {"first": {"date": "2026-01-01", "figures": {"seconds": 2.0}}}}}
    monkeypatch.setattr(command, "committed", lambda: last)
    with pytest.raises(SystemExit, match="first: seconds is 3, and was 2"):
        run("first")
    assert "| first | seconds | ≤ 5 | 3 (2): met |" in (tmp_path / "RESULTS.md").read_text()


def test_a_record_of_what_a_row_no_longer_measures_is_kept_and_neither_shown_nor_compared(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr(command, "today", lambda: "2026-01-01")
    kept = run("first", "second")
    monkeypatch.setattr(command, "committed", lambda: kept)
    changed = replace(toy("first", "report:4:4"), measures_since="2026-02-02")
    monkeypatch.setattr(command, "ROWS", (changed, toy("second")))
    assert run("second") == {HERE: {"rows": {**kept[HERE]["rows"], "second": ANY}}}
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| second | seconds | ≤ 5 | 3 (3): met |" in text
    assert "| first |" not in text
    monkeypatch.setattr(command, "today", lambda: "2026-02-02")
    run("first")  # a second more than before, which would be a drop
    assert "| first | seconds | ≤ 5 | 4: met |" in (tmp_path / "RESULTS.md").read_text()


def test_another_machine_s_last_run_is_not_compared_with_and_that_is_said(
    run, tmp_path, monkeypatch, capsys
):
    last = {"Another": {"rows": {"first": {"figures": {"seconds": 2.0}}}}}
    monkeypatch.setattr(command, "committed", lambda: last)
    run("first")
    assert "on other machines (Another)" in capsys.readouterr().out
    assert "| first | seconds | ≤ 5 | 3: met |" in (tmp_path / "RESULTS.md").read_text()


def test_a_row_that_fails_is_named_at_the_end_and_the_others_are_written(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr(command, "ROWS", (toy("first", "fail"), toy("second")))
    with pytest.raises(SystemExit, match=r"first: ours .*ended with code 1"):
        run("first", "second")
    assert "| second | seconds | ≤ 5 | 3: met |" in (tmp_path / "RESULTS.md").read_text()


def test_outside_git_there_is_no_last_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert command.committed() is None
    monkeypatch.setenv("PATH", "")
    assert command.committed() is None


def test_the_last_run_is_the_committed_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/results.json").write_text('{"a machine": {}}')
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "run"]):
        subprocess.run(["git", *words], check=True)
    (tmp_path / "benchmarks/results.json").write_text("a newer run")
    assert command.committed() == {"a machine": {}}
