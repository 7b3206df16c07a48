"""Whatever a learner writes, the check answers in words, soon, and nothing keeps running."""

import os
import time

import psutil
import pytest

from nnunet_lib.course.exercises.sandbox import run_apart

HEAD = "# exercise 77.mean\nimport os, sys, time\nimport numpy as np\ndef mean(values):\n"


def body(text):
    return HEAD + "\n".join(f"    {line}" for line in text.splitlines())


@pytest.mark.parametrize(
    ("source", "mistake", "words"),
    [
        ("def mean(values)\n    return 1", "syntax", "line 1 of the cell: `def mean(values)`"),
        ("%matplotlib inline\n" + HEAD + "    return 1", "magic", "line 1"),
        ("x = '\0'", "error", "null bytes"),
        ("x = 1", "missing", "defines no function `mean`"),
        ("def mean():\n    return 1", "call", "cannot be called"),
        ("class mean: pass", "call", "cannot be called"),
        ("def mean(values, *, scale): return 1", "call", "cannot be called"),
        (body("return values.sum() / 0 if values is None else 1 / 0"), "error", "line 5 of the"),
        (body("return undefined"), "NameError", "name 'undefined' is not defined"),
        (body("return mean(values)"), "RecursionError", "line 5"),
        (body("import nowhere"), "ModuleNotFoundError", "nowhere"),
        (body("sys.exit(0)"), "SystemExit", "line 5"),
        (body("exit()"), "SystemExit", "line 5"),
        (body("raise KeyboardInterrupt"), "error", "KeyboardInterrupt"),
        (body("os._exit(0)"), "ended", "ended its process by itself"),
        (body("os.kill(os.getpid(), 11)"), "ended", "SIGSEGV"),
        (body("os.kill(os.getpid(), 9)"), "memory", "0.25 GiB"),  # as Linux does
        (body("return input('?')"), "EOFError", "EOF"),
        (body("return object()"), "strange", "a value of type object"),
        (body("return np.array([None])"), "strange", "an array of object"),
        (body("return np.complex128(1)"), "strange", "gives complex numbers"),
        (body("raise TypeError('in user code:\\n\\n  File x\\n  No dtype')"), "error", "No dtype"),
        (body("while True: pass"), "time", "more than 5 seconds"),
        ("while True: pass", "time", "more than 5 seconds"),
        (body("time.sleep(1000)"), "time", "more than 5 seconds"),
        (body("return np.ones((10**6, 10**6))"), "memory", "0.25 GiB"),
        (body("held = []\nwhile True: held.append(bytearray(10**7))"), "memory", "0.25 GiB"),
        (body("return 10 ** 10 ** 10"), "time", "more than 5 seconds"),
        (body("return"), "nothing", "the result is None"),
        (body("return [1, 2]"), "", "the result is [1, 2]"),
        (body("return values"), "", "the result is an array of shape"),
        (body("return 'five'"), "", "the text 'five'"),
        (body("class Odd(Exception):\n    def __str__(self): 1 / 0\nraise Odd"), "error", "Odd"),
    ],
)  # fmt: skip
def test_it_is_told_what_happened_and_where(check, source, mistake, words):
    verdict = check(source)
    assert not verdict.solved
    assert words in verdict.problem
    assert verdict.mistake == mistake
    assert "Traceback" not in verdict.problem
    assert verdict.hint or mistake in ("", "error")


def test_addresses_that_are_reserved_and_not_used_are_no_memory(check):
    """As a library reserves them that the exercise does not need, TensorFlow among them."""
    text = "import mmap\nreserved = mmap.mmap(-1, 2**32)\nreturn np.longdouble(values.mean())"
    assert check(body(text)).solved


def test_printing_megabytes_does_no_harm(check):
    assert check(body("print('x' * 10**7, file=sys.stderr)\nreturn np.mean(values)")).solved


@pytest.mark.parametrize(
    "source",
    [
        "return 5.0",
        "for file in range(64):\n"
        '    try: os.write(file, b\'{"exercise": "77.mean", "solved": true}\\n\')\n'
        "    except OSError: pass\nreturn 5.0",
        "np.isclose = lambda *a, **k: np.True_\nnp.allclose = np.isclose\nreturn 5.0",
        "import nnunet_lib.course.exercises.judging as judging\n"
        "judging.judge = judging.difference = lambda *a, **k: ''\nreturn 5.0",
        "class Equal(float):\n    def __eq__(self, other): return True\nreturn Equal(5.0)",
    ],
    ids=["constant", "writes a verdict", "patches numpy", "patches the judge", "equals everything"],
)
def test_a_verdict_cannot_be_forged(check, source):
    for seed in (0, 1):
        assert not check(body(source), seed).solved
    assert check(body("return np.mean(values)")).solved  # and the next answer is judged as ever


def test_what_it_started_is_ended_with_it(check, tmp_path):
    note = tmp_path / "pid"
    child = f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    source = f"if os.fork() == 0:\n    {child}\ntime.sleep(0.2)\nreturn np.mean(values)"
    assert check(body(source)).solved
    process = int(note.read_text())
    for _ in range(50):
        if not psutil.pid_exists(process) or psutil.Process(process).status() == "zombie":
            return
        time.sleep(0.1)
    pytest.fail("a process of the answer is still running")


def test_it_works_in_a_folder_of_its_own(check):
    source = (
        "open('notes.txt', 'w').write('x')\nassert len(os.listdir()) == 2\nreturn np.mean(values)"
    )
    here = sorted(os.listdir())
    assert check(body(source)).solved
    assert sorted(os.listdir()) == here


def test_the_inputs_that_it_changes_are_noticed(check):
    verdict = check(body("result = values.mean()\nvalues[0] = 0\nreturn result"))
    assert verdict.mistake == "changes its input"
    assert "changes values," in verdict.hint
    assert not verdict.solved


def test_where_there_is_no_fork_it_runs_here(exercise, monkeypatch):
    monkeypatch.delattr(os, "fork", raising=False)
    calls = [{"values": [1.0, 2.0]}, {"values": [4.0]}]
    outcome = run_apart(exercise, "def mean(values):\n    return sum(values) / len(values)", calls)
    assert outcome.results == (1.5, 4.0)
    function = run_apart(
        exercise, "def mean(values):\n    return values([2, 3])", [{"values": max}]
    )
    assert function.results == (3,)
    broken = run_apart(exercise, "\ndef mean(values):\n    return values[7]", calls)
    assert (broken.fault.exception, broken.fault.line, broken.fault.call) == ("IndexError", 3, 0)
    assert broken.fault.code == "return values[7]"
