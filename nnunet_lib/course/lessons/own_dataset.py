"""What lesson 11 claims, as numbers.

What the library writes is read here with nibabel and json and compared by NumPy and SciPy, not with
the library's own readers, means and components.
"""

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Image
from scipy import ndimage

from nnunet_lib.datasets import (
    Case,
    Dataset,
    Volume,
    convert,
    file_ending,
    read_volume,
    write_probabilities,
    write_volume,
)
from nnunet_lib.errors import InputError
from nnunet_lib.inference import (
    InferenceSettings,
    Member,
    Postprocessing,
    decide_postprocessing,
    predict_logits,
    restore_mean,
    try_postprocessing,
    windows_of,
)
from nnunet_lib.model import load_network
from nnunet_lib.planning import Plan
from nnunet_lib.preprocessing import preprocess_case

Array = npt.NDArray[Any]

LABEL_SUFFIX = "_mask"
SCRIPT = Path(__file__).with_name("predict_my_scans.py")
"""The script that the reader takes away."""
_PROBABILITIES = "_probabilities.nii.gz"
_SMALLEST = float(np.finfo(np.float32).tiny)  # a probability below this is stored as 0


# 1. Loose files


@dataclass(frozen=True)
class LooseFiles:
    """A folder as a hospital hands it over: `patient_07_t1.nii.gz`, `patient_07_mask.nii.gz`, ...

    Attributes:
        folder: where the files lie, side by side.
        channels: for each image channel, by name, the suffix of its files.
        labels: names of the label values, background first.
    """

    folder: Path
    channels: Mapping[str, str]
    labels: tuple[str, ...]

    def files(self, patient: str) -> list[Path]:
        """A patient's files, the label map last."""
        stems = [patient + suffix for suffix in (*self.channels.values(), LABEL_SUFFIX)]
        return [path for stem in stems for path in self.folder.glob(f"{stem}.nii*")]

    def patients(self) -> list[str]:
        """All patients, in order."""
        masks = self.folder.glob(f"*{LABEL_SUFFIX}.nii*")
        return sorted(path.name.rsplit(LABEL_SUFFIX, 1)[0] for path in masks)

    def convert(self, output: Path) -> Dataset:
        """The dataset in MSD layout that the library makes of it."""
        return convert(
            self.folder,
            output,
            channels=self.channels,
            label_suffix=LABEL_SUFFIX,
            labels=self.labels[1:],
        )


def hand_over(dataset: Dataset, folder: Path) -> LooseFiles:
    """Scatter a dataset's labelled cases into one folder, with a patient's number for a name."""
    suffixes = [f"_{re.sub(r'[^a-z0-9]', '', name.lower())}" for name in dataset.channels]
    if "_" in suffixes or len(set(suffixes)) < len(suffixes):  # names in other letters, or alike
        suffixes = [f"_{number:04d}" for number in range(len(suffixes))]  # nnU-Net's
    loose = LooseFiles(
        folder,
        dict(zip(dataset.channels, suffixes, strict=True)),
        ("background", *dataset.labels[1:]),
    )
    folder.mkdir(parents=True)
    for number, case in enumerate(dataset.training, start=1):
        patient = f"patient_{number:02d}"
        if len(suffixes) == 1:
            _copy(case.images[0], folder, patient + suffixes[0])
        else:
            volume = read_volume(case.images)
            for channel, suffix in enumerate(suffixes):
                array = volume.array[..., channel]  # (z, y, x)
                write_volume(folder / f"{patient}{suffix}.nii.gz", array, volume.affine)
        if case.label is not None:
            _copy(case.label, folder, patient + LABEL_SUFFIX)
    return loose


def _copy(path: Path, folder: Path, stem: str) -> None:
    shutil.copyfile(path, folder / (stem + file_ending(path)))


