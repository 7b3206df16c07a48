"""`train` and `predict` as two processes that `horovodrun` starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.cli import main
from nnunet_lib.datasets import read_label
from nnunet_lib.model import load_checkpoint
from nnunet_lib.training import TrainingSettings, learning_rate_at, read_metrics

pytestmark = pytest.mark.slow

LAUNCHER = Path(sys.executable).with_name("horovodrun")
SIZE = "--patch-size 16 16 16 --target-spacing 3 3 3 --base-filters 4"
EPOCHS, STEPS = 2, 4


def with_two_processes(*words: str) -> str:
    command = [LAUNCHER, "-np", "2", "--gloo", sys.executable, "-m", "nnunet_lib", *words]
    folders = [str(LAUNCHER.parent), os.environ["PATH"]]  # it starts "python" by name
    environment = {**os.environ, "PATH": os.pathsep.join(folders)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prepared(phantom_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    plan = ["plan", "--data", str(phantom_path), "--output", str(folder / "plan.json")]
    assert main([*plan, "--workers", "1", *SIZE.split()]) == 0
    words = ["preprocess", "--data", str(phantom_path), "--plan", str(folder / "plan.json")]
    assert main([*words, "--results", str(folder), "--workers", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(prepared: Path) -> tuple[Path, str]:
    """A run that two processes trained, and what they printed."""
    run = prepared / "run"
    size = ["--epochs", str(EPOCHS), "--steps-per-epoch", str(STEPS), "--validation-interval", "1"]
    printed = with_two_processes(
        "train", "--data", str(prepared), "--results", str(run), "--nfolds", "2", *size
    )
    return run, printed


def test_only_the_first_rank_writes(trained: tuple[Path, str]) -> None:
    run, printed = trained
    assert printed.count("validation Dice") == 1
    assert [record.step for record in read_metrics(run)] == [STEPS, 2 * STEPS]
    assert len(list((run / "tensorboard").glob("events*"))) == 1
    progress = load_checkpoint(run / "checkpoint_last.npz").progress
    assert (progress["step"], progress["processes"]) == (EPOCHS * STEPS, 2)


def test_the_learning_rate_is_scaled_with_the_ranks(trained: tuple[Path, str]) -> None:
    last_step = (EPOCHS * STEPS - 1) / (EPOCHS * STEPS)
    expected = 2 * learning_rate_at(TrainingSettings(), last_step)  # the warm-up is over by then
    assert read_metrics(trained[0])[-1].learning_rate == pytest.approx(expected, rel=1e-5)


def test_validation_is_that_of_one_process(
    trained: tuple[Path, str], prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three validation cases on two ranks: a case repeated to fill a share would be counted."""
    from nnunet_lib.inference import InferenceSettings
    from nnunet_lib.model import load_network
    from nnunet_lib.preprocessing import PreprocessedDataset
    from nnunet_lib.training.validation import validate

    run, _ = trained
    network, _ = load_network(run)
    cases = json.loads((run / "fold.json").read_text())["validation"]
    data = PreprocessedDataset.open(prepared, 3)
    alone = validate(network, data, cases, InferenceSettings())
    assert len(cases) == 3
    assert read_metrics(run)[-1].validation_dice == pytest.approx(alone, abs=1e-9)


def test_predictions_are_those_of_one_process(
    trained: tuple[Path, str], phantom_path: Path, tmp_path: Path
) -> None:
    words = ["predict", "--model", str(trained[0]), "--input", str(phantom_path / "imagesTr")]
    printed = with_two_processes(*words, "--output", str(tmp_path / "two"))
    assert printed.count(f"Label maps written to {tmp_path / 'two'}: 6\n") == 1
    assert main([*words, "--output", str(tmp_path / "one")]) == 0
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names
    for name in names:
        alone, shared = (read_label(tmp_path / folder / name).array for folder in ("one", "two"))
        # With another number of threads sums round otherwise, and two classes may be level.
        assert np.mean(shared != alone) < 1e-3
