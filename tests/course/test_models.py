"""The shared model is trained once for what went into it, and anew for anything else."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nnunet_lib.course import models, sources
from nnunet_lib.course.models import cross_validated_model, trained_model
from nnunet_lib.course.profiles import resolve
from nnunet_lib.datasets import make_phantom
from nnunet_lib.errors import InputError
from nnunet_lib.loading import Fold, save_folds, split_folds
from nnunet_lib.model import LAST, load_checkpoint, load_network

TINY = replace(
    resolve("ci"), model_epochs=2, steps_per_epoch=1, memory_gigabytes=0.05, base_filters=2
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("phantom") / "scans", cases=4, seed=0)


@pytest.fixture
def trainings(work, monkeypatch):
    """The settings of every training that was started; none of them trains."""
    started = []

    def pretend(preprocessed, run, settings):
        preprocessed.plan.save(run / "plan.json")
        started.append(settings)

    monkeypatch.setattr(models, "train", pretend)
    return started


def get(dataset, **changes):
    return trained_model(dataset, **{"profile": TINY, "number_of_folds": 2, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 3])
def test_it_gives_a_model_that_predicts_and_says_what_it_saw(dataset, work, dimensions):
    model = get(dataset, fold=1, dimensions=dimensions)
    network, plan = load_network(model.run)
    assert plan == model.plan
    assert (plan.dimensions, plan.filters[0], plan.mirrored) == (dimensions, 2, True)
    assert model.fold == split_folds(model.preprocessed.identifiers, 2, 0)[1]
    assert json.loads((model.run / "fold.json").read_text())["validation"] == [
        *model.fold.validation
    ]
    assert load_checkpoint(model.run / LAST).progress["step"] == 2  # by steps, not by time
    patch = np.zeros((1, *plan.patch_size, 1), np.float32)
    assert network(patch).shape == (1, *plan.patch_size, 3)
    assert get(dataset, fold=1, dimensions=dimensions) == model
    assert len(list(work.iterdir())) == 2  # one preprocessed dataset, one model


def test_it_trains_once(dataset, trainings, monkeypatch):
    model = get(dataset)
    monkeypatch.setattr(models, "train", None)  # a second training would fail
    monkeypatch.setattr(models, "plan_dataset", None)
    assert get(dataset) == model
    assert len(trainings) == 1


def test_folds_share_their_preprocessed_cases(dataset, trainings):
    first, second = get(dataset, fold=0), get(dataset, fold=1)
    assert first.preprocessed == second.preprocessed
    assert first.run != second.run
    assert set(first.fold.validation).isdisjoint(second.fold.validation)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"fold": 1},
        {"number_of_folds": 4},
        {"dimensions": 2},
        {"profile": replace(TINY, model_epochs=3)},
        {"profile": replace(TINY, base_filters=4)},
    ],
    ids=str,
)
def test_anything_that_shapes_the_model_trains_anew(dataset, trainings, change):
    before = get(dataset)
    assert get(dataset, **change).run != before.run
    assert len(trainings) == 2


def test_what_the_profile_says_reaches_planner_and_trainer(dataset, trainings, monkeypatch):
    planned, real = [], models.plan_dataset
    monkeypatch.setattr(
        models, "plan_dataset", lambda *given: planned.append(given) or real(*given)
    )
    profile = replace(TINY, steps_per_epoch=7, small_steps=False, memory_gigabytes=0.07, workers=2)
    get(dataset, profile=profile, seed=3, fold=1)
    ((_, planner, workers),) = planned
    assert (planner.small_steps, planner.memory_gigabytes, planner.base_filters) == (False, 0.07, 2)
    assert workers == 2
    (settings,) = trainings
    assert (settings.epochs, settings.steps_per_epoch, settings.time_limit) == (2, 7, None)
    assert (settings.seed, settings.fold, settings.number_of_folds) == (3, 1, 2)
    assert settings.augmentation.flip_probability > 0  # else no test-time augmentation


def test_folds_of_the_learners_own_are_those_that_the_model_has(dataset, trainings):
    before = get(dataset)
    chosen = [Fold(before.fold.validation, before.fold.training)]
    assert chosen[0] != before.fold
    save_folds(chosen, before.preprocessed.splits_path)
    after = get(dataset)
    assert after.fold == chosen[0]
    assert after.run != before.run
    before.preprocessed.splits_path.unlink()
    assert get(dataset) == before
    assert len(trainings) == 2


def test_what_does_not_shape_the_model_trains_nothing(dataset, trainings, tmp_path):
    before = get(dataset)
    spared = replace(TINY, name="other", workers=2, training_minutes=1.0, cases_to_predict=1)
    assert get(dataset, profile=spared).run == before.run
    moved = make_phantom(tmp_path / "elsewhere", cases=4, seed=0)  # the same files
    assert get(moved).run == before.run


def test_other_cases_and_other_content_train_anew(dataset, trainings, tmp_path):
    before = get(dataset)
    assert get(replace(dataset, training=dataset.training[:3])).run != before.run
    changed = make_phantom(tmp_path / "changed", cases=4, seed=1)
    assert get(changed).run != before.run


def test_another_version_of_the_library_trains_anew(dataset, trainings, tmp_path, monkeypatch):
    """A change in any stage up to training counts; one in the lessons' own code does not."""
    library = tmp_path / "nnunet_lib"
    for name in ("__init__.py", "training/step.py", "course/figures.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("")
    monkeypatch.setattr(sources, "library", lambda: library)
    monkeypatch.setattr(sources, "require_unchanged", lambda: None)  # as in a kernel started then
    before = get(dataset)
    (library / "course" / "figures.py").write_text("BLUE = 1\n")
    assert get(dataset).run == before.run
    (library / "training" / "step.py").write_text("# another step\n")
    assert get(dataset).run != before.run


def test_other_channels_labels_and_versions_train_anew(dataset, trainings, monkeypatch):
    """Channels decide the normalisation; the cases' files are the same in all."""
    others = [replace(dataset, channels=("CT",)), replace(dataset, labels=("none", "a", "b"))]
    runs = [get(one).run for one in (dataset, *others)]
    monkeypatch.setattr(models.importlib.metadata, "version", lambda name: "99")
    assert len({*runs, get(dataset).run}) == 4
    assert get(others[0]).plan.normalisation != get(dataset).plan.normalisation


def test_code_that_is_older_than_its_files_trains_nothing(
    dataset, trainings, monkeypatch, tmp_path
):
    times = dict(sources._AT_LOADING)
    changed = next(iter(times))
    for other in ({**times, changed: times[changed] + 1}, {**times, tmp_path / "new.py": 0}):
        monkeypatch.setattr(sources, "_AT_LOADING", other)
        with pytest.raises(InputError, match="Restart the kernel"):
            get(dataset)
    assert trainings == []


def test_a_file_dated_in_the_future_is_no_change(dataset, trainings, monkeypatch):
    """As a memory stick or another clock leaves it."""
    later = {path: time + 10**13 for path, time in sources._times().items()}
    monkeypatch.setattr(sources, "_times", lambda: later)
    monkeypatch.setattr(sources, "_AT_LOADING", later)
    get(dataset)
    assert len(trainings) == 1


def test_a_cross_validation_is_made_once_as_the_profile_says(dataset, work, monkeypatch):
    started = []

    def pretend(preprocessed, results, settings):
        results.mkdir(parents=True)
        started.append(settings)

    monkeypatch.setattr(models, "cross_validate", pretend)
    profile = replace(TINY, ensemble_folds=3, ensemble_epochs=4)
    folder = cross_validated_model(dataset, profile)
    assert cross_validated_model(dataset, profile) == folder
    assert [(one.number_of_folds, one.epochs) for one in started] == [(3, 4)]
    assert cross_validated_model(dataset, profile, dimensions=2) != folder
    assert cross_validated_model(dataset, replace(profile, ensemble_folds=2)) != folder
    assert len(started) == 3