def changed_by_conversion(loose: LooseFiles, dataset: Dataset) -> int:
    """Files whose voxels or affine are not what the loose ones hold, or that are not there."""
    cases = {case.identifier: case for case in dataset.training}
    changed = len(set(cases) ^ set(loose.patients()))
    for patient in set(cases) & set(loose.patients()):
        case = cases[patient]
        after = [*case.images, case.label]
        before = loose.files(patient)
        changed += abs(len(after) - len(before))
        changed += sum(not _same(one, two) for one, two in zip(before, after, strict=False))
    return changed


def _same(one: Path, two: Path | None) -> bool:
    """Whether two NIfTI files hold the same voxels on the same affine."""
    if two is None or not two.is_file():
        return False
    first, second = Nifti1Image.from_filename(one), Nifti1Image.from_filename(two)
    return np.array_equal(first.affine, second.affine) and np.array_equal(
        np.asarray(first.dataobj), np.asarray(second.dataobj)
    )


def _rewrite(path: Path, change: Callable[[Array], Array], shift: float = 0.0) -> None:
    """Change a file's voxels, and move it by `shift` mm."""
    image = Nifti1Image.from_filename(path)
    affine = image.affine.copy()
    affine[:3, 3] += shift
    voxels = change(np.array(image.dataobj))
    image_class: Any = Nifti1Image  # nibabel's methods have no types
    image_class(voxels, affine).to_filename(path)


def _spoil(value: float, kind: type) -> Callable[[Array], Array]:
    def change(voxels: Array) -> Array:
        spoilt: Array = voxels.astype(kind)
        spoilt.flat[spoilt.size // 2] = value
        return spoilt

    return change


def _misname(image: Path, mask: Path) -> None:
    shutil.copyfile(mask, mask.with_name(mask.name.replace(LABEL_SUFFIX, "_final_version_2")))


def _halve(image: Path, mask: Path) -> None:
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])


# What can go wrong with a patient's image and mask.
FAULTS: Mapping[str, Callable[[Path, Path], None]] = {
    "an image without a mask": lambda image, mask: mask.unlink(),
    "a mask without an image": lambda image, mask: image.unlink(),
    "a file with an unknown suffix": _misname,
    "a mask that is 5 mm off": lambda image, mask: _rewrite(mask, np.array, shift=5.0),
    "a mask with a slice too few": lambda image, mask: _rewrite(mask, lambda old: old[..., 1:]),
    "a mask with a value that has no name": lambda image, mask: _rewrite(
        mask, _spoil(200, np.uint8)
    ),
    "an image with a voxel that is no number": lambda image, mask: _rewrite(
        image, _spoil(math.nan, np.float32)
    ),
    "an image of which half is missing": _halve,
}


def complaints(loose: LooseFiles, folder: Path) -> dict[str, str]:
    """What the library says to each fault, planted into a copy of two patients' files.

    Each fault is planted alone, into the files of the first patient. An empty answer means that
    the fault went unnoticed.

    Raises:
        InputError: if there are fewer than two patients.
    """
    if len(loose.patients()) < 2:
        raise InputError(f"{loose.folder}: this lesson needs two patients at least.")
    return {
        fault: _complaint(loose, folder / str(number), plant)
        for number, (fault, plant) in enumerate(FAULTS.items())
    }


def _complaint(loose: LooseFiles, folder: Path, plant: Callable[[Path, Path], None]) -> str:
    copy = replace(loose, folder=folder / "loose")
    copy.folder.mkdir(parents=True)
    for patient in loose.patients()[:2]:
        for path in loose.files(patient):
            shutil.copy(path, copy.folder)
    image, *_, mask = copy.files(copy.patients()[0])
    plant(image, mask)
    try:
        copy.convert(folder / "msd")
    except InputError as error:
        return str(error)
    return ""


