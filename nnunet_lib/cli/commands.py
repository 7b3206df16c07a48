"""The commands: for each its options, and the call of the library that it stands for.

Stages are imported inside the functions, so that `--help` answers at once.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nnunet_lib.cli.options import add_options, add_settings, settings_from
from nnunet_lib.errors import InputError

Arguments = argparse.Namespace
Parser = argparse.ArgumentParser

_TRAINING_FLAGS = (
    "--fold",
    "--nfolds",
    "--time-limit",
    "--epochs",
    "--steps-per-epoch",
    "--learning-rate",
    "--scheduler",
    "--weight-decay",
    "--gradient-clip",
    "--deep-supervision",
    "--include-background",
    "--batch-size",
    "--base-filters",
    "--oversampling",
    "--nvol",
    "--validation-interval",
    "--seed",
    "--overwrite",
)
_AUGMENTATION_FLAGS = ("--augment", "--flip-probability")
_WINDOW_FLAGS = ("--tta", "--overlap", "--blend-mode", "--window-batch-size")


@dataclass(frozen=True)
class Command:
    """One word after `python -m nnunet_lib`."""

    name: str
    summary: str
    add_options: Callable[[Parser], None]
    run: Callable[[Arguments], None]


def _phantom_options(parser: Parser) -> None:
    add_options(parser, "--output")
    add_options(
        parser, "--cases", "--modality", "--channels", "--seed",
        cases=20, modality="mri", channels=1, seed=0,
    )  # fmt: skip


def _phantom(arguments: Arguments) -> None:
    from nnunet_lib.datasets import make_phantom

    dataset = make_phantom(
        arguments.output,
        cases=arguments.cases,
        modality=arguments.modality,
        channels=arguments.channels,
        seed=arguments.seed,
    )
    print(
        f"{len(dataset.training)} labelled and {len(dataset.test)} unlabelled cases: {dataset.root}"
    )


def _plan_options(parser: Parser) -> None:
    from nnunet_lib.planning import PlannerSettings

    add_options(parser, "--data", "--output")
    add_options(parser, "--workers", workers=_cores())
    add_settings(
        parser,
        PlannerSettings(),
        (
            "--dim",
            "--patch-size",
            "--target-spacing",
            "--memory",
            "--base-filters",
            "--batch-size",
            "--small-batches",
        ),
    )


def _plan(arguments: Arguments) -> None:
    from nnunet_lib.datasets import Dataset, require_valid
    from nnunet_lib.planning import PlannerSettings, plan_dataset

    dataset = Dataset.open(arguments.data)
    require_valid(dataset, arguments.workers, progress=True)
    settings = settings_from(arguments, PlannerSettings())
    _, plan = plan_dataset(dataset, settings, workers=arguments.workers)
    plan.save(arguments.output)
    print(plan.describe())


def _preprocess_options(parser: Parser) -> None:
    add_options(parser, "--data", "--results")
    add_options(
        parser, "--dim", "--exec-mode", "--plan", "--workers",
        dimensions=None, exec_mode="training", plan=None, workers=_cores(),
    )  # fmt: skip


def _preprocess(arguments: Arguments) -> None:
    from nnunet_lib.datasets import Dataset, require_valid
    from nnunet_lib.planning import Plan, PlannerSettings, plan_dataset
    from nnunet_lib.preprocessing import preprocess

    dataset = Dataset.open(arguments.data)
    require_valid(dataset, arguments.workers, progress=True)
    fingerprint = None
    before = arguments.results / f"{arguments.dimensions or 3}d" / "plan.json"
    if arguments.plan is not None:
        plan = Plan.load(arguments.plan)
    elif before.is_file():
        print(f"Following the plan that is there: {before}")
        plan = Plan.load(before)
    else:
        settings = PlannerSettings(dimensions=arguments.dimensions or 3)
        fingerprint, plan = plan_dataset(dataset, settings, workers=arguments.workers)
    if arguments.dimensions not in (None, plan.dimensions):
        raise InputError(
            f"{arguments.plan}: is a {plan.dimensions}D plan, but --dim {arguments.dimensions} "
            "was given. Leave --dim out, or make a plan for it."
        )
    done = preprocess(
        dataset,
        plan,
        arguments.results,
        mode=arguments.exec_mode,
        workers=arguments.workers,
        fingerprint=fingerprint,
    )
    print(f"{len(done.identifiers)} cases: {done.folder}")


def _train_options(parser: Parser) -> None:
    from nnunet_lib.training.settings import TrainingSettings

    defaults = TrainingSettings()
    add_options(parser, "--data", "--results")
    add_options(parser, "--dim", dimensions=3)
    add_settings(parser, defaults, _TRAINING_FLAGS)
    add_settings(parser, defaults.augmentation, _AUGMENTATION_FLAGS)
    add_settings(parser, defaults.inference, _WINDOW_FLAGS)


def _train(arguments: Arguments) -> None:
    from nnunet_lib.preprocessing import PreprocessedDataset
    from nnunet_lib.training import TrainingSettings, train

    defaults = TrainingSettings()
    settings = settings_from(
        arguments,
        defaults,
        augmentation=settings_from(arguments, defaults.augmentation),
        inference=settings_from(arguments, defaults.inference),
    )
    preprocessed = PreprocessedDataset.open(arguments.data, arguments.dimensions)
    result = train(preprocessed, arguments.results, settings)
    last = result.history[-1]
    score = "none" if last.validation_dice is None else f"{last.validation_dice:.4f}"
    print(
        f"{last.step} steps in {last.seconds / 60:.1f} minutes, "
        f"validation Dice {score}: {result.run}"
    )


def _predict_options(parser: Parser) -> None:
    from nnunet_lib.inference import InferenceSettings

    add_options(parser, "--model", "--input", "--output")
    add_options(parser, "--checkpoint", "--subset", checkpoint="last", subset="all")
    add_settings(parser, InferenceSettings(), (*_WINDOW_FLAGS, "--save-probabilities"))


def _predict(arguments: Arguments) -> None:
    from nnunet_lib.inference import InferenceSettings, predict

    written = predict(
        arguments.model,
        arguments.input,
        arguments.output,
        settings_from(arguments, InferenceSettings()),
        checkpoint=arguments.checkpoint,
        subset=arguments.subset,
    )
    print(f"{len(written)} label maps: {arguments.output}")


def _evaluate_options(parser: Parser) -> None:
    add_options(parser, "--predictions", "--labels", "--results")
    add_options(parser, "--empty-as", empty_as="undefined")


def _evaluate(arguments: Arguments) -> None:
    from nnunet_lib.evaluation import evaluate_folder

    report = evaluate_folder(arguments.predictions, arguments.labels, empty_as=arguments.empty_as)
    report.save(arguments.results)
    print(report.describe())


def _course_options(parser: Parser) -> None:
    add_options(
        parser, "--notebooks", "--output", "--profile", "--dataset", "--seed",
        notebooks=Path("notebooks"), output=Path("build/course"),
        profile="ci", dataset="phantom", seed=0,
    )  # fmt: skip


def _course(arguments: Arguments) -> None:
    from nnunet_lib.course import run_course

    summary = run_course(
        arguments.notebooks,
        arguments.output,
        profile=arguments.profile,
        dataset=arguments.dataset,
        seed=arguments.seed,
    )
    print(summary.describe())
    summary.require_success()


def _cores() -> int:
    """How many processor cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


ALL = (
    Command("phantom", "make a small artificial dataset", _phantom_options, _phantom),
    Command("plan", "read a dataset and decide how to segment it", _plan_options, _plan),
    Command(
        "preprocess", "crop, normalise and resample the cases", _preprocess_options, _preprocess
    ),
    Command("train", "train one fold", _train_options, _train),
    Command("predict", "segment images that the model has not seen", _predict_options, _predict),
    Command("evaluate", "compare label maps with the truth", _evaluate_options, _evaluate),
    Command("course", "run the lessons as a whole", _course_options, _course),
)
