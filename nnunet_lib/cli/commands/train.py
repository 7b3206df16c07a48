"""`train`: from preprocessed cases to a run folder."""

from dataclasses import replace
from typing import TYPE_CHECKING

from nnunet_lib.cli.commands.command import COMPUTE_FLAGS, WINDOW_FLAGS, Arguments, Command, Parser
from nnunet_lib.cli.options import ALL_FOLDS, add_options, add_path, add_settings, settings_from
from nnunet_lib.errors import InputError

if TYPE_CHECKING:
    from nnunet_lib.training import TrainingResult, TrainingSettings

_TRAINING_FLAGS = (
    "--fold",
    "--nfolds",
    "--time-limit",
    "--epochs",
    "--steps-per-epoch",
    "--optimiser",
    "--learning-rate",
    "--momentum",
    "--weight-decay",
    "--scheduler",
    "--restarts",
    "--scale-learning-rate",
    "--warmup",
    "--gradient-clip",
    "--deep-supervision",
    "--batch-size",
    "--base-filters",
    "--norm",
    "--negative-slope",
    "--oversampling",
    "--nvol",
    "--loader",
    "--validation-interval",
    "--checkpoint-interval",
    "--seed",
    "--resume",
    "--overwrite",
)
_MORE = {"--batch-size": "the plan's if not given, in 2D cut to a multiple of --nvol"}
_LOSS_FLAGS = ("--include-background", "--focal")
_AUGMENTATION_FLAGS = (
    "--augment",
    "--rotation-probability",
    "--flip-probability",
    "--low-resolution-probability",
    "--gamma-probability",
    "--inverted-gamma-probability",
)


def _options(parser: Parser) -> None:
    from nnunet_lib.training.settings import TrainingSettings

    defaults = TrainingSettings()
    add_path(parser, "--data", "the folder that `preprocess` has written")
    add_path(parser, "--results", "a folder for the run, or with all folds for their runs")
    add_options(parser, "--dim", dimensions=3)
    add_settings(parser, defaults, _TRAINING_FLAGS, _MORE)
    add_settings(parser, defaults.loss, _LOSS_FLAGS)
    add_settings(parser, defaults.augmentation, _AUGMENTATION_FLAGS)
    add_settings(parser, defaults.inference, WINDOW_FLAGS)
    add_settings(parser, defaults.compute, COMPUTE_FLAGS)


def _refuse_unread(settings: "TrainingSettings", defaults: "TrainingSettings") -> None:
    """Refuse options that nothing would read beside the others."""
    if settings.momentum != defaults.momentum and settings.optimiser != "sgd":
        raise InputError("--momentum is for --optimiser sgd alone. Leave it out.")
    if settings.restarts != defaults.restarts and settings.scheduler != "cosine_restarts":
        raise InputError("--restarts is for --scheduler cosine_restarts alone. Leave it out.")
    unchanged = replace(defaults.augmentation, enabled=settings.augmentation.enabled)
    if not settings.augmentation.enabled and settings.augmentation != unchanged:
        raise InputError("--no-augment leaves patches alone. Leave out the probabilities, or it.")


def _settings(arguments: Arguments) -> "TrainingSettings":
    from nnunet_lib.training import TrainingSettings

    defaults = TrainingSettings()
    settings = settings_from(
        arguments,
        defaults,
        loss=settings_from(arguments, defaults.loss),
        fold=0 if arguments.fold == ALL_FOLDS else arguments.fold,
        augmentation=settings_from(arguments, defaults.augmentation),
        inference=settings_from(arguments, defaults.inference),
        compute=settings_from(arguments, defaults.compute),
    )
    _refuse_unread(settings, defaults)
    return settings


def _in_a_line(result: "TrainingResult") -> str:
    last = result.history[-1]
    score = "none" if last.validation_dice is None else f"{last.validation_dice:.4f}"
    minutes = last.seconds / 60
    return f"{last.step} steps in {minutes:.1f} minutes, validation Dice {score}: {result.run}"


def _run(arguments: Arguments) -> None:
    from nnunet_lib.distributed import join
    from nnunet_lib.preprocessing import PreprocessedDataset
    from nnunet_lib.training import cross_validate, train

    settings = _settings(arguments)
    preprocessed = PreprocessedDataset.open(arguments.data, arguments.dimensions)
    if arguments.fold == ALL_FOLDS:
        found = cross_validate(preprocessed, arguments.results, settings).describe()
    else:
        found = _in_a_line(train(preprocessed, arguments.results, settings))
    if join().is_first:
        print(found)


COMMAND = Command("train", "train one fold, or all", _options, _run)