def unnamed_faults(said: Mapping[str, str], patients: Sequence[str]) -> int:
    """Faults that went unnoticed, or whose message does not name the first patient alone."""
    guilty, innocent = patients[:2]
    files = {fault: re.findall(r"patient_\d+", text) for fault, text in said.items()}
    return sum(guilty not in names or innocent in names for names in files.values())


# 2. Cases that nobody trains on


def set_aside(dataset: Dataset, number: int, seed: int) -> tuple[Dataset, tuple[Case, ...]]:
    """The dataset without `number` of its cases, drawn at random, and these cases."""
    drawn = random.Random(seed).sample(dataset.training, number)
    left = tuple(case for case in dataset.training if case not in drawn)
    return replace(dataset, training=left), tuple(sorted(drawn, key=lambda case: case.identifier))


def scans_of(cases: Iterable[Case], folder: Path) -> Path:
    """A folder with the images of cases, as a later patient's would come, without labels."""
    folder.mkdir(parents=True)
    for path in (path for case in cases for path in case.images):
        shutil.copy(path, folder)
    return folder


def seen_by_a_run(cases: Iterable[Case], cross_validations: Iterable[Path]) -> int:
    """How many of the cases any fold has trained on or chosen anything by, as its files say."""
    seen: set[str] = set()
    for path in (path for folder in cross_validations for path in folder.glob("fold_*/fold.json")):
        fold = json.loads(path.read_text(encoding="utf-8"))
        seen |= {*fold["training"], *fold["validation"]}
    if not seen:
        raise InputError(
            "There is no fold.json in these folders, so they are no cross-validations."
        )
    return len(seen & {case.identifier for case in cases})


# 3. Ensembles


def average_probabilities(members: Sequence[Member], cases: Iterable[Case], folder: Path) -> Path:
    """Write the mean of the members' probabilities for each case, whatever `predict` would do."""
    settings = InferenceSettings()
    for case in cases:
        volume = read_volume(case.images)
        prepared = ((member, preprocess_case(volume, member.plan)) for member in members)
        answers = (
            (_logits(member, one.image, settings, one.geometry.padding_value), one.geometry)
            for member, one in prepared
        )
        mean = restore_mean(answers, probabilities=True).probabilities
        assert mean is not None  # asked for above
        write_probabilities(folder / (case.identifier + _PROBABILITIES), mean, volume.affine)
    return folder


def _logits(member: Member, image: Array, settings: InferenceSettings, padding: Any) -> Array:
    return predict_logits(member.network, image, member.plan, settings, padding)


def cross_entropy(probabilities: Array, truth: Array) -> float:
    """Mean of -log p(true class) over all voxels; infinite for what is no distribution.

    Args:
        probabilities: (*shape, class), which have to be at least 0 and sum to 1.
        truth: label values (*shape).
    """
    p = probabilities.astype(np.float64)
    if not (p.min() >= 0 and np.abs(p.sum(axis=-1) - 1).max() < 1e-3):
        return math.inf
    chosen = np.take_along_axis(p, truth[..., np.newaxis].astype(int), axis=-1)  # (*shape, 1)
    return float(-np.log(np.maximum(chosen, _SMALLEST)).mean())


def entropy_of(folder: Path, case: Case) -> float:
    """The cross-entropy of the probabilities that a folder holds for a case."""
    assert case.label is not None
    return cross_entropy(_read_probabilities(folder, case), _voxels(case.label))


def excess(ensemble: Path, members: Sequence[Path], cases: Iterable[Case]) -> float:
    """By how much the ensemble's cross-entropy exceeds the mean of its members', in the worst case.

    Args:
        ensemble: a folder with its probabilities.
        members: the same, of each member.
        cases: with labels, of which nothing was learned.
    """
    return max(
        entropy_of(ensemble, case)
        - math.fsum(entropy_of(one, case) for one in members) / len(members)
        for case in cases
    )


