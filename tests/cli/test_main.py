"""The command line: its contract, its defaults, and its errors."""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from nnunet_lib.cli import main
from nnunet_lib.cli.main import make_parser
from nnunet_lib.cli.options import OPTIONS, settings_from
from nnunet_lib.inference import InferenceSettings
from nnunet_lib.model import ComputeSettings
from nnunet_lib.planning import Norm, PlannerSettings
from nnunet_lib.training.schedules import Scheduler
from nnunet_lib.training.settings import (
    OPTIMISER_DEFAULTS,
    Optimiser,
    TrainingSettings,
)

# What scripts rely on: these lines must parse, whatever else is added.
CONTRACT = [
    "phantom --output d --cases 3 --modality ct --channels 1 --seed 4",
    "download --task 04 --output data",
    "plan --data d --output plan.json --dim 2 --patch-size 32 32 --target-spacing 1 1.5",
    "plan --data d --output plan.json --preset nvidia --task 04 --dim 2",
    "preprocess --data d --results p --dim 3 --exec-mode val --plan plan.json --workers 2",
    "train --data p --results r --fold 1 --dim 2 --time-limit 15",
    "train --data p --results r --nfolds 4 --deep-supervision --tta --overlap 0.25 "
    "--blend-mode constant --nvol 4 --oversampling 0.5 --learning-rate 1e-3 "
    "--scheduler cosine --epochs 3 --steps-per-epoch 7 --seed 1 --loader tf",
    "predict --model r --input i.nii.gz --output o.nii.gz --tta --overlap 0.5 "
    "--blend-mode gaussian",
    "evaluate --predictions p --labels l --results r.json",
    "export --model r --output e --checkpoint best --overwrite",
    "benchmark --mode loader --dim 2 --batch-size 8 --patch-size 32 32 --base-filters 8 "
    "--channels 1 --loader tf --steps 3 --warmup-steps 1 --amp --xla --output b.json",
    "doctor --json",
    "progress",
    "grade --submissions class --output class.csv --seed 1",
]


def subparsers() -> dict[str, argparse.ArgumentParser]:
    actions = make_parser()._actions
    (choices,) = [a.choices for a in actions if isinstance(a, argparse._SubParsersAction)]
    return dict(choices)


@pytest.mark.parametrize("line", CONTRACT)
def test_the_contract_parses(line: str) -> None:
    parsed = make_parser().parse_args(line.split())
    assert parsed.command == line.split()[0]


@pytest.mark.parametrize("command", subparsers())
def test_every_option_has_help(command: str) -> None:
    for action in subparsers()[command]._actions:
        assert action.help, action.dest


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("train --data d --results r", TrainingSettings()),
        ("train --data d --results r", TrainingSettings().augmentation),
        ("train --data d --results r", TrainingSettings().inference),
        ("predict --model m --input i --output o", InferenceSettings()),
        ("predict --model m --input i --output o", ComputeSettings()),
        ("plan --data d --output p", PlannerSettings()),
    ],
)
def test_defaults_are_those_of_the_settings(line: str, settings: Any) -> None:
    given = make_parser().parse_args(line.split())
    shared = {field.name for field in fields(settings)} & vars(given).keys()
    assert len(shared) >= 2
    assert settings_from(given, settings) == settings


def test_every_option_is_used_by_a_command() -> None:
    used = {flag for parser in subparsers().values() for flag in parser._option_string_actions}
    assert OPTIONS.keys() <= used


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--amp", ComputeSettings("float16")),
        ("--amp bfloat16 --no-tf32", ComputeSettings("bfloat16", tf32=False)),
        ("--xla", ComputeSettings(xla=True)),
    ],
)
def test_amp_alone_means_float16(options: str, expected: ComputeSettings) -> None:
    line = f"predict --model m --input i --output o {options}"
    assert settings_from(make_parser().parse_args(line.split()), ComputeSettings()) == expected


