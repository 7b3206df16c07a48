"""`evaluate`, by one process and by two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.cli import main
from nnunet_lib.datasets import write_label
from nnunet_lib.evaluation import EvaluationReport


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """`evaluate` on three small cases, all but where to put the results."""
    random = np.random.default_rng(0)
    for folder in ("predictions", "labels"):
        for case in "abc":
            values = random.integers(0, 3, (4, 5, 6)).astype(np.uint8)
            write_label(tmp_path / folder / f"{case}.nii.gz", values, np.diag([1, 2, 3, 1]))
    return ["evaluate", "--predictions", str(tmp_path / "predictions"),
            "--labels", str(tmp_path / "labels")]  # fmt: skip


def test_the_options_reach_the_report(words: list[str], tmp_path: Path) -> None:
    results = tmp_path / "scores.json"
    words = [*words, "--workers", "1"]
    assert main([*words, "--results", str(results), "--tolerance", "2", "--empty-as", "one"]) == 0
    written = json.loads(results.read_text())
    assert (written["tolerance_mm"], written["empty_as"]) == (2, "one")
    assert main([*words, "--results", str(results), "--no-surface"]) == 0
    assert json.loads(results.read_text())["tolerance_mm"] is None


def test_a_bad_name_for_the_results_is_refused_before_the_work(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("nnunet_lib.evaluation.evaluate_folder", pytest.fail)
    assert main([*words, "--results", str(tmp_path / "scores.csv")]) == 2
    assert "Name it <something>.json" in capsys.readouterr().err


def test_no_workers_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--workers", "0", "--results", str(tmp_path / "scores.json")]) == 2
    assert "workers is 0" in capsys.readouterr().err


@pytest.mark.slow
def test_two_ranks_write_what_one_process_does(words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("horovod", reason="Horovod exists for Linux and macOS only")
    words = [*words, "--workers", "2"]  # of one process, then one for each of two ranks
    assert main([*words, "--results", str(tmp_path / "one.json")]) == 0
    launcher = Path(sys.executable).with_name("horovodrun")
    command = [launcher, "-np", "2", "--gloo", sys.executable, "-m", "nnunet_lib", *words,
               "--results", tmp_path / "two.json"]  # fmt: skip
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)
    assert ran.returncode == 0, ran.stderr
    for ending in (".json", ".csv"):
        one, two = ((tmp_path / name).with_suffix(ending) for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    table = EvaluationReport.from_json(json.loads((tmp_path / "one.json").read_text())).describe()
    for line in filter(None, table.splitlines()):
        assert ran.stdout.count(line) == 1, "only the first rank prints"
