"""What a run has written down, read again."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.training import EpochRecord, read_metrics
from nnunet_lib.training.log import METRICS, RunLog

RECORD = EpochRecord(1, 10, 2.5, 0.75, 1e-3, 8.0, None)
LINE = json.dumps(asdict(RECORD)) + "\n"


def test_a_run_without_records_has_none(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == ()


def test_a_last_line_that_was_not_finished_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text(LINE + LINE[:-1])
    assert read_metrics(tmp_path) == (RECORD,)


@pytest.mark.parametrize("line", ["{", "[1, 2]", '{"epoch": 1}', "7"])
def test_a_damaged_line_is_refused_by_the_files_name(tmp_path: Path, line: str) -> None:
    (tmp_path / METRICS).write_text(f"{LINE}{line}\n{LINE}")
    with pytest.raises(InputError, match=rf"{METRICS}: is damaged"):
        read_metrics(tmp_path)


def test_the_bar_stands_where_the_run_does_and_tells_its_last_scores(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for progress in (0.25, 0.5, 0.75):
        log.step(progress, loss=0.5)
        assert log.bar.n == 100 * progress
    assert log.bar.postfix == "loss=0.500"
    log.epoch(replace(RECORD, validation_dice=0.0))
    log.epoch(RECORD)  # not validated
    log.step(1.0, loss=0.25)
    assert log.bar.postfix == "loss=0.250, patches/s=8.0, Dice=0.000"
    log.close()