def test_what_the_help_of_train_repeats_is_what_the_settings_say() -> None:
    assert OPTIONS["--optimiser"].choices == get_args(Optimiser)
    assert OPTIONS["--scheduler"].choices == get_args(Scheduler)
    assert OPTIONS["--norm"].choices == get_args(Norm)
    for flag, field in (("--learning-rate", "learning_rate"), ("--weight-decay", "weight_decay")):
        own = (f"{name} {getattr(d, field):g}" for name, d in OPTIMISER_DEFAULTS.items())
        assert ", ".join(own) in OPTIONS[flag].help


def test_what_the_help_of_benchmark_repeats_is_what_made_up_cases_have() -> None:
    from nnunet_lib.cli.commands.benchmark import _MADE_UP
    from nnunet_lib.deployment import synthetic

    def words(sizes: Any) -> str:
        return " ".join(map(str, sizes))

    batch, patch = synthetic.BATCH_SIZE, synthetic.PATCH
    assert {
        "--batch-size": f"{batch[3]}, or with --dim 2 {batch[2]}",
        "--patch-size": f"{words(patch[3])}, or with --dim 2 {words(patch[2])}",
        "--base-filters": str(synthetic.BASE_FILTERS),
        "--channels": str(synthetic.find_preset("1").channels),
    } == _MADE_UP


def test_the_plan_warns_of_classes_by_the_folds_that_training_has() -> None:
    from nnunet_lib.planning.planner import FOLDS
    from nnunet_lib.training.settings import TrainingSettings

    assert TrainingSettings().number_of_folds == FOLDS


def test_help_imports_no_tensorflow() -> None:
    code = (
        "import sys; from nnunet_lib.cli.main import make_parser; make_parser().format_help(); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("download --task 11 --output d", "01_BrainTumour"),
        ("plan --data missing --output plan.json", "missing"),
        ("preprocess --data missing --results p", "missing"),
        ("train --data missing --results r", "missing"),
        ("predict --model missing --input i.nii.gz --output o.nii.gz", "missing"),
        ("evaluate --predictions missing --labels missing --results r.json", "missing"),
        ("export --model missing --output exported", "missing"),
        ("benchmark --steps 0", "steps 0"),
        ("benchmark --data missing", "missing"),
        ("benchmark --patch-size 36 36 36", "multiple of 8 x 8 x 8"),
        ("train --data d --results r --fold 7", "fold 7: with 5 folds (--nfolds)"),
        ("grade --submissions missing --output class.csv", "missing"),
        ("course --record --notebooks 00.ipynb", "whole course"),
        ("train --data d --results r --time-limit -1", "minutes"),
        ("train --data d --results r --nfolds 1", "at least 2"),
        ("plan --data d --output .", "is a folder"),
        ("benchmark --output .", "is a folder"),
        ("benchmark --patch-size 1 1 1", "cannot be halved"),
        ("benchmark --mode loader --xla", "leave out its settings"),
        ("train --data d --results r --momentum 0.3", "for --optimiser sgd alone"),
        ("train --data d --results r --restarts 9", "for --scheduler cosine_restarts alone"),
        ("train --data d --results r --no-augment --flip-probability 0.5 --tta", "leaves patches"),
        (
            "evaluate --predictions p --labels l --results r.json --no-surface --tolerance 2",
            "one out",
        ),
    ],
)
def test_bad_input_exits_with_2_and_no_traceback(
    line: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert word in printed.err
    assert "Traceback" not in printed.err
    assert not list(tmp_path.iterdir())


def test_an_empty_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """As of a shell's unset variable: it would mean the current folder."""
    with pytest.raises(SystemExit):
        main(["train", "--data", "d", "--results", ""])
    assert "argument --results: is empty; name a file or a folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "preprocess"])
def test_workers_that_do_no_work_are_refused(
    command: str, phantom_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = {"plan": "--output", "preprocess": "--results"}[command]
    words = [command, "--data", str(phantom_path), output, str(tmp_path / "out"), "--workers", "0"]
    assert main(words) == 2
    assert "workers is 0; give 1 or more" in capsys.readouterr().err


def test_an_interruption_while_options_are_read_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str) -> argparse.ArgumentParser:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["nnunet_lib.cli.main"], "make_parser", interrupted)
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "\ntrain: interrupted.\n"


