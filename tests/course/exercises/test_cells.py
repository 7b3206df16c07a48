"""What a learner calls answers in words, whatever is asked, and remembers what is solved."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from nnunet_lib.course.exercises import cells, records
from nnunet_lib.course.exercises import exercise as exercises
from nnunet_lib.course.exercises.records import Record, load_record
from nnunet_lib.errors import InputError

RIGHT = "# exercise 77.mean\ndef mean(values):\n    return values.mean()"
WRONG = "# exercise 77.mean\ndef mean(values):\n    return values.sum()"


@pytest.fixture(autouse=True)
def _one_lesson(lesson, work, monkeypatch):
    """The exercises are those of the small lesson, and results are kept in the test's folder."""
    monkeypatch.setattr(exercises, "exercises_folder", lambda: lesson.parent)


@pytest.fixture
def ran(monkeypatch):
    """The cells that the kernel has run: a list to be filled."""
    history = []
    shell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=history))
    monkeypatch.setattr(cells, "get_ipython", lambda: shell)
    return history


def plain(shown):
    return [bundle["text/plain"] for bundle, _ in shown]


def test_the_last_run_of_the_marked_cell_is_checked(ran, shown):
    ran += [RIGHT, WRONG, 'check("77.mean")']
    cells.check("77.mean", seed=1)
    ran += [RIGHT, "x = 1", 'check("77.mean")']
    cells.check("77.mean")
    first, second = plain(shown)
    assert first.startswith("77.mean: not yet.")
    assert "Hint: Divide, too." in first
    assert 'hint("77.mean")' in first
    assert second.startswith("77.mean is solved.")
    verdicts = [bundle[cells.VERDICT_MIME] for bundle, _ in shown]
    assert [verdict["solved"] for verdict in verdicts] == [False, True]
    assert load_record("77.mean") == Record(tries=2, solved=True)


def test_each_check_draws_inputs_of_its_own_unless_a_seed_is_given(ran, shown, monkeypatch):
    seeds, check = [], cells.Checker.check
    monkeypatch.setattr(
        cells.Checker, "check", lambda *given: seeds.append(given[-1]) or check(*given)
    )
    ran.append(RIGHT)
    for seed in (None, None, 0, 7):
        cells.check("77.mean", seed=seed)
    assert seeds[2:] == [0, 7]
    assert len(set(seeds)) == 4


def test_a_page_says_in_words_what_a_colour_says_and_shows_code_as_text(ran, shown):
    ran.append("# exercise 77.mean\ndef mean(values):\n    return '<b>' + 1")
    cells.check("77.mean")
    html = shown[0][0]["text/html"]
    assert "not yet" in html
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cells.check("77.mean"), "Run the cell that begins with the line `# exercise"),
        (lambda: cells.check("78.mean"), "ids look like"),
        (lambda: cells.check(""), "ids look like"),
        (lambda: cells.check(1), "ids look like"),
        (lambda: cells.check("77.median"), "This lesson has 77.mean"),
        (lambda: cells.hint("77.median"), "This lesson has 77.mean"),
        (lambda: cells.solution("77.median"), "This lesson has 77.mean"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(call, words, ran, shown):
    call()
    assert words in plain(shown)[0]


def test_a_verdict_is_shown_even_where_it_cannot_be_kept(ran, shown, monkeypatch):
    def full(*_):
        raise OSError(30, "Read-only file system", "exercises")

    monkeypatch.setattr(records, "write_json", full)
    ran.append(RIGHT)
    cells.check("77.mean", seed=np.int64(3))
    cells.solution("77.mean")
    solved, why, source, again = plain(shown)
    assert solved.startswith("77.mean is solved.")
    assert "Read-only file system" in why
    assert "return sum(values)" in source
    assert again == why


@pytest.mark.parametrize("seed", [-1, np.int64(-5)])
def test_a_negative_seed_is_refused_in_words(ran, shown, seed):
    ran.append(RIGHT)
    cells.check("77.mean", seed=seed)
    assert f"seed {seed}: must be at least 0" in plain(shown)[0]


@pytest.mark.parametrize("seed", ["a", 1.5, [3]])
def test_a_seed_that_is_no_whole_number_is_refused_in_words(ran, shown, seed):
    ran.append(RIGHT)
    cells.check("77.mean", seed=seed)
    assert f"seed {seed!r}: must be a whole number" in plain(shown)[0]


@pytest.mark.parametrize("record", [{"tries": "two"}, {"solved": 1}, {"other": 1}, [], None])
def test_a_damaged_record_counts_as_none(work, record):
    (work / "exercises").mkdir(parents=True)
    path = work / "exercises" / "77.mean.json"
    path.write_text(json.dumps({"format": 1, "record": record}))
    assert load_record("77.mean") == Record()


def test_a_file_beside_the_notebook_takes_no_module_s_place(ran, shown, tmp_path, monkeypatch):
    (tmp_path / "random.py").write_text("x = 1")
    monkeypatch.chdir(tmp_path)
    ran.append(RIGHT)
    cells.check("77.mean")
    assert plain(shown)[0].startswith("77.mean is solved.")


def test_help_comes_in_two_steps(shown):
    cells.hint("77.mean")
    cells.solution("77.mean")
    first, second = plain(shown)
    assert "Add them up, and divide." in first
    assert "return sum(values) / len(values)" in second
    assert "BEGIN" not in second
    assert load_record("77.mean").solution_seen


def test_progress_shows_every_exercise(ran, shown):
    cells.progress()
    ran.append(RIGHT)
    cells.check("77.mean")
    cells.solution("77.mean")  # after it was solved, this is no help
    cells.progress()
    texts = plain(shown)
    assert "0 of 1 exercises solved." in texts
    assert "1 of 1 exercises solved." in texts
    assert "solved, checked once" in texts[-2]
    assert "solution seen" not in texts[-2]


def test_what_is_solved_stays_solved(work):
    for solved in (False, True, False):
        records.note_check("77.mean", solved)
    assert load_record("77.mean") == Record(tries=3, solved=True)
    assert load_record("77.mean").describe() == "solved, checked 3 times"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 9, "record": {}}', "null"])
def test_a_record_that_cannot_be_read_counts_as_none(content, work):
    records.note_check("77.mean", True)
    (path,) = (work / "exercises").iterdir()
    assert json.loads(path.read_text())["record"]["solved"]
    path.write_text(content)
    assert load_record("77.mean") == Record()


def test_without_a_checkout_there_are_no_exercises(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(exercises, "checkout", lambda: None)
    with pytest.raises(InputError, match="come with a checkout"):
        exercises.exercises_folder()
