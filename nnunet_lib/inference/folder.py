"""Files in, files out: what `python -m nnunet_lib predict` does."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm.auto import tqdm

from nnunet_lib import distributed
from nnunet_lib.datasets import (
    ENDINGS,
    Case,
    Header,
    file_ending,
    find_images,
    orientation_of,
    read_header,
    read_volume,
    stem,
    write_label,
    write_probabilities,
)
from nnunet_lib.datasets.dataset import unlike_a_channel
from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError, require_choice
from nnunet_lib.evaluation import PROBABILITIES
from nnunet_lib.files import require_writable, require_writable_folder
from nnunet_lib.inference.components import NOTHING, Postprocessing
from nnunet_lib.inference.ensemble import (
    FOLD,
    Member,
    State,
    common_postprocessing,
    load_members,
    require_any,
)
from nnunet_lib.inference.prediction import NO_FLIPS, predict_ensemble
from nnunet_lib.inference.settings import DEFAULTS, InferenceSettings
from nnunet_lib.model.compute import DEFAULT_COMPUTE, ComputeSettings, prepare
from nnunet_lib.planning import Plan

ENDING = ".nii.gz"
Subset = Literal["all", "validation"]
_DATASETS_OWN = ("imagesTr", "imagesTs", "labelsTr", "labelsTs")
"""Folders of a dataset: what lies in them is taken for a scan, or for what somebody has drawn."""


@dataclass(frozen=True)
class _Task:
    """One case and the label map to write for it."""

    case: Case
    labels: Path

    @property
    def probabilities(self) -> Path:
        name = stem(self.labels) + PROBABILITIES + file_ending(self.labels)
        return self.labels.with_name(name)


def predict(
    model: Path | str | Sequence[Path | str],
    input: Path | str,
    output: Path | str,
    settings: InferenceSettings = DEFAULTS,
    *,
    checkpoint: State = "last",
    subset: Subset = "all",
    postprocess: bool = True,
    compute: ComputeSettings = DEFAULT_COMPUTE,
) -> list[Path]:
    """Segment an image file, or each image in a folder, with one trained model or several.

    Under `horovodrun` the images are shared out over the processes: each is segmented once.

    Args:
        model: a run folder, a checkpoint file, or the folder of a cross-validation, which
            stands for all its folds; or several of them, which are averaged (see
            `predict_ensemble`). Beside it are read, where they are there, the split of the cases
            and what cross-validation decided; no data of the training.
        input: an image file, or a folder of them: `<case>.nii.gz`, or `<case>_0000.nii.gz`,
            `<case>_0001.nii.gz`, ... with one file a channel.
        output: for one image, a file to write if it ends in .nii.gz or .nii. Else a folder,
            which gets `<case>.nii.gz` for each image.
        settings: overlap, blending, flips, and whether to save probabilities.
        checkpoint: which state of the run to use.
        subset: of a folder, all images or only the cases that a run validated on, each
            predicted by those runs alone that did not train on it.
        postprocess: whether to do to the label maps what cross-validation decided; of several
            models, what all agree upon.
        compute: precision and compilation, whatever they were in training.

    Returns:
        The label maps that were written.

    Raises:
        InputError: if no model is given; if a model, an image or the output's name is not usable;
            if models differ in channels or labels; if there is no such subset, or this machine
            cannot compute in that precision.
    """
    require_choice("subset", subset, Subset)
    models = [Path(one) for one in ([model] if isinstance(model, Path | str) else model)]
    input, output = Path(input), Path(output)
    ranks = distributed.join()
    _say(ranks, *prepare(compute))
    windows = settings.window_batch_size
    members = load_members(models, checkpoint, compute, windows)
    cases = find_images(input, len(members[0].plan.channels))
    if subset == "validation":
        cases = _validation_cases(members, cases)
        members = tuple(member.without_training_cases() for member in members)
    then = common_postprocessing(members) if postprocess else NOTHING
    return predict_files(members, cases, output, settings, then, one_file=input.is_file())


def predict_files(
    members: Sequence[Member],
    cases: Sequence[Case],
    output: Path,
    settings: InferenceSettings = DEFAULTS,
    postprocessing: Postprocessing = NOTHING,
    *,
    one_file: bool = False,
) -> list[Path]:
    """Segment cases and write their label maps, each where its image lies.

    All headers are checked before the first case is predicted. A case whose voxels turn out to
    be unusable does not stop the others; the error at the end names all of them.

    Args:
        members: one network or several that are averaged, with the same channels and labels.
        cases: the images; their labels are not read.
        output: a folder, which gets `<case>.nii.gz`; or with `one_file` a file.
        settings: overlap, blending, flips, and whether to save probabilities.
        postprocessing: what to do to the label maps; probabilities stay as they are.
        one_file: whether `output` may name the file of the one case.

    Returns:
        The label maps that were written.

    Raises:
        InputError: if there is no member, an image is not usable, or an output would be one of a
            dataset's files or cannot be written.
    """
    require_any(members)
    ranks = distributed.join()
    tasks = _tasks(cases, output, one_file)
    plan = members[0].plan
    known = [set(member.plan.orientations) for member in members if member.plan.orientations]
    _say(ranks, *_require_readable(tasks, plan, known))
    mirrored = sum(member.plan.mirrored for member in members)
    if settings.tta and mirrored < len(members):
        some = f"Test-time augmentation for {mirrored} of {len(members)} networks: the others "
        _say(ranks, some + "trained without mirroring." if mirrored else NO_FLIPS)
    if postprocessing != NOTHING:
        _say(ranks, f"As cross-validation decided, {postprocessing.describe(plan.labels)}.")
    faults: list[str] = []
    empty: list[str] = []
    own = ranks.share(tasks)
    for task in tqdm(own, "predict", unit="case", disable=not ranks.is_first):
        # An earlier prediction must not stand for a case that now fails.
        task.labels.unlink(missing_ok=True)
        task.probabilities.unlink(missing_ok=True)
        try:
            if not _predict_one(members, task, settings, postprocessing):
                empty.append(task.labels.name)
        except InputError as error:
            faults.append(str(error))
    _say(ranks, *_nothing_found([name for part in ranks.gather(empty) for name in part]))
    everybodys = [fault for part in ranks.gather(faults) for fault in part]
    others = "The other images were" if len(everybodys) < len(tasks) else "No image was"
    _refuse(everybodys, f"{others} segmented")
    return [task.labels for task in tasks]


def _say(ranks: Ranks, *sentences: str) -> None:
    """Print sentences once, however many processes there are."""
    for sentence in sentences if ranks.is_first else ():
        tqdm.write(sentence)


def _tasks(cases: Sequence[Case], output: Path, one_file: bool) -> list[_Task]:
    """What to write for each case; an input is never written to."""
    is_file = output.name.endswith(ENDINGS)
    if is_file and not one_file:
        raise InputError(f"{output}: is a file's name, but the input is a folder. Name a folder.")
    if not is_file and output.is_file():
        raise InputError(f"{output}: is a file. Name a folder, or a file ending in .nii.gz.")
    require = require_writable if is_file else require_writable_folder
    require(output)
    tasks = [
        _Task(case, output if is_file else output / (case.identifier + ENDING)) for case in cases
    ]
    _require_apart(tasks)
    _require_place(tasks, output, is_file)
    return tasks


def _require_apart(tasks: Sequence[_Task]) -> None:
    """Refuse outputs of which one would replace another."""
    for path in {task.labels for task in tasks} & {task.probabilities for task in tasks}:
        raise InputError(
            f"{path}: would be the label map of one image and the probabilities of another. "
            f"Give images names that do not end in {PROBABILITIES}."
        )


def _require_place(tasks: Sequence[_Task], output: Path, is_file: bool) -> None:
    """Refuse an output that would replace images or labels, or lie among them as one of them."""
    images = {image for task in tasks for image in task.case.images}
    written = {path.resolve() for task in tasks for path in (task.labels, task.probabilities)}
    if written & {image.resolve() for image in images}:
        raise InputError(f"{output}: holds the images, which would be lost. Name another folder.")
    place = output.resolve()
    if not is_file and place in {image.parent.resolve() for image in images}:
        raise InputError(
            f"{output}: holds the images, and label maps would be taken for some. "
            "Name another folder."
        )
    folder = place.parent if is_file else place
    if folder.name in _DATASETS_OWN and (folder.parent / "dataset.json").is_file():
        raise InputError(
            f"{output}: belongs to a dataset's own images or labels, which would be replaced or "
            "mixed with others. Name another place."
        )


def _require_readable(tasks: Sequence[_Task], plan: Plan, trained: Sequence[Set[str]]) -> list[str]:
    """Check the headers of all images, which takes no time, before hours of work.

    `trained` are the orientations that each network has met.

    Returns:
        A sentence, if images are stored in an orientation that one network has not met.
    """
    faults, others = [], []
    for task in tasks:
        try:
            headers = [read_header(path) for path in task.case.images]
            if sum(header.channels for header in headers) != len(plan.channels):
                faults.append(_wrong_channels(task.case, headers, plan))
            stored = orientation_of(headers[0].affine)
            strangers = [orientations for orientations in trained if stored not in orientations]
            if strangers:
                met = ", ".join(sorted(set().union(*strangers)))
                others.append(f"{task.case.images[0].name} ({stored}, trained on {met})")
        except InputError as error:
            faults.append(str(error))
    _refuse(faults, "Mend or remove these images; nothing was predicted")
    return [_turned(others)] if others else []


def _wrong_channels(case: Case, headers: Sequence[Header], plan: Plan) -> str:
    first, number = case.images[0], len(plan.channels)
    found = sum(header.channels for header in headers)
    text = f"{first}: has {found} channels, but the model was trained with {number}."
    if number > 1:
        names = ", ".join(f"_{index:04d} {name}" for index, name in enumerate(plan.channels))
        text += f" Files of one channel each end in {names}."
    if len(case.images) > 1:
        text += (
            f" Files that end in _ and four digits, here up to {case.images[-1].name}, count as "
            f"channels of one case; name a scan of its own {unlike_a_channel(first, number)}."
        )
    return text


def _turned(images: Sequence[str]) -> str:
    return (
        f"Mind: in another orientation than a network's training are stored {_some(images)}. "
        "The network sees them turned or mirrored, and may take left for right. Bring them into "
        "the training's orientation first: data/README.md says how."
    )


def _nothing_found(labels: Sequence[str]) -> list[str]:
    """A sentence, if label maps have no structure: that may be so, or a scan of another kind."""
    return [f"Mind: nothing but background was found in {_some(sorted(labels))}."] if labels else []


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _predict_one(
    members: Sequence[Member],
    task: _Task,
    settings: InferenceSettings,
    postprocessing: Postprocessing,
) -> bool:
    """Read, predict, write; whether there is any structure in the label map."""
    case = task.case
    volume = read_volume(case.images)
    asked = [member for member in members if case.identifier not in member.skipped]
    try:
        prediction = predict_ensemble(asked, volume, settings, case.identifier)
    except InputError as error:  # which knows no files
        raise InputError(f"{case.images[0]}: {error}") from None
    labels, place = postprocessing.apply(prediction.labels), (volume.affine, volume.placement)
    if prediction.probabilities is not None:
        write_probabilities(task.probabilities, prediction.probabilities, *place)
    write_label(task.labels, labels, *place)  # last: it says that all is done
    return bool(labels.any())


def _validation_cases(members: Sequence[Member], cases: Sequence[Case]) -> tuple[Case, ...]:
    """Those of the cases that a run validated on, and so did not train on."""
    wanted: set[str] = set()
    for member in members:
        validated = member.cases("validation")
        missing = validated - {case.identifier for case in cases}
        if missing:
            raise InputError(
                f"{member.run / FOLD}: these cases are not among the images: "
                f"{', '.join(sorted(missing))}. "
                "Name the folder of images that the run was trained on as input."
            )
        wanted |= validated
    return tuple(case for case in cases if case.identifier in wanted)


def _refuse(faults: Sequence[str], remedy: str) -> None:
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise InputError(f"These images cannot be segmented:\n{lines}\n{remedy}.")
