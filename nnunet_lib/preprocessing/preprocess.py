"""A whole dataset preprocessed to disk: in parallel, with bounded memory, resumable.

Taught in lesson 02. A case's JSON file is written last and says what the case was made from,
so that a finished case is recognised and a half-written one is made again.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnunet_lib.datasets import Case, Dataset, read_label, read_volume
from nnunet_lib.errors import InputError, require_choice
from nnunet_lib.files import digest, read_json, replacing, write_json
from nnunet_lib.parallel import run_all
from nnunet_lib.planning import Fingerprint, Plan
from nnunet_lib.preprocessing.case import PreprocessedCase, preprocess_case, require_known_labels
from nnunet_lib.preprocessing.geometry import Geometry

Mode = Literal["training", "val", "test"]
PREPROCESSING_FORMAT = 2  # raise it when the same plan would give other arrays


@dataclass(frozen=True)
class PreprocessedDataset:
    """The cases of one mode on disk.

    Attributes:
        plan: the plan that they follow.
        folder: where they lie: `<results>/<2d or 3d>/<mode>`.
        identifiers: the cases, in the dataset's order.
        mode: what they were preprocessed for.
    """

    plan: Plan
    folder: Path
    identifiers: tuple[str, ...]
    mode: Mode

    @classmethod
    def open(
        cls, results: Path | str, dimensions: int, mode: Mode = "training"
    ) -> "PreprocessedDataset":
        """Open what `preprocess` wrote.

        Raises:
            InputError: if it never ran for these dimensions and this mode, has not finished,
                or its cases follow another plan.
        """
        root = Path(results) / f"{dimensions}d"
        index_path = _index_path(root, mode)
        if not index_path.exists():
            raise InputError(
                f"{root / mode}: no dataset was preprocessed here. Name the folder that was "
                "preprocess's --results, or run `python -m nnunet_lib preprocess --data DATASET "
                f"--results FOLDER --dim {dimensions} --exec-mode {mode}` first."
            )
        dataset = cls(Plan.load(root / "plan.json"), root / mode, _read_index(index_path), mode)
        dataset._require_finished()
        return dataset

    @property
    def splits_path(self) -> Path:
        """Where training looks for folds of the user's own, 2D and 3D alike."""
        return self.folder.parents[1] / "splits_final.json"

    def image_path(self, identifier: str) -> Path:
        """The .npy file of an image (a, b, c, channel) float32, plan order."""
        return self.folder / f"{identifier}_image.npy"

    def label_path(self, identifier: str) -> Path:
        """The .npy file of a label map (a, b, c, 1) uint8, plan order.

        Raises:
            InputError: if the cases have no labels.
        """
        if self.mode == "test":
            raise InputError(f"{self.folder}: these cases have no labels; take mode val.")
        return self.folder / f"{identifier}_label.npy"

    def geometry(self, identifier: str) -> Geometry:
        """How the case lies in its original image."""
        return Geometry.load(self.folder / f"{identifier}.json")

    def _require_finished(self) -> None:
        missing = [name for name in self.identifiers if not self._is_finished(name)]
        if missing:
            raise InputError(
                f"{self.folder}: {len(missing)} of {len(self.identifiers)} cases are missing, "
                f"half written, or follow another plan (the first: {missing[0]}). Run preprocess "
                "again with this plan; it makes only these."
            )

    def _is_finished(self, identifier: str) -> bool:
        made_from = _made_from(self.folder / f"{identifier}.json")
        return made_from.get("plan") == preprocessing_key(self.plan, self.mode)


@dataclass(frozen=True)
class _CaseTask:
    case: Case
    plan: Plan
    folder: Path
    mode: Mode


def preprocess(
    dataset: Dataset,
    plan: Plan,
    results: Path | str,
    mode: Mode = "training",
    workers: int = 1,
    fingerprint: Fingerprint | None = None,
) -> PreprocessedDataset:
    """Preprocess every case of a dataset into `<results>/<2d or 3d>/<mode>`.

    `training` takes the labelled cases and pads them to the patch size, `val` takes the same
    cases as prediction sees them, unpadded, and `test` takes the unlabelled ones. Finished
    cases whose plan and source files have not changed are left as they are. The plan and, if
    given, the fingerprint are saved beside the cases. `workers`: see `nnunet_lib.parallel`.

    Raises:
        InputError: if the dataset has no such cases or other channels or more labels than the
            plan, or a case cannot be preprocessed; the message names the case and its files.
    """
    cases = _cases(dataset, mode)
    require_fit(plan, dataset)  # before the plan that is there is replaced
    root = Path(results) / f"{plan.dimensions}d"
    plan.save(root / "plan.json")
    if fingerprint is not None:
        fingerprint.save(root / "fingerprint.json")
    write_json(_index_path(root, mode), [case.identifier for case in cases])
    _remove_leftovers(root / mode)
    tasks = [_CaseTask(case, plan, root / mode, mode) for case in cases]
    unfinished = [task for task in tasks if not _is_up_to_date(task)]
    run_all(_preprocess_to_disk, unfinished, workers, f"preprocess ({mode})")
    return PreprocessedDataset.open(results, plan.dimensions, mode)


