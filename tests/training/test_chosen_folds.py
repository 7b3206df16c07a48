"""Folds of the user's own, in a file beside the preprocessed cases, in place of the seed's."""

import json
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.inference import predict
from nnunet_lib.loading import Fold, save_folds, split_folds
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import TrainingSettings, cross_validate, train
from nnunet_lib.training.job import make_room, open_job
from nnunet_lib.training.loop import _Trainer

SHORT = TrainingSettings(number_of_folds=2, epochs=1, steps_per_epoch=2, learning_rate=1e-2)


@pytest.fixture
def data(tiny_3d: PreprocessedDataset, tmp_path: Path) -> PreprocessedDataset:
    """A copy, beside which folds may lie."""
    return copied(tiny_3d, tmp_path / "prepared")


def copied(data: PreprocessedDataset, results: Path) -> PreprocessedDataset:
    """The same cases in another folder, without folds."""
    source = data.folder.parent
    shutil.copytree(source, results / source.name)
    return replace(data, folder=results / source.name / data.folder.name)


def halves(data: PreprocessedDataset) -> tuple[Fold, Fold]:
    """A split that no seed is likely to make."""
    names = sorted(data.identifiers)
    first, second = tuple(names[::2]), tuple(names[1::2])
    return Fold(first, second), Fold(second, first)


def test_the_chosen_fold_is_trained_and_noted(data: PreprocessedDataset, tmp_path: Path) -> None:
    folds = halves(data)
    for seed in (0, 1):
        for number, fold in enumerate(folds):
            settings = replace(SHORT, seed=seed, fold=number, overwrite=True)
            job, _ = open_job(data, tmp_path / "run", settings, ALONE)
            assert job.fold == split_folds(data.identifiers, 2, seed)[number] != fold
            save_folds(folds, data.splits_path)
            job, _ = open_job(data, tmp_path / "run", settings, ALONE)
            assert job.fold == fold
            written = json.loads((tmp_path / "run/fold.json").read_text())
            assert written == json.loads(json.dumps(asdict(fold)))
            data.splits_path.unlink()


def test_2d_and_3d_follow_the_same_file(data: PreprocessedDataset) -> None:
    assert data.splits_path.parent == data.folder.parents[1]
    assert replace(data, folder=data.folder.parents[1] / "2d/training").splits_path == (
        data.splits_path
    )


def test_a_fold_that_the_file_has_not_is_refused(data: PreprocessedDataset, tmp_path: Path) -> None:
    save_folds(halves(data)[:1], data.splits_path)
    words = r"splits_final.json: there is no fold 1, as its 1 count from 0\..* --nfolds 1"
    with pytest.raises(InputError, match=words):
        open_job(data, tmp_path / "run", replace(SHORT, fold=1), ALONE)
    assert not (tmp_path / "run").exists()


def test_all_folds_need_a_file_that_scores_each_case_once(
    data: PreprocessedDataset, tmp_path: Path
) -> None:
    first, second = halves(data)
    left_out = Fold(first.training[1:], first.validation)
    runs = [tmp_path / "all/fold_0", tmp_path / "all/fold_1"]
    for folds in ((first, first), (left_out, second), (first, second, first)):
        save_folds(folds, data.splits_path)
        settings = replace(SHORT, number_of_folds=len(folds))
        with pytest.raises(InputError, match="--fold all scores each case once"):
            cross_validate(data, tmp_path / "all", settings, show_progress=False)
        assert not (tmp_path / "all").exists()
    save_folds((first, second), data.splits_path)
    make_room(data, tmp_path / "all", runs, SHORT, ALONE)


class _Together(Ranks):
    """Two ranks in two threads, who wait for each other as processes do."""

    said: ClassVar[dict[int, Any]] = {}
    meeting: ClassVar = threading.Barrier(2, timeout=20)

    def gather(self, value: Any) -> list[Any]:
        self.said[self.rank] = json.loads(json.dumps(value))
        self.meeting.wait()
        everybody = [self.said[rank] for rank in range(self.size)]
        self.meeting.wait()
        return everybody


def open_together(copies: Sequence[PreprocessedDataset], run: Path) -> list[Fold | str]:
    """The fold of each of two ranks that have each its own copy, or what it is refused with."""

    def fold_of(rank: int) -> Fold | str:
        try:
            return open_job(copies[rank], run, SHORT, _Together(rank, 2))[0].fold
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(fold_of, range(2)))


def test_ranks_on_other_machines_follow_the_first_one_s_file(
    data: PreprocessedDataset, tmp_path: Path
) -> None:
    other = copied(data, tmp_path / "other")
    save_folds(halves(data), data.splits_path)
    assert open_together((data, other), tmp_path / "run") == [halves(data)[0]] * 2
    other.splits_path.write_text("[]")
    assert open_together((data, other), tmp_path / "run") == [halves(data)[0]] * 2
    first, second = open_together((other, data), tmp_path / "new")
    assert first == second
    assert f"{other.splits_path}: must be a list of folds" in str(first)


def test_a_link_to_nowhere_is_refused(data: PreprocessedDataset, tmp_path: Path) -> None:
    data.splits_path.symlink_to(tmp_path / "nnunet/splits_final.json")
    with pytest.raises(InputError, match=r"splits_final.json: there is no such file"):
        open_job(data, tmp_path / "run", SHORT, ALONE)


def test_a_run_says_how_many_cases_its_fold_leaves_out(
    data: PreprocessedDataset, tmp_path: Path
) -> None:
    """As where cases were added since the file was written."""
    whole, _ = halves(data)
    said = []
    for fold in (whole, Fold(whole.training[2:], whole.validation)):
        save_folds([fold], data.splits_path)
        job, _ = open_job(data, tmp_path / "run", SHORT, ALONE)
        said.append(next(_Trainer(job, 0.0)._what_differs()))
    where = f"Fold 0 is that of {data.splits_path}"
    assert said == [
        f"{where}; the seed splits no cases.",
        f"{where} and leaves out 2 of 6 cases; the seed splits no cases.",
    ]


def test_who_asks_for_fewer_folds_than_the_file_has_is_told_their_number(
    data: PreprocessedDataset, tmp_path: Path
) -> None:
    save_folds(split_folds(data.identifiers, 3), data.splits_path)
    words = r"these 2 folds, of 3 in the file, .* Give --nfolds 3"
    with pytest.raises(InputError, match=words):
        cross_validate(data, tmp_path / "all", replace(SHORT, number_of_folds=2), False)


@pytest.mark.slow
def test_a_run_says_whose_folds_it_follows_and_predicts_its_own_cases(
    data: PreprocessedDataset, phantom_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folds = halves(data)
    save_folds(folds, data.splits_path)
    run = train(data, tmp_path / "run", replace(SHORT, fold=1)).run
    assert f"Fold 1 is that of {data.splits_path}" in capsys.readouterr().out
    written = predict(run, phantom_path / "imagesTr", tmp_path / "predicted", subset="validation")
    names = [path.name.removesuffix(".nii.gz") for path in written]
    assert sorted(names) == list(folds[1].validation)
    data.splits_path.unlink()
    with pytest.raises(InputError, match=r"other cases than this fold .*splits_final.json or none"):
        train(data, run, replace(SHORT, fold=1, resume=True), show_progress=False)