def distance_from_formula(
    ensemble: Path, configurations: Sequence[Sequence[Path]], cases: Iterable[Case]
) -> float:
    """How far an ensemble's probabilities are from what its members' give on paper.

    The mean of logits is, in probabilities, the normalised geometric mean. So folds of one
    configuration are multiplied and normalised; then the arithmetic mean over configurations.

    Args:
        ensemble: a folder with its probabilities.
        configurations: for each of them the folders of its folds.
        cases: what was predicted.
    """
    worst = 0.0
    for case in cases:
        means = [
            _geometric_mean([_read_probabilities(fold, case) for fold in folds])
            for folds in configurations
        ]
        expected = sum(means[1:], start=means[0]) / len(means)  # (i, j, k, class)
        worst = max(worst, float(np.abs(_read_probabilities(ensemble, case) - expected).max()))
    return worst


def _geometric_mean(probabilities: Sequence[Array]) -> Array:
    logarithms = [np.log(np.maximum(one.astype(np.float64), _SMALLEST)) for one in probabilities]
    product = np.exp(np.mean(logarithms, axis=0))  # (i, j, k, class)
    return np.asarray(product / product.sum(axis=-1, keepdims=True))


def _read_probabilities(folder: Path, case: Case) -> Array:
    """(i, j, k, class), as nibabel reads them."""
    return _voxels(folder / (case.identifier + _PROBABILITIES))


def _voxels(path: Path) -> Array:
    return np.asarray(Nifti1Image.from_filename(path).dataobj)


# 4. Largest components


@dataclass(frozen=True)
class Situation:
    """A made-up case for which it is plain what should be kept.

    Attributes:
        prediction: label map (z, y, x).
        truth: label map (z, y, x).
        decision: what validation has to decide on it.
    """

    prediction: Array
    truth: Array
    decision: Postprocessing


def situations() -> dict[str, Situation]:
    """A speck to remove; an organ of two pieces to leave alone; and both in one case."""
    organ, speck, piece = _ball((7, 7, 7), 5), _ball((18, 18, 6), 1), _ball((7, 7, 18), 3)
    other = 2 * (_ball((18, 6, 14), 3) | _ball((18, 17, 14), 3))  # class 2, in two pieces
    return {
        "a speck far from the organ": Situation(
            organ | speck, organ, Postprocessing(foreground=True)
        ),
        "an organ of two pieces": Situation(organ | piece, organ | piece, Postprocessing()),
        "a speck of class 1, and class 2 in two pieces": Situation(
            organ + speck + other, organ + other, Postprocessing(classes=(1,))
        ),
    }


def _ball(centre: Sequence[int], radius: int) -> Array:
    """A ball of ones in a box (24, 24, 24) of zeros."""
    grid = np.indices((24, 24, 24)).transpose(1, 2, 3, 0)  # (z, y, x, 3)
    return (np.linalg.norm(grid - np.array(centre), axis=-1) <= radius).astype(np.uint8)


def decide(situation: Situation) -> Postprocessing:
    """What the library decides on a situation."""
    classes = range(1, int(situation.truth.max()) + 1)
    return decide_postprocessing(
        [try_postprocessing(situation.prediction, situation.truth, classes)]
    )


def agreed_by(cross_validations: Iterable[Path]) -> Postprocessing:
    """What all runs of some cross-validations have in their postprocessing.json."""
    files = [
        path for folder in cross_validations for path in folder.glob("fold_*/postprocessing.json")
    ]
    stored = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    classes = set.intersection(*(set(one["classes"]) for one in stored))
    return Postprocessing(all(one["foreground"] for one in stored), tuple(sorted(classes)))


def disobedient_maps(
    before: Path, after: Path, decision: Postprocessing, cases: Iterable[Case]
) -> int:
    """Label maps on which postprocessing did something else than was decided."""
    names = [f"{case.identifier}.nii.gz" for case in cases]
    pairs = [(_voxels(before / name), _voxels(after / name)) for name in names]
    return sum(not np.array_equal(_as_decided(old, decision), new) for old, new in pairs)


