"""`download` as a person types it, with an archive that lies there already."""

import hashlib
import tarfile
from pathlib import Path

import pytest

from nnunet_lib import datasets
from nnunet_lib.cli import main
from nnunet_lib.datasets import DecathlonTask

NAME = "Task04_Hippocampus"


def test_download_says_what_it_has_done_and_leaves_it_alone_the_next_time(
    phantom_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with tarfile.open(tmp_path / f"{NAME}.tar", "w") as archive:
        archive.add(phantom_path, NAME)
    md5 = hashlib.md5((tmp_path / f"{NAME}.tar").read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "find_task", lambda _: DecathlonTask(4, NAME, md5))
    words = ["download", "--task", "04", "--output", str(tmp_path), "--base-url", "nowhere"]
    labelled = len(list((phantom_path / "labelsTr").iterdir()))
    assert main(words) == 0
    assert f"{labelled} labelled" in capsys.readouterr().out
    changed = (tmp_path / NAME / "dataset.json").stat().st_mtime_ns
    assert main(words) == 0
    assert "left alone" in capsys.readouterr().out
    assert (tmp_path / NAME / "dataset.json").stat().st_mtime_ns == changed
