"""Every option of every command, once: its name, help, unit and type.

Defaults are not repeated here: an option whose `field` is a field of a settings class takes
that field's default, so the command line and Python agree by construction.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ALL_FOLDS = "all"

Settings = TypeVar("Settings", bound="DataclassInstance")


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        flag: as typed, such as "--learning-rate".
        field: the argument's name in Python, and in the settings class if it belongs to one.
        help: what it does; the default is added by itself. Empty where each command says so.
        unit: what the value is, shown in capitals in the usage line.
        parse: makes the value of what was typed.
        choices: the only values allowed, if they are few.
        many: takes several values.
        switch: takes no value; `--flag` and `--no-flag`.
        alone: its value where it is given without one; empty if it needs one.
    """

    flag: str
    field: str
    help: str
    unit: str = ""
    parse: Callable[[str], Any] = str
    choices: tuple[Any, ...] | None = None
    many: bool = False
    switch: bool = False
    alone: str = ""


def fold_or_all(text: str) -> int | str:
    """A fold's number, or `all` of them."""
    if text == ALL_FOLDS:
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor `all`") from None


def channel_suffix(text: str) -> tuple[str, str]:
    """A channel's name and the suffix of its files, from `T1w=_t1`; or none, from `CT=`."""
    name, equals, suffix = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no name=suffix, such as T1w=_t1 or CT=")
    return name, suffix


