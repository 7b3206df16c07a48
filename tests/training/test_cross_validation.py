"""All folds: a partition, pooled scores checked by hand, and a decision that is kept."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nnunet_lib.distributed import ALONE
from nnunet_lib.errors import InputError
from nnunet_lib.evaluation import dice
from nnunet_lib.files import write_json
from nnunet_lib.inference import (
    CROSS_VALIDATION,
    POSTPROCESSING,
    InferenceSettings,
    Postprocessing,
    Trial,
    load_members,
    predict,
)
from nnunet_lib.loading import split_folds
from nnunet_lib.model import LAST, ComputeSettings, load_network
from nnunet_lib.planning import Plan
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import (
    CrossValidation,
    TrainingSettings,
    cross_validate,
    cross_validation,
    read_metrics,
    train,
)
from nnunet_lib.training.log import METRICS
from nnunet_lib.training.validation import segment_case

SHORT = TrainingSettings(number_of_folds=2, epochs=1, steps_per_epoch=2, learning_rate=1e-2)


@pytest.fixture(scope="module")
def finished(
    tiny_3d: PreprocessedDataset, tmp_path_factory: pytest.TempPathFactory
) -> CrossValidation:
    return cross_validate(tiny_3d, tmp_path_factory.mktemp("runs") / "all", SHORT, False)


@pytest.mark.slow
def test_every_case_is_scored_once_by_a_network_that_has_not_seen_it(
    finished: CrossValidation, tiny_3d: PreprocessedDataset
) -> None:
    folds = split_folds(tiny_3d.identifiers, 2, SHORT.seed)
    assert [tuple(fold) for fold in finished.folds] == [fold.validation for fold in folds]
    for number, scored in enumerate(finished.folds):
        network, plan = load_network(finished.results / f"fold_{number}")
        data = replace(tiny_3d, plan=plan)
        for case, trial in scored.items():
            prediction, truth = segment_case(network, data, case, SHORT.inference)
            for way, done in (
                (Postprocessing(), trial.plain),
                (Postprocessing(foreground=True), trial.foreground),
                (Postprocessing(classes=(1, 2)), trial.classes),
                (Postprocessing(True, (1, 2)), trial.both),
            ):
                assert done == {c: dice(way.apply(prediction), truth, c) for c in (1, 2)}


@pytest.mark.slow
def test_what_is_written_says_the_same(finished: CrossValidation) -> None:
    written = json.loads((finished.results / "cross_validation.json").read_text())
    assert written == json.loads(json.dumps(finished.to_json()))
    assert [fold["run"] for fold in written["folds"]] == ["fold_0", "fold_1"]
    cases = {case: d for fold in written["folds"] for case, d in fold["cases"].items()}
    for label in "12":
        values = [dice[label] for dice in cases.values() if dice[label] is not None]
        assert written["pooled"][label]["dice"] == pytest.approx(np.mean(values))
        assert written["pooled"][label]["cases"] == len(values)
    for run in finished.results.glob("fold_*"):
        assert Postprocessing.load(run) == finished.postprocessing


@pytest.mark.slow
def test_finished_folds_are_not_trained_again(
    finished: CrossValidation, tiny_3d: PreprocessedDataset
) -> None:
    runs = sorted(finished.results.glob("fold_*"))
    before = [(run / LAST).read_bytes() for run in runs]
    again = cross_validate(tiny_3d, finished.results, replace(SHORT, resume=True), False)
    assert [(run / LAST).read_bytes() for run in runs] == before
    assert all(len(read_metrics(run)) == 1 for run in runs)
    assert again == finished


@pytest.mark.slow
def test_a_folder_with_folds_is_not_trained_over_unasked(
    finished: CrossValidation, tiny_3d: PreprocessedDataset
) -> None:
    with pytest.raises(InputError, match=r"fold_1.*--resume.*--overwrite"):
        cross_validate(tiny_3d, finished.results, SHORT, False)
    assert (finished.results / "cross_validation.json").exists()


@pytest.mark.slow
def test_neither_one_fold_nor_all_replace_the_other_unasked(
    finished: CrossValidation, tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    for settings, word in ((SHORT, "a training run"), (replace(SHORT, resume=True), "--fold all")):
        with pytest.raises(InputError, match=f"holds .*{word}"):
            train(tiny_3d, finished.results, settings, show_progress=False)
    one = train(tiny_3d, tmp_path / "one", SHORT, show_progress=False).run
    for settings, word in ((SHORT, "--resume"), (replace(SHORT, resume=True), "cannot go on")):
        with pytest.raises(InputError, match=f"one: holds .*{word}"):
            cross_validate(tiny_3d, one, settings, show_progress=False)
    assert (one / LAST).exists()
    assert (finished.results / "cross_validation.json").exists()


@pytest.mark.slow
def test_what_replaces_a_run_is_what_predicts(tiny_3d: PreprocessedDataset, tmp_path: Path) -> None:
    folder, again = tmp_path / "run", replace(SHORT, overwrite=True)
    for start, networks in ((train, 1), (cross_validate, 2), (train, 1)):
        start(tiny_3d, folder, again, show_progress=False)
        assert len(load_members([folder])) == networks


@pytest.mark.slow
def test_nothing_is_replaced_before_the_cases_of_every_fold_were_looked_at(
    tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    """A case that the first fold does not train on would otherwise be met hours later."""
    one = train(tiny_3d, tmp_path / "one", SHORT, show_progress=False).run
    unfit = replace(tiny_3d, folder=shutil.copytree(tiny_3d.folder, tmp_path / "unfit"))
    case = split_folds(tiny_3d.identifiers, 2, SHORT.seed)[0].validation[0]
    unfit.label_path(case).unlink()
    with pytest.raises(InputError, match=f"{case}_label.npy: there is no such file"):
        cross_validate(unfit, one, replace(SHORT, overwrite=True), show_progress=False)
    assert [path.name for path in one.glob("fold_*")] == []
    assert len(load_members([one])) == 1


@pytest.mark.slow
def test_a_refused_resume_leaves_the_finished_scores(
    finished: CrossValidation, tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    """Also where only the last fold does not fit, which training would meet last."""
    copy = Path(shutil.copytree(finished.results, tmp_path / "copy"))
    settings = json.loads((copy / "fold_1/settings.json").read_text())
    write_json(copy / "fold_1/settings.json", settings | {"momentum": 0.5})
    before = contents(copy)
    with pytest.raises(InputError, match=r"fold_1.*momentum was 0\.5"):
        cross_validate(tiny_3d, copy, replace(SHORT, resume=True), show_progress=False)
    assert contents(copy) == before


@pytest.mark.slow
def test_no_old_fold_passes_for_one_of_an_interrupted_replacement(
    finished: CrossValidation,
    tiny_3d: PreprocessedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = Path(shutil.copytree(finished.results, tmp_path / "copy"))
    monkeypatch.setattr(cross_validation, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(tiny_3d, copy, replace(SHORT, overwrite=True), show_progress=False)
    assert not [path for path in copy.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_all_folds_leave_alone_what_is_no_runs(
    finished: CrossValidation, tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(finished.results, tmp_path / "copy"))
    tiny_3d.plan.save(copy / "plan.json")
    logs = copy / "tensorboard/gathered"
    logs.mkdir(parents=True)
    cross_validate(tiny_3d, copy, replace(SHORT, resume=True), show_progress=False)
    assert Plan.load(copy / "plan.json") == tiny_3d.plan
    assert logs.exists()


def test_a_fold_that_has_only_begun_is_in_the_way_from_the_start(
    tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    begun = tmp_path / "fold_1/metrics.jsonl"
    begun.parent.mkdir()
    begun.touch()
    with pytest.raises(InputError, match="fold_1"):
        cross_validate(tiny_3d, tmp_path, SHORT, show_progress=False)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [begun]


@pytest.mark.slow
def test_a_fold_that_is_scored_does_not_change_on_its_own(
    finished: CrossValidation, tiny_3d: PreprocessedDataset
) -> None:
    before = contents(finished.results)
    longer = replace(SHORT, fold=1, epochs=2, resume=True)
    with pytest.raises(InputError, match="belongs to the finished cross-validation"):
        train(tiny_3d, finished.results / "fold_1", longer, show_progress=False)
    settings = replace(SHORT, fold=1, overwrite=True)
    for start in (train, cross_validate):
        with pytest.raises(InputError, match="belongs to the finished cross-validation"):
            start(tiny_3d, finished.results / "fold_1", settings, show_progress=False)
    assert contents(finished.results) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_all_folds_together_segment_new_scans_and_each_its_validation_cases(
    finished: CrossValidation, phantom_path: Path, tmp_path: Path
) -> None:
    new = sorted((phantom_path / "imagesTs").iterdir())[0]
    assert predict(finished.results, new, tmp_path / "label.nii.gz") == [tmp_path / "label.nii.gz"]
    images = phantom_path / "imagesTr"
    written = predict(finished.results, images, tmp_path / "folds", subset="validation")
    assert len(written) == sum(map(len, finished.folds))
    for number, scored in enumerate(finished.folds):
        run = finished.results / f"fold_{number}"
        for label in predict(run, images, tmp_path / f"{number}", subset="validation"):
            assert label.read_bytes() == (tmp_path / "folds" / label.name).read_bytes()
        assert len(list((tmp_path / f"{number}").iterdir())) == len(scored)


PLANTED = replace(
    SHORT,
    compute=ComputeSettings("bfloat16"),
    inference=InferenceSettings(overlap=0.25, window_batch_size=3),
)


@pytest.fixture
def planted(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """A cross-validation whose networks are not trained and answer by chance.

    `loaded` has each run's checkpoint and how its network was to compute, `followed` the batch size
    of the plan that each case was segmented by, `inference` its settings, and `decided` the trials
    that decided on postprocessing.
    """
    seen = SimpleNamespace(loaded=[], followed={}, inference=[], decided=[])
    folds = split_folds(tiny_3d.identifiers, 2, SHORT.seed)
    random = np.random.default_rng(0)
    decide = cross_validation.decide_postprocessing

    def not_trained(data: object, run: Path, settings: TrainingSettings, *_: object) -> None:
        write_json(run / "fold.json", asdict(folds[settings.fold]))

    def load(run: Path, name: str, *how: object) -> tuple[None, Plan]:
        seen.loaded.append((run.name, name, *how))
        return None, replace(tiny_3d.plan, batch_size=10 + len(seen.loaded))

    def segment(
        network: None, data: PreprocessedDataset, case: str, inference: InferenceSettings
    ) -> tuple[np.ndarray, np.ndarray]:
        seen.followed[case] = data.plan.batch_size
        seen.inference.append(inference)
        prediction, truth = random.integers(0, 3, (2, 4, 5, 6), np.uint8)
        return prediction, truth

    def spy(trials: Iterable[Trial]) -> Postprocessing:
        seen.decided = list(trials)
        return decide(seen.decided)

    for name, stand_in in (
        ("train", not_trained),
        ("load_network", load),
        ("segment_case", segment),
        ("decide_postprocessing", spy),
    ):
        monkeypatch.setattr(cross_validation, name, stand_in)
    seen.result = cross_validate(tiny_3d, tmp_path / "all", PLANTED, show_progress=False)
    return seen


def test_the_last_checkpoint_of_each_run_is_scored_by_the_settings(
    planted: SimpleNamespace, tiny_3d: PreprocessedDataset
) -> None:
    how = (LAST, PLANTED.compute, 3)
    assert planted.loaded == [("fold_0", *how), ("fold_1", *how)]
    assert planted.inference == [PLANTED.inference] * len(tiny_3d.identifiers)


def test_each_case_is_segmented_by_the_plan_of_its_own_run(planted: SimpleNamespace) -> None:
    first, second = planted.result.folds
    assert planted.followed == dict.fromkeys(first, 11) | dict.fromkeys(second, 12)


def test_the_cases_of_all_folds_decide_on_postprocessing(
    planted: SimpleNamespace, tiny_3d: PreprocessedDataset
) -> None:
    assert len(planted.decided) == len(tiny_3d.identifiers)
    trials = [trial for fold in planted.result.folds for trial in fold.values()]
    assert planted.decided == trials


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_it_is_finished_once_every_run_has_its_decision(
    planted: SimpleNamespace,
    tiny_3d: PreprocessedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else `predict` would take the folder, and leave out what was decided."""
    monkeypatch.setattr(Postprocessing, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(tiny_3d, tmp_path / "other", PLANTED, show_progress=False)
    assert not (tmp_path / "other" / CROSS_VALIDATION).exists()


def test_no_decision_outlives_the_scores_that_it_was_taken_on(
    planted: SimpleNamespace,
    tiny_3d: PreprocessedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fold that goes on becomes another network, which is predicted with if that is stopped."""
    decisions = [tmp_path / f"all/fold_{fold}" / POSTPROCESSING for fold in range(2)]
    for decision in decisions:
        assert decision.exists()
        (decision.parent / METRICS).touch()
    monkeypatch.setattr(cross_validation, "train", interrupted)
    settings = replace(PLANTED, epochs=2, resume=True)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(tiny_3d, tmp_path / "all", settings, show_progress=False)
    assert not any(decision.exists() for decision in decisions)


@pytest.mark.parametrize(
    "fault",
    [
        {"training": ["b", "c"], "validation": ["a", "b"]},  # validates on what it trained on
        {"training": ["a", "b", "c"], "validation": ["a"]},  # so does this, and on no other's
        {"training": ["c"], "validation": ["a"]},  # leaves one out
        {"training": ["a", "c"], "validation": ["b"]},  # validates what another fold does too
    ],
)
def test_folds_that_are_no_partition_are_noticed(tmp_path: Path, fault: dict[str, object]) -> None:
    names = "abc"
    runs = [tmp_path / f"fold_{number}" for number in range(3)]
    for run, held_out in zip(runs, names, strict=True):
        others = [name for name in names if name != held_out]
        write_json(run / "fold.json", {"training": others, "validation": [held_out]})
    folds = cross_validation._folds_of(runs, names, ALONE)
    assert [fold.validation for fold in folds] == [("a",), ("b",), ("c",)]
    write_json(runs[0] / "fold.json", fault)
    with pytest.raises(InputError, match="each case once"):
        cross_validation._folds_of(runs, names, ALONE)


def a_result(postprocessing: Postprocessing) -> CrossValidation:
    """Two folds of 1 and 2 cases; the largest component of class 1 brings 0.1 everywhere."""
    scores = ({"a": (0.5, 0.25)}, {"b": (0.75, None), "c": (0.25, 0.75)})
    folds = tuple(
        {
            case: Trial({1: one, 2: two}, {1: 0.0, 2: 0.0}, {1: one + 0.1, 2: 0.0}, {})
            for case, (one, two) in fold.items()
        }
        for fold in scores
    )
    labels = ("background", "front", "rear part")
    return CrossValidation(Path("results"), labels, folds, postprocessing)


def test_the_table_has_a_row_a_fold_and_one_for_all() -> None:
    lines = a_result(Postprocessing()).describe().splitlines()
    assert lines[0].split() == ["fold", "cases", "front", "rear", "part", "mean"]
    assert lines[1].split() == ["0", "1", "0.5000", "0.2500", "0.3750"]
    assert lines[2].split() == ["1", "2", "0.5000", "0.7500", "0.6250"]
    assert lines[3].split() == ["all", "3", "0.5000", "0.5000", "0.5000"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert "95% interval" in lines[4]
    assert "does not help" in lines[5]


def test_it_says_what_postprocessing_brings() -> None:
    said = a_result(Postprocessing(classes=(1,))).describe().splitlines()[-1]
    assert "largest component of front is kept: mean Dice 0.5000 becomes 0.5500" in said


def test_only_what_is_called_postprocessed_is_scored_after_postprocessing() -> None:
    result = a_result(Postprocessing(classes=(1,)))
    assert result.describe().splitlines()[3].split()[2] == "0.5000"
    written = result.to_json()
    assert [fold["dice"]["1"]["dice"] for fold in written["folds"]] == [0.5, 0.5]
    assert [fold["cases"] for fold in written["folds"]] == [
        {"a": {1: 0.5, 2: 0.25}},
        {"b": {1: 0.75, 2: None}, "c": {1: 0.25, 2: 0.75}},
    ]
    assert written["pooled"]["1"]["dice"] == 0.5
    assert written["postprocessed"]["1"]["dice"] == pytest.approx(0.6)