def _as_decided(labels: Array, decision: Postprocessing) -> Array:
    """What a decision makes of a label map (i, j, k): of the foreground first, then of classes."""
    left = labels.copy()
    if decision.foreground:
        left[_smaller_pieces(left > 0)] = 0
    for label in decision.classes:
        left[_smaller_pieces(left == label)] = 0
    return left


def _smaller_pieces(mask: Array) -> Array:
    """The voxels of a mask (i, j, k) outside its largest connected component."""
    # Of equal pieces the library keeps the first that it meets, and it goes in the order (z, y, x).
    numbered, _ = ndimage.label(mask.T, np.ones((3, 3, 3)))
    sizes = np.bincount(numbered.ravel(), minlength=2)[1:]  # an empty mask has one, of size 0
    return np.asarray(mask & (numbered != 1 + sizes.argmax()).T)


# 5. Export

_ELSEWHERE = """
import sys
sys.modules["nnunet_lib"] = None  # an import of the library would fail
import numpy as np
import tensorflow as tf

exported, patches, answers = sys.argv[1:]
network = tf.saved_model.load(exported)
np.save(answers, network.batch(np.load(patches))["logits"].numpy())
"""


def patches_of(volume: Volume, plan: Plan) -> Array:
    """Up to four windows of a scan as the network sees them: (n, *patch, channel) float32."""
    image = preprocess_case(volume, plan, pad=True).image
    windows = windows_of(image.shape[:-1], plan.patch_size, 0.5)
    return np.stack([image[window] for window in windows[:4]])


def answers_without_library(exported: Path, patches: Array) -> Array:
    """Logits of an exported network, in a process that cannot import this library, nor see a GPU.

    Raises:
        InputError: with what the process printed, if it failed.
    """
    processor = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}  # a GPU may round products to TF32
    with tempfile.TemporaryDirectory() as folder:
        given, answers = Path(folder) / "patches.npy", Path(folder) / "answers.npy"
        np.save(given, patches)
        command = [sys.executable, "-I", "-c", _ELSEWHERE, *map(str, (exported, given, answers))]
        done = subprocess.run(command, env=processor, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"{exported}: gives no answers.\n{done.stderr}")
        return np.asarray(np.load(answers))


def answers_of_run(run: Path, patches: Array) -> Array:
    """Logits of the network that was exported, in this process and on the processor as well."""
    import tensorflow as tf

    from nnunet_lib.course.lessons.unet import CPU

    with tf.device(CPU):  # the weights, too: a compiled graph reads them from its own device
        network, _ = load_network(run)
        return network(patches)


def read_metadata(exported: Path) -> dict[str, Any]:
    """What an export says about the way from a scan to a patch."""
    text = (exported / "assets" / "metadata.json").read_text(encoding="utf-8")
    value: dict[str, Any] = json.loads(text)
    return value


def normalisation_error(volume: Volume, plan: Plan, metadata: Mapping[str, Any]) -> float:
    """Largest difference between the library's normalised scan and NumPy's, made by the metadata.

    The scan keeps its spacing, so that nothing is resampled. Infinite if the metadata does not say
    how to normalise each channel.
    """
    spacing = tuple(volume.spacing[axis] for axis in plan.axis_order)
    expected = preprocess_case(volume, replace(plan, target_spacing=spacing)).image
    schemes = metadata["plan"]["normalisation"]
    if len(schemes) != expected.shape[-1]:
        return math.inf
    mask = ndimage.binary_fill_holes(volume.array.any(axis=-1))  # (z, y, x)
    box = ndimage.find_objects(mask.astype(int))[0]
    channels = [
        _normalised(volume.array[box][..., channel].astype(np.float64), mask[box], scheme)
        for channel, scheme in enumerate(schemes)
    ]
    image = np.stack(channels, axis=-1).transpose(*metadata["plan"]["axis_order"], 3)
    return float(np.abs(image - expected).max())