def random_seed(text: str) -> int:
    """A number that every generator of random numbers takes."""
    if not (text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to below 2^32")
    return int(text)


def place(text: str) -> Path:
    """A path; an empty one, as of a shell's unset variable, would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a file or a folder")
    return Path(text)


_ALL = (
    # Where things are: see `add_path`
    Option("--data", "data", "", "folder", place),
    Option("--output", "output", "", "path", place),
    Option("--results", "results", "", "path", place),
    Option("--input", "input", "", "path", place),
    Option("--model", "model", "", "folder", place),
    Option("--predictions", "predictions", "", "folder", place),
    Option("--labels", "labels", "", "folder", place),
    Option(
        "--plan",
        "plan",
        "from `plan`; else the one in --results, or a new one",
        "file",
        place,
    ),
    Option("--notebooks", "notebooks", "lessons, or folders of them", "path", place, many=True),
    Option("--overwrite", "overwrite", "replace what the folder holds", switch=True),
    # Phantom
    Option("--cases", "cases", "labelled cases to make", "number", int),
    Option("--modality", "modality", "kind of scan; CT has one channel", choices=("mri", "ct")),
    Option("--channels", "channels", "image channels", "number", int),
    # Download
    Option(
        "--task",
        "task",
        "task of the Medical Segmentation Decathlon, 01 to 10; your own data have none",
        "number",
    ),
    Option("--base-url", "base_url", "where the archives lie, if you have a mirror", "address"),
    # Convert
    Option(
        "--suffixes",
        "suffixes",
        "how the files of each image channel end, such as T1w=_t1; CT= for no suffix",
        "name=suffix",
        channel_suffix,
        many=True,
    ),
    Option("--label-suffix", "label_suffix", "how the label maps end, such as _mask", "suffix"),
    Option("--structures", "structures", "names of label values 1, 2, ...", "name", many=True),
    # Plan
    Option(
        "--preset",
        "preset",
        "who decides: nnU-Net's rules, for any dataset, overruled by the options below; or what "
        "NVIDIA published for a --task, with room for --dim and --batch-size alone",
        choices=("nnunet", "nvidia"),
    ),
    Option("--dim", "dimensions", "2D slices or 3D volumes", parse=int, choices=(2, 3)),
    Option("--patch-size", "patch_size", "patch, coarsest axis first", "voxels", int, many=True),
    Option(
        "--target-spacing",
        "target_spacing",
        "z y x; in 2D the slice's axes",
        "mm",
        float,
        many=True,
    ),
    Option(
        "--memory",
        "memory_gigabytes",
        "memory that the network may take, as nnU-Net counts it on a GPU",
        "gigabytes",
        float,
    ),
    Option(
        "--small-steps",
        "small_steps",
        "for many quick steps on a CPU: at most 2 volumes or 32 slices a batch, and where a whole "
        "case would fit, a volume of 0.8 of it an axis",
        switch=True,
    ),
    Option("--base-filters", "base_filters", "channels of the first stage", "number", int),
    Option(
        "--batch-size",
        "batch_size",
        "patches a step",
        "number",
        int,
    ),
    # Preprocess
    Option(
        "--exec-mode",
        "exec_mode",
        "labelled cases to train on, labelled cases as prediction sees them, or unlabelled cases",
        choices=("training", "val", "test"),
    ),
    Option("--workers", "workers", "cases worked on at once", "processes", int),
    # Train
    Option(
        "--fold",
        "fold",
        "the fold that validates, from 0; `all` trains one after another into fold_0, fold_1, ... "
        "of --results, each within --time-limit, and scores them together",
        "number",
        fold_or_all,
    ),
    Option(
        "--nfolds",
        "number_of_folds",
        "parts that the cases are split into; with folds of your own, in splits_final.json of "
        "--data, how many of them there are",
        "number",
        int,
    ),
    Option("--time-limit", "time_limit", "end training after this long", "minutes", float),
    Option("--epochs", "epochs", "epochs; without a time limit 20", "number", int),
    Option("--steps-per-epoch", "steps_per_epoch", "training steps an epoch", "steps", int),
    Option("--optimiser", "optimiser", "what takes the steps", choices=("adam", "adamw", "sgd")),
    Option(
        "--learning-rate",
        "learning_rate",
        "at the start, before the schedule; the optimiser's own if not given: adam 0.002, "
        "adamw 0.002, sgd 0.01",
        "rate",
        float,
    ),
    Option("--momentum", "momentum", "Nesterov momentum of sgd", "share", float),
    Option(
        "--scheduler",
        "scheduler",
        "how the learning rate falls",
        choices=("poly", "cosine", "cosine_restarts", "constant"),
    ),
    Option(
        "--restarts",
        "restarts",
        "how often cosine_restarts goes back to the full learning rate",
        "number",
        int,
    ),
    Option(
        "--scale-learning-rate",
        "scale_learning_rate",
        "with several processes, multiply the learning rate with their number",
        switch=True,
    ),
    Option(
        "--warmup",
        "warmup",
        "part of training in which that multiplication grows from 1; 0 for none",
        "share",
        float,
    ),
    Option(
        "--weight-decay",
        "weight_decay",
        "of kernels, as an L2 gradient term, with adamw decoupled from the gradient; the "
        "optimiser's own if not given: adam 0.0001, adamw 0.01, sgd 3e-05",
        "factor",
        float,
    ),
    Option("--gradient-clip", "gradient_clip", "largest norm of the gradients", "norm", float),
    Option(
        "--deep-supervision",
        "deep_supervision",
        "let the three finest decoder levels all learn from the labels",
        switch=True,
    ),
    Option(
        "--include-background",
        "include_background",
        "count the background as a class in the Dice loss",
        switch=True,
    ),
    Option(
        "--focal",
        "focal",
        "focal loss and Dice, instead of cross-entropy and Dice",
        switch=True,
    ),
    Option(
        "--oversampling",
        "foreground_oversampling",
        "share of patches aimed at foreground",
        "share",
        float,
    ),
    Option("--nvol", "number_of_volumes", "volumes that a 2D batch comes from", "number", int),
    Option(
        "--norm",
        "norm",
        "what normalises features after each convolution; the plan's if not given",
        choices=("instance", "batch", "group", "none"),
    ),
    Option(
        "--negative-slope",
        "negative_slope",
        "of the leaky ReLU; the plan's if not given",
        "slope",
        float,
    ),
    Option(
        "--loader",
        "loader",
        "what draws the patches: NVIDIA's DALI, or TensorFlow where there is no DALI",
        choices=("dali", "tf"),
    ),
    Option("--augment", "enabled", "change patches at random while training", switch=True),
    Option(
        "--rotation-probability",
        "rotation_probability",
        "how often a patch is turned; nnU-Net has 0.2",
        "share",
        float,
    ),
    Option(
        "--low-resolution-probability",
        "low_resolution_probability",
        "how often half of a patch's channels lose resolution; nnU-Net has 0.25",
        "share",
        float,
    ),
    Option(
        "--gamma-probability",
        "gamma_probability",
        "how often a patch's intensities are bent by a power; nnU-Net has 0.3",
        "share",
        float,
    ),
    Option(
        "--inverted-gamma-probability",
        "inverted_gamma_probability",
        "the same for the patch's negative; nnU-Net has 0.1",
        "share",
        float,
    ),
    Option(
        "--flip-probability",
        "flip_probability",
        "how often a patch is mirrored, an axis; --tta needs it above 0, nnU-Net has 0.5",
        "share",
        float,
    ),
    Option(
        "--validation-interval",
        "validation_interval",
        "epochs between validations; the last one always validates",
        "epochs",
        int,
    ),
    Option(
        "--checkpoint-interval",
        "checkpoint_interval",
        "steps between checkpoints within an epoch; each epoch's end writes one anyway",
        "steps",
        int,
    ),
    Option(
        "--resume",
        "resume",
        "go on with the run that the folder holds; start it if there is none",
        switch=True,
    ),
    # How the network computes
    Option(
        "--amp",
        "precision",
        "mixed precision: float16 if not said otherwise; weights and logits stay float32",
        choices=("float16", "bfloat16"),
        alone="float16",
    ),
    Option("--tf32", "tf32", "let GPUs since Ampere round float32 factors to TF32", switch=True),
    Option("--xla", "xla", "compile the network with XLA", switch=True),
    # Predict
    Option("--tta", "tta", "average over all flips (test-time augmentation)", switch=True),
    Option("--overlap", "overlap", "least overlap of neighbouring windows", "share", float),
    Option(
        "--blend-mode",
        "blend_mode",
        "weight of a window's voxels: falling off from its centre, or all the same",
        choices=("gaussian", "constant"),
    ),
    Option("--window-batch-size", "window_batch_size", "windows at once", "number", int),
    Option("--save-probabilities", "save_probabilities", "write probabilities too", switch=True),
    Option(
        "--checkpoint",
        "checkpoint",
        "the last state, or the one that scored best on the validation fold",
        choices=("last", "best"),
    ),
    Option(
        "--subset",
        "subset",
        "of a folder: all images, or only the cases that a run validated on, each by the runs "
        "that did not train on it",
        choices=("all", "validation"),
    ),
    Option(
        "--postprocess",
        "postprocess",
        "keep only largest components where the run's cross-validation found that it helps",
        switch=True,
    ),
    # Evaluate
    Option(
        "--empty-as",
        "empty_as",
        "Dice of a class that neither map holds: left out of means, or one",
        choices=("undefined", "one"),
    ),
    Option(
        "--surface",
        "surface",
        "measure how far surfaces lie apart: HD95, mean distance and surface Dice",
        switch=True,
    ),
    Option("--tolerance", "tolerance", "distance that surface Dice accepts", "mm", float),
    # Course
    Option("--profile", "profile", "size of the run: ci, laptop or gpu", "name"),
    Option("--dataset", "dataset", "`phantom`, or a dataset in MSD layout", "path"),
    Option(
        "--record",
        "record",
        "write time and memory into docs/timings.json and its page, if all lessons pass",
        switch=True,
    ),
    Option("--seed", "seed", "of everything random", "number", random_seed),
    Option("--submissions", "submissions", "exercise notebooks of a class", "folder", place),
    # Benchmark
    Option(
        "--mode",
        "mode",
        "what is measured: training steps, patches through the network, or augmented batches",
        choices=("train", "predict", "loader"),
    ),
    Option("--steps", "steps", "steps to measure", "steps", int),
    Option("--warmup-steps", "warmup_steps", "steps before, which do not count", "steps", int),
    # Doctor
    Option("--json", "json", "print JSON, for programs", switch=True),
)
OPTIONS = {option.flag: option for option in _ALL}


def add_options(parser: argparse.ArgumentParser, *flags: str, **defaults: Any) -> None:
    """Add options that belong to no settings class; one without a default is required."""
    for flag in flags:
        option = OPTIONS[flag]
        if option.field in defaults:
            _add(parser, option, default=defaults[option.field])
        else:
            _add(parser, option, required=True)


def add_path(
    parser: argparse.ArgumentParser, flag: str, meaning: str, *, many: bool = False, **default: Any
) -> None:
    """Add an option that names a file or folder, and what that is for this command.

    Without a `default` it is required; with `many` it takes several.
    """
    option = replace(OPTIONS[flag], help=meaning, many=many)
    _add(parser, option, **(default or {"required": True}))


def add_settings(
    parser: argparse.ArgumentParser,
    settings: Any,
    flags: Sequence[str],
    more: Mapping[str, str] | None = None,
) -> None:
    """Add options that are fields of a settings object, whose values are the defaults.

    `more` is what this command's help has to add to some of them.
    """
    for flag in flags:
        option = OPTIONS[flag]
        if more and flag in more:
            option = replace(option, help=f"{option.help}; {more[flag]}")
        _add(parser, option, default=getattr(settings, option.field))


def settings_from(arguments: argparse.Namespace, settings: Settings, **others: Any) -> Settings:
    """The settings object with the fields that were given as options, and `others`."""
    given = vars(arguments)
    names = {field.name for field in fields(settings)}
    values = {name: _plain(given[name]) for name in names & given.keys()}
    return replace(settings, **{**values, **others})


def _add(parser: argparse.ArgumentParser, option: Option, **keywords: Any) -> None:
    """Tell argparse about one option."""
    default = keywords.get("default")
    said = " ".join(map(str, default)) if option.many and default else default
    suffix = "" if said is None or option.switch else f" (default: {said})"
    keywords |= {"dest": option.field, "help": option.help.replace("%", "%%") + suffix}
    if option.switch:
        keywords["action"] = argparse.BooleanOptionalAction
        keywords["help"] += f" (default: {'yes' if default else 'no'})"
    else:
        keywords |= {"type": option.parse, "choices": option.choices}
        keywords["metavar"] = None if option.choices else option.unit.upper()
        keywords["nargs"] = "+" if option.many else "?" if option.alone else None
        keywords["const"] = option.alone or None
    parser.add_argument(option.flag, **keywords)


def _plain(value: Any) -> Any:
    """Settings are immutable: lists that argparse has made become tuples."""
    return tuple(value) if isinstance(value, list) else value
