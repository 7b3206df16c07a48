"""DATASET finds what it names, from any folder, and the phantom is made once."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nnunet_lib.course import datasets
from nnunet_lib.course.profiles import resolve
from nnunet_lib.datasets import make_phantom
from nnunet_lib.errors import InputError

SMALL = replace(resolve("ci"), phantom_cases=3)


@pytest.fixture(autouse=True)
def _work(work):
    """Every test here has a work folder of its own."""


def test_the_phantom_is_made_once_and_kept(work):
    first = datasets.resolve_dataset("phantom", SMALL, seed=1)
    (first.root / "still here").touch()
    assert datasets.resolve_dataset("phantom", SMALL, seed=1) == first
    assert len(first.training) == 3
    assert (first.root / "still here").exists()
    assert list(work.iterdir()) == [first.root]


def test_another_seed_is_another_phantom():
    roots = {datasets.resolve_dataset("phantom", SMALL, seed).root for seed in (1, 2)}
    assert len(roots) == 2


def test_a_phantom_of_another_source_is_made_anew(tmp_path, monkeypatch):
    before = datasets.resolve_dataset("phantom", SMALL)
    (tmp_path / "phantom.py").write_text("# draws other heads")
    monkeypatch.setattr(datasets.inspect, "getfile", lambda _: str(tmp_path / "phantom.py"))
    assert datasets.resolve_dataset("phantom", SMALL).root != before.root


def test_a_path_is_a_dataset_and_the_profile_limits_its_cases(tmp_path):
    made = make_phantom(tmp_path / "scans", cases=4, seed=0)
    two = replace(SMALL, cases=2)
    limited = datasets.resolve_dataset(str(tmp_path / "scans"), two, seed=0)
    assert len(limited.training) == 2
    assert made.test
    assert not limited.test  # scans that no lesson uses are not read
    assert set(limited.training) < set(made.training)
    assert limited == datasets.resolve_dataset(str(tmp_path / "scans"), two, seed=0)
    chosen = {datasets.resolve_dataset(str(made.root), two, seed).training for seed in range(8)}
    assert len(chosen) > 1  # the seed chooses


def test_a_name_is_looked_for_in_the_checkout_s_data_folder(tmp_path, monkeypatch):
    made = make_phantom(tmp_path / "checkout" / "data" / "Heads", cases=2, seed=0)
    monkeypatch.setattr(datasets, "checkout", lambda: tmp_path / "checkout")
    monkeypatch.chdir(tmp_path)
    assert datasets.resolve_dataset("Heads", SMALL).training == made.training


@pytest.mark.parametrize("seed", [-1, 1.5, "7", None, True])
@pytest.mark.parametrize("name", ["phantom", "elsewhere"])
def test_a_seed_that_is_none_is_refused(name, seed):
    with pytest.raises(InputError, match=f"SEED is {seed!r}: must be a whole number"):
        datasets.resolve_dataset(name, SMALL, seed)


def test_a_path_and_numpy_s_whole_number_are_taken_too(tmp_path):
    make_phantom(tmp_path / "data", cases=3)
    dataset = datasets.resolve_dataset(tmp_path / "data", SMALL, np.int64(1))
    assert dataset == datasets.resolve_dataset(str(tmp_path / "data"), SMALL, 1)


def test_a_dataset_named_by_a_number_is_asked_for_as_text():
    with pytest.raises(InputError, match="-r DATASET 4"):
        datasets.resolve_dataset(4, SMALL)


def test_a_missing_dataset_is_explained():
    with pytest.raises(InputError, match=r"'nowhere'.*no dataset\.json.*MSD layout"):
        datasets.resolve_dataset("nowhere", SMALL)


def test_a_faulty_dataset_is_refused(tmp_path):
    made = make_phantom(tmp_path / "scans", cases=2, seed=0)
    made.training[0].label.unlink()
    with pytest.raises(InputError, match=str(made.training[0].label)):
        datasets.resolve_dataset(str(made.root), SMALL)


def test_a_fresh_folder_is_empty(work):
    (datasets.fresh_folder("lesson") / "old.txt").write_text("left over")
    folder = datasets.fresh_folder("lesson")
    assert folder.parent == work
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_emptied_is_not_called_fresh(work, monkeypatch):
    datasets.fresh_folder("lesson")
    monkeypatch.setattr(datasets.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(InputError, match="cannot be made"):
        datasets.fresh_folder("lesson")


def test_a_cell_that_runs_again_finds_its_folder_cleared(tmp_path):
    folder = tmp_path / "run"
    assert datasets.cleared(folder) == folder
    (folder / "deep").mkdir(parents=True)
    assert datasets.cleared(folder) == folder
    assert not folder.exists()


def test_two_kernels_do_not_share_a_fresh_folder(work):
    """What a living process has stays, what an ended one has left goes."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    own = datasets.fresh_folder("lesson")
    assert own.name.endswith(f"-{os.getpid()}")
    other, left, elsewhere = (
        work / own.name.replace(str(os.getpid()), str(owner))
        for owner in (living.pid, ended.pid, f"node-{ended.pid}")
    )
    for folder in (other, left, elsewhere):
        folder.mkdir()
    try:
        assert datasets.fresh_folder("lesson") == own
        assert set(work.iterdir()) == {own, other, elsewhere}
    finally:
        living.communicate()