HEED = """
import signal
if __name__ == "__main__":  # workers, which import this too, have what they inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def _started(program: str, place: Path) -> subprocess.Popen[str]:
    """A script in a process group of its own, so that a test can send signals to all of it.

    Its coverage is not measured: that warns on the error stream when processes are ended. It heeds
    Ctrl-C even where these tests run in the background of a script, which ignores it.
    """
    (place / "script.py").write_text(HEED + program)
    environment = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
    return subprocess.Popen(
        [sys.executable, str(place / "script.py")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_command_that_is_terminated_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A cluster's queue does that when time is up."""
    program = f"""
import runpy, sys, time
from pathlib import Path
from nnunet_lib.cli import main
from nnunet_lib.files import replacing

def write(words):
    with replacing(Path({str(tmp_path)!r}) / "out" / "report.json") as temporary:
        temporary.write_text("half")
        print("writing", flush=True)
        time.sleep(60)

sys.modules["nnunet_lib.cli.main"].make_parser = write
sys.argv = ["nnunet_lib", "plan"]
runpy.run_module("nnunet_lib", run_name="__main__")
"""
    started = _started(program, tmp_path)
    assert started.stdout is not None
    assert started.stdout.readline() == "writing\n"
    started.terminate()
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    assert errors == "\nplan: interrupted.\n"
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow  # worker processes start
def test_a_worker_begins_nothing_while_its_parent_is_slow_to_heed_ctrl_c(tmp_path: Path) -> None:
    program = """
import os, signal, time
from nnunet_lib.parallel import run_all

def work(seconds):
    os.write(1, b"working\\n")  # in one piece; unbuffered, print writes the end of the line alone
    time.sleep(seconds)

def late(*_):
    time.sleep(3)
    raise KeyboardInterrupt

if __name__ == "__main__":
    signal.signal(signal.SIGINT, late)
    try:
        run_all(work, [300.0] * 8, 2, "work", progress=False)
    except KeyboardInterrupt:
        print("ended", flush=True)
"""
    started = _started(program, tmp_path)
    assert started.stdout is not None
    assert [started.stdout.readline() for _ in range(2)] == ["working\n"] * 2
    os.killpg(started.pid, signal.SIGINT)
    try:
        rest, _ = started.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        raise
    assert rest == "ended\n"


@pytest.mark.slow  # worker processes start
def test_workers_ignore_ctrl_c_where_their_parent_does(tmp_path: Path) -> None:
    """A script's shell starts so what it runs in its background."""
    program = """
import os, signal, time
from nnunet_lib.parallel import run_all

def work(seconds):
    os.write(1, b"working\\n")  # in one piece; unbuffered, print writes the end of the line alone
    time.sleep(seconds)
    return seconds

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(run_all(work, [2.0] * 2, 2, "work", progress=False), flush=True)
"""
    started = _started(program, tmp_path)
    assert started.stdout is not None
    assert [started.stdout.readline() for _ in range(2)] == ["working\n"] * 2
    os.killpg(started.pid, signal.SIGINT)
    rest, errors = started.communicate(timeout=60)
    assert (rest, errors) == ("[2.0, 2.0]\n", "")


@pytest.mark.slow  # worker processes start, nine times
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5])
def test_ctrl_c_while_workers_start_prints_no_traceback(tmp_path: Path, seconds: float) -> None:
    program = """
import sys, time
import numpy, scipy.ndimage  # as every worker does, which takes a while
from nnunet_lib.cli import main
from nnunet_lib.parallel import run_all

if __name__ == "__main__":
    def work(words):
        print("starting", flush=True)
        run_all(time.sleep, [300.0] * 8, 2, "work", progress=False)

    sys.modules["nnunet_lib.cli.main"].make_parser = work
    sys.exit(main(["plan"]))
"""
    started = _started(program, tmp_path)
    assert started.stdout is not None
    assert started.stdout.readline() == "starting\n"
    time.sleep(seconds)
    os.killpg(started.pid, signal.SIGINT)
    try:
        _, errors = started.communicate(timeout=60)
    except subprocess.TimeoutExpired:  # tasks were begun after all
        os.killpg(started.pid, signal.SIGKILL)
        raise
    assert started.returncode == 130
    assert errors == "\nplan: interrupted.\n"


