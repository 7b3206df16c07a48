"""What the word in a notebook's PROFILE means: the one table of sizes of the whole course.

No size and no number of steps is written in a notebook. A lesson asks `use_profile` what it
may spend, and the runner checks in the executed copy that the profile it asked for was used.
"""

import os
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from nnunet_lib.course.output import emit
from nnunet_lib.errors import InputError

PROFILE_MIME = "application/vnd.nnunet-course.profile+json"


@dataclass(frozen=True)
class Profile:
    """What one run of a lesson may spend.

    Attributes:
        name: the word in PROFILE.
        purpose: whom it serves, in half a sentence.
        cases: the most cases that a lesson takes from a dataset.
        phantom_cases: how many cases the phantom dataset gets.
        training_minutes: wall time that one training may take, validation included.
        epochs: after which it ends sooner; None uses the whole time. With a number a busy machine
            trains as many steps as an idle one, unless they take longer than `training_minutes`.
        steps_per_epoch: training steps between two lines of the history.
        model_epochs: epochs of the model that lessons share (`trained_model`).
        ensemble_folds: into how many folds lesson 11 splits its cases (`cross_validated_model`).
        ensemble_epochs: epochs of each fold there.
        fold_epochs: epochs of each fold of lesson 06's cross-validation.
        memory_gigabytes: the planner's budget for one training step; patch and batch follow.
        base_filters: channels of the finest level of the U-Net.
        small_steps: whether the planner keeps batches and patches small, as suits a CPU.
        cases_to_predict: how many held-out cases a lesson predicts.
        test_time_augmentation: whether prediction averages over all flips.
        workers: processes that preprocess cases side by side.
        patches_to_draw: behind each share of patches that lesson 03 measures.
        batches_to_time: for which lesson 03 times each loader.
    """

    name: str
    purpose: str
    cases: int
    phantom_cases: int
    training_minutes: float
    epochs: int | None
    steps_per_epoch: int
    model_epochs: int
    ensemble_folds: int
    ensemble_epochs: int
    fold_epochs: int
    memory_gigabytes: float
    base_filters: int
    small_steps: bool
    cases_to_predict: int
    test_time_augmentation: bool
    workers: int
    patches_to_draw: int
    batches_to_time: int


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "ci": Profile(
            name="ci",
            purpose="shows that everything runs, in two minutes on two cores",
            cases=20,
            phantom_cases=10,
            training_minutes=10.0,
            epochs=10,
            steps_per_epoch=25,
            model_epochs=6,
            ensemble_folds=2,
            ensemble_epochs=3,
            fold_epochs=2,
            memory_gigabytes=0.5,
            base_filters=8,
            small_steps=True,
            cases_to_predict=2,
            test_time_augmentation=True,
            workers=1,  # starting a second process takes longer than these few small cases
            patches_to_draw=600,
            batches_to_time=50,
        ),
        "laptop": Profile(
            name="laptop",
            purpose="gives useful models on a computer without a graphics card",
            cases=200,
            phantom_cases=40,
            training_minutes=10.0,
            epochs=None,
            steps_per_epoch=50,
            model_epochs=20,
            ensemble_folds=3,
            ensemble_epochs=8,
            fold_epochs=8,
            memory_gigabytes=0.5,
            base_filters=16,
            small_steps=True,
            cases_to_predict=8,
            test_time_augmentation=True,
            workers=min(4, os.cpu_count() or 1),
            patches_to_draw=2000,
            batches_to_time=100,
        ),
        "gpu": Profile(
            name="gpu",
            purpose="trains the full-sized network on one graphics card",
            cases=1000,
            phantom_cases=100,
            training_minutes=60.0,
            epochs=None,
            steps_per_epoch=250,
            model_epochs=100,
            ensemble_folds=5,
            ensemble_epochs=100,
            fold_epochs=40,
            memory_gigabytes=8.0,
            base_filters=32,
            small_steps=False,
            cases_to_predict=20,
            test_time_augmentation=True,
            workers=min(8, os.cpu_count() or 1),
            patches_to_draw=2000,
            batches_to_time=200,
        ),
    }
)


def resolve(name: str) -> Profile:
    """The profile of that name.

    Raises:
        InputError: if there is none.
    """
    if name not in PROFILES:
        raise InputError(
            f"PROFILE is {name!r}, and there is no such profile. "
            f"Choose one of: {', '.join(PROFILES)}."
        )
    return PROFILES[name]


def use_profile(name: str) -> Profile:
    """Resolve a profile and say in the notebook what it means.

    The output also carries the profile's name for the runner, which fails a run whose
    notebook used another profile than the one it was given.
    """
    profile = resolve(name)
    length = f"{profile.training_minutes:g} minutes of training"
    if profile.epochs is not None:
        length = f"{profile.epochs * profile.steps_per_epoch} steps of training"
    text = (
        f"Profile {profile.name} {profile.purpose}: at most {profile.cases} cases, {length}, "
        f"{profile.base_filters} base filters, {profile.memory_gigabytes:g} GB for a step."
    )
    emit({PROFILE_MIME: asdict(profile), "text/plain": textwrap.fill(text, width=79)})
    return profile