def _normalised(channel: Array, mask: Array, scheme: Mapping[str, Any]) -> Array:
    """One channel (z, y, x), as docs/export.md says."""
    if scheme["scheme"] == "ct":
        clipped = np.clip(channel, scheme["lower"], scheme["upper"])
        return np.asarray((clipped - scheme["mean"]) / scheme["standard_deviation"])
    inside = channel[mask] if scheme["inside_mask"] else channel
    result = (channel - inside.mean()) / inside.std()
    return np.where(mask, result, 0) if scheme["inside_mask"] else np.asarray(result)


# 6. The script

_WATCHER = """
import json, os, runpy, sys

forbidden, (script, *arguments) = json.loads(sys.argv[2]), sys.argv[3:]
log = open(sys.argv[1], "w", encoding="utf-8")

def watch(event, details):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(details[0], str | bytes):
        path = os.path.realpath(os.fsdecode(details[0]))
        if any(path == one or path.startswith(one + os.sep) for one in forbidden):
            print(path, file=log, flush=True)
            raise PermissionError(path)

sys.addaudithook(watch)
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
"""


@dataclass(frozen=True)
class ScriptRun:
    """What a script did.

    Attributes:
        said: what it printed.
        touched: files and folders of the training that it tried to open, which it could not.
    """

    said: str
    touched: tuple[str, ...]


def run_elsewhere(
    script: Path,
    runs: Sequence[Path],
    scans: Path,
    output: Path,
    *,
    forbidden: Sequence[Path],
    hidden: Sequence[Path] = (),
) -> ScriptRun:
    """Run a prediction script in another place, with nothing but copies of runs and scans.

    Args:
        script: called with the runs, the folder of scans, and a folder to write.
        runs: copied, each with all that it holds.
        scans: copied.
        output: gets what the script has written.
        forbidden: folders in which the script can open nothing; each attempt is noted.
        hidden: folders that carry another name meanwhile, so that no program finds them.

    Raises:
        InputError: with what the script printed, if it failed for another reason.
    """
    with tempfile.TemporaryDirectory() as name:
        away = Path(name)
        shutil.copy(script, away)
        shutil.copytree(scans, away / "scans")
        copies = [f"run_{number}" for number in range(len(runs))]
        for run, copy in zip(runs, copies, strict=True):
            shutil.copytree(run, away / copy)
        places = json.dumps([str(folder.resolve()) for folder in forbidden])
        command = [sys.executable, "-c", _WATCHER, "touched.txt", places]
        command += [script.name, *copies, "scans", "output"]
        with _out_of_sight(hidden):
            done = subprocess.run(command, cwd=away, capture_output=True, text=True, check=False)
        touched = tuple((away / "touched.txt").read_text(encoding="utf-8").splitlines())
        if done.returncode and not touched:
            raise InputError(f"{script}: failed.\n{done.stderr}")
        if (away / "output").is_dir():
            shutil.copytree(away / "output", output)
    return ScriptRun(done.stdout, touched)


@contextmanager
def _out_of_sight(folders: Sequence[Path]) -> Iterator[None]:
    """Rename folders, and name them back afterwards."""
    places = [folder.with_name(f".hidden-{folder.name}") for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        folder.rename(place)
    try:
        yield
    finally:
        for folder, place in zip(folders, places, strict=True):
            place.rename(folder)


def share_that_differs(one: Path, other: Path, cases: Iterable[Case]) -> float:
    """The share of voxels with different labels in two folders, of the worst case.

    Infinite if a folder lacks a case.
    """
    worst = 0.0
    for case in cases:
        paths = [folder / f"{case.identifier}.nii.gz" for folder in (one, other)]
        if not all(path.is_file() for path in paths):
            return math.inf
        first, second = map(_voxels, paths)
        worst = max(worst, float((first != second).mean()))
    return worst