@pytest.mark.parametrize("nth", [1, 2, 5, 9])  # an event has five semaphores, a pool's queues more
def test_ctrl_c_while_a_semaphore_is_made_leaves_none_behind(tmp_path: Path, nth: int) -> None:
    program = f"""
import signal, sys, time
from multiprocessing import resource_tracker
from nnunet_lib.cli import main
from nnunet_lib.parallel import run_all

register, made = resource_tracker.register, []

def interrupted(name, kind):
    register(name, kind)
    made.append(name)
    if len(made) == {nth}:
        signal.raise_signal(signal.SIGINT)

if __name__ == "__main__":
    resource_tracker.register = interrupted
    sys.modules["nnunet_lib.cli.main"].make_parser = lambda words: run_all(
        time.sleep, [300.0] * 8, 2, "work", progress=False
    )
    sys.exit(main(["plan"]))
"""
    started = _started(program, tmp_path)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130
    assert errors == "\nplan: interrupted.\n"


def test_whoever_stops_reading_gets_no_traceback() -> None:
    program = "import sys; from nnunet_lib.cli import main; sys.exit(main(['progress']))"
    started = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stderr is not None
    started.stdout.close()
    errors = started.stderr.read()
    started.stderr.close()
    assert started.wait() in (0, 141)
    assert "Traceback" not in errors
    assert "Broken pipe" not in errors


@pytest.mark.parametrize(("output", "code"), [("closed pipe", 141), ("/dev/full", 2)])
@pytest.mark.parametrize("buffered", [True, False])
def test_what_cannot_be_printed_is_told_once(output: str, code: int, buffered: bool) -> None:
    """Buffered output fails when Python ends, unless it is written before."""
    program = "import sys; from nnunet_lib.cli import main; sys.exit(main(['progress']))"
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    reading, writing = os.pipe()
    os.close(reading)
    place = writing if output == "closed pipe" else os.open(output, os.O_WRONLY)
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, env=environment,
        stdout=place, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == code
    assert done.stderr.count("\n") == (1 if code == 2 else 0), done.stderr


FULL = """
import os, sys
import nnunet_lib.deployment
from nnunet_lib.cli import main

def full(*_):
    print("what was done before")
    raise OSError(28, "No space left on device", "last.npz")

nnunet_lib.deployment.run_benchmark = full
sys.exit(main(["benchmark"]))
"""


def test_a_full_disk_elsewhere_takes_nothing_from_what_was_printed() -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", FULL], check=False, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == "what was done before\n"
    assert done.stderr.endswith("benchmark: last.npz: No space left on device.\n")


def test_a_command_runs_without_an_output() -> None:
    program = (
        "import sys; sys.stdout = None; from nnunet_lib.cli import main; "
        "sys.exit(main(['progress']))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_too_little_memory_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def large(*_: object) -> None:
        raise MemoryError("Unable to allocate 125. GiB")

    monkeypatch.setattr("nnunet_lib.deployment.run_benchmark", large)
    assert main(["benchmark"]) == 2
    assert (
        capsys.readouterr().err == "benchmark: not enough memory (Unable to allocate 125. GiB).\n"
    )


def test_a_place_for_results_is_tried_before_images_are_read(
    phantom_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("nnunet_lib.datasets.require_valid", lambda *_, **__: pytest.fail("read"))
    (tmp_path / "file").write_text("")
    words = ["preprocess", "--data", str(phantom_path), "--results", str(tmp_path / "file")]
    assert main(words) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_terminal_that_knows_few_letters_gets_the_others_in_words() -> None:
    program = (
        "import sys; from nnunet_lib.cli import main; "
        "sys.exit(main(['plan', '--data', 'kein-\u00e4', '--output', 'p.json']))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert b"kein-\\xe4" in done.stderr


def test_a_broken_dataset_stops_a_command_with_the_full_report(
    phantom_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(phantom_path, broken)
    images = sorted((broken / "imagesTr").iterdir())
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:200])
    assert main(["plan", "--data", str(broken), "--output", str(tmp_path / "plan.json")]) == 2
    report = capsys.readouterr().err
    assert images[0].name in report
    assert images[1].name in report
    assert not (tmp_path / "plan.json").exists()