def require_fit(plan: Plan, dataset: Dataset) -> None:
    """Refuse a plan that cannot be followed for this dataset.

    Raises:
        InputError: if it has another number of channels, or fewer labels.
    """
    channels, labels = len(dataset.channels), len(dataset.labels)
    if len(plan.channels) != channels or len(plan.labels) < labels:
        raise InputError(
            f"{dataset.root / 'dataset.json'}: the plan is for {len(plan.channels)} channels and "
            f"labels up to {len(plan.labels) - 1}, and the dataset has {channels} and labels up "
            f"to {labels - 1}. Follow another plan, or make one for this dataset."
        )


def _cases(dataset: Dataset, mode: Mode) -> tuple[Case, ...]:
    require_choice("mode", mode, Mode)
    cases = dataset.test if mode == "test" else dataset.training
    if not cases:
        kind = "test" if mode == "test" else "training"
        raise InputError(f"{dataset.root}: lists no {kind} cases, which mode {mode} needs.")
    return cases


def _index_path(root: Path, mode: Mode) -> Path:
    return root / f"{mode}.json"


def _remove_leftovers(folder: Path) -> None:
    """Temporary folders of an earlier run that was killed."""
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _preprocess_to_disk(task: _CaseTask) -> None:
    """Read, preprocess and write one case. Errors name its files, or the folder to write."""
    try:
        recipe = _recipe(task)  # before reading: a file that changes later is noticed
        result = _preprocessed(task)
    except (InputError, OSError, MemoryError) as error:
        files = ", ".join(str(path) for path in _source_files(task))
        raise InputError(
            f"case {task.case.identifier} ({files}): {error or type(error).__name__}"
        ) from error
    try:
        _write(task, recipe, result)
    except OSError as error:
        # NumPy says how much of a file was written, and not why.
        why = error.strerror or f"{error}: is the disk full?"
        raise InputError(f"{task.folder}: cannot be written ({why}).") from error


def _preprocessed(task: _CaseTask) -> PreprocessedCase:
    label = None
    if task.mode != "test":
        if task.case.label is None:
            raise InputError("the case has no label, which this mode needs.")
        label = read_label(task.case.label)
        require_known_labels(label, task.plan)  # before the image is read
    volume = read_volume(task.case.images)
    return preprocess_case(volume, task.plan, label, pad=task.mode == "training")


def _write(task: _CaseTask, recipe: dict[str, Any], result: PreprocessedCase) -> None:
    """The arrays first, the JSON file last."""
    name = task.case.identifier
    json_path = task.folder / f"{name}.json"
    json_path.unlink(missing_ok=True)
    _save_array(task.folder / f"{name}_image.npy", result.image)
    if result.label is not None:
        _save_array(task.folder / f"{name}_label.npy", result.label[..., np.newaxis])
    write_json(json_path, {"made_from": recipe, "geometry": result.geometry.to_json()})


def _save_array(path: Path, array: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.save(temporary, np.ascontiguousarray(array), allow_pickle=False)


def _is_up_to_date(task: _CaseTask) -> bool:
    """Whether the case is whole on disk and was made from this plan and these files."""
    name = task.case.identifier
    if _made_from(task.folder / f"{name}.json") != _recipe(task):
        return False
    shape = Geometry.load(task.folder / f"{name}.json").shape
    channels = len(task.plan.channels)
    whole = _is_whole(task.folder / f"{name}_image.npy", (*shape, channels))
    labelled = task.mode != "test"
    return whole and (not labelled or _is_whole(task.folder / f"{name}_label.npy", (*shape, 1)))


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file has a header of this shape and all the voxels that it promises."""
    try:
        return bool(np.load(path, mmap_mode="r", allow_pickle=False).shape == shape)
    except (OSError, ValueError, EOFError):
        return False


def _read_index(path: Path) -> tuple[str, ...]:
    """The identifiers of the cases that are there."""
    value = read_json(path)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{path}: is no list of cases. Remove it, and run `preprocess` again.")
    return tuple(value)


def _made_from(path: Path) -> dict[str, Any]:
    """What a case's JSON file says it was made from; empty if it does not say."""
    try:
        value = read_json(path)
    except InputError:
        return {}
    made_from = value.get("made_from") if isinstance(value, dict) else None
    return made_from if isinstance(made_from, dict) else {}


def preprocessing_key(plan: Plan, mode: Mode = "test") -> str:
    """Equal for plans that give equal arrays, whatever their networks and batches.

    A hash of those decisions that the arrays depend on; mode training depends on the patch too.
    """
    names = ["dimensions", "channels", "labels", "axis_order", "target_spacing", "normalisation"]
    if mode == "training":
        names.append("patch_size")
    value = plan.to_json()
    return digest([PREPROCESSING_FORMAT, [value[name] for name in names]])


def _recipe(task: _CaseTask) -> dict[str, Any]:
    """What a case is made from; changes when a source file has another size or time."""
    files = [path.resolve() for path in _source_files(task)]
    facts = [[path.stat().st_size, path.stat().st_mtime_ns] for path in files if path.exists()]
    sources = digest([[str(path) for path in files], facts])
    return {"plan": preprocessing_key(task.plan, task.mode), "sources": sources}


def _source_files(task: _CaseTask) -> list[Path]:
    label = [] if task.case.label is None else [task.case.label]
    return [*task.case.images, *label]
