"""From a folder of loose NIfTI files, as a hospital hands them over, to MSD layout.

Taught in lesson 11.
"""

import gzip
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunet_lib.datasets.dataset import Dataset, check_description, ends_like_a_channel
from nnunet_lib.datasets.findings import Finding, FindingError
from nnunet_lib.datasets.nifti import ENDINGS, stem
from nnunet_lib.datasets.validation import grid_findings, read_headers, validate
from nnunet_lib.errors import InputError
from nnunet_lib.files import filling, is_free, require_writable_folder, write_json

_COMPRESSED = ".nii.gz"

CaseFiles = dict[str, dict[str, Path]]
"""For each case, by identifier, its files by suffix."""


def convert(
    source: Path | str,
    output: Path | str,
    *,
    channels: Mapping[str, str],
    label_suffix: str,
    labels: Sequence[str],
    name: str = "",
    progress: bool = False,
) -> Dataset:
    """Copy loose files into a dataset in MSD layout, and open it.

    The case `patient_07` is the files `patient_07<suffix>.nii.gz` (or `.nii`), one for each channel
    and one for the label map. Hidden files and subfolders are passed over. Files are copied as
    they are, and the copies are read by `validate`. The dataset appears when it is complete and
    sound; until then nothing is there.

    Args:
        source: the folder of loose files.
        output: a folder that does not exist or is empty.
        channels: for each image channel, by name, the suffix of its files: {"T1w": "_t1"}.
        label_suffix: the suffix of label maps, such as "_mask".
        labels: names of the label values 1, 2, ...; 0 is the background.
        name: of the dataset; that of the folder `source` if empty.
        progress: whether to show how many cases are read.

    Raises:
        InputError: if `output` holds something or cannot be written, or suffixes are not told
            apart. Or one report of all files that fit no suffix, cases that lack a file or have
            it twice, headers that cannot be read, and files of one case that are not on one grid.
            Or, where there are none of these, one of all that `validate` finds.
    """
    source, output = Path(source), Path(output)
    suffixes, title = (*channels.values(), label_suffix), name or source.resolve().name
    _require_clear(suffixes, labels, output)
    _require_sound(_description(title, channels, labels, ()))
    cases, findings = _sort_files(source, suffixes)
    for case, files in cases.items():
        findings += _missing(source, case, files, suffixes)
        headers, unreadable = read_headers(files[suffix] for suffix in suffixes if suffix in files)
        findings += [*unreadable, *grid_findings(headers, files.get(label_suffix))]
    _refuse(source, findings)
    with filling(output, last="dataset.json") as folder:
        copies: dict[Path, Path] = {}
        for case, files in cases.items():
            copies |= _copy_case(case, [files[suffix] for suffix in suffixes], folder)
        write_json(folder / "dataset.json", _description(title, channels, labels, cases))
        found = validate(Dataset.open(folder), progress=progress)
        _refuse(source, [replace(one, path=copies.get(one.path, one.path)) for one in found])
    return Dataset.open(output)


def _require_clear(suffixes: Sequence[str], labels: Sequence[str], output: Path) -> None:
    """Refuse what can be seen before any file is looked at."""
    if len(suffixes) < 2 or not suffixes[-1] or len(set(suffixes)) < len(suffixes):
        given = ", ".join(map(repr, suffixes))
        raise InputError(
            f"The suffixes are {given}. Give each channel and the label map one of its own, "
            "such as '_t1' and '_mask'."
        )
    if not labels:
        raise InputError("There is no label beside the background. Name at least one.")
    if not is_free(output):
        raise InputError(f"{output}: is there already. Name a folder that does not exist.")
    require_writable_folder(output)


def _require_sound(description: dict[str, Any]) -> None:
    """Refuse names of channels and labels that `Dataset.open` would; no file holds them yet."""
    try:
        check_description(Path("dataset.json"), description)
    except FindingError as error:
        wrong = error.finding
        raise InputError(f"The dataset.json to write {wrong.problem}. {wrong.remedy}.") from None


def _sort_files(source: Path, suffixes: Sequence[str]) -> tuple[CaseFiles, list[Finding]]:
    """The files by case and suffix, in order, and those that belong nowhere."""
    if not source.is_dir():
        raise FindingError(source, "is not a folder", "Name the folder that holds the files")
    cases: CaseFiles = {}
    findings = []
    for path in sorted(source.iterdir()):
        if path.name.startswith(".") or path.is_dir():  # a broken link is told
            continue
        case, suffix = _split(path, suffixes)
        if not case:
            remedy = f"Name it <case><suffix>, with one of {_named(suffixes)}, or move it away"
            findings.append(Finding(path, "belongs to no case", remedy))
        elif suffix in cases.setdefault(case, {}):
            other = cases[case][suffix].name
            findings.append(Finding(path, f"is there as {other} too", "Keep one of them"))
        else:
            cases[case][suffix] = path
    if not cases:
        remedy = "Check the suffixes, which go without .nii.gz; sub-folders are not searched"
        raise FindingError(source, "holds no file of any case", remedy)
    return cases, findings


def _named(suffixes: Sequence[str]) -> str:
    return ", ".join(suffix or "no suffix" for suffix in suffixes)


def _split(path: Path, suffixes: Sequence[str]) -> tuple[str, str]:
    """The case and the suffix of a file, the longest that fits; no case if none does."""
    if path.name.endswith(ENDINGS):
        for suffix in sorted(suffixes, key=len, reverse=True):
            if stem(path).endswith(suffix):
                return stem(path).removesuffix(suffix), suffix
    return "", ""


def _missing(
    source: Path, case: str, files: Mapping[str, Path], suffixes: Sequence[str]
) -> Iterator[Finding]:
    """The files that a case lacks; the last suffix is the label map's."""
    for suffix in suffixes:
        if suffix in files:
            continue
        problem, remedy = "is missing: the case has no such image", "Add it"
        if suffix == suffixes[-1]:
            problem, remedy = "is missing: the image has no label map", "Draw it"
        wanted = source / f"{case}{suffix}{_COMPRESSED}"
        yield Finding(wanted, problem, f"{remedy}, or remove the other files of {case}")


def _copy_case(case: str, files: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Images and, last, the label map; channels are numbered as nnU-Net does.

    One channel alone needs no number, unless the case's own would be taken for it.

    Returns:
        The file that each copy was made of.
    """
    *images, label = files
    unnumbered = len(images) == 1 and not ends_like_a_channel(case)
    numbers = [""] if unnumbered else [f"_{number:04d}" for number in range(len(images))]
    copies = {folder / "labelsTr" / f"{case}{_COMPRESSED}": label}
    for image, number in zip(images, numbers, strict=True):
        copies[folder / "imagesTr" / f"{case}{number}{_COMPRESSED}"] = image
    for target, path in copies.items():
        _copy(path, target)
    return copies


def _copy(path: Path, target: Path) -> None:
    """Copy a NIfTI file; one that is not compressed becomes so, with the same bytes each time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(_COMPRESSED):
        shutil.copyfile(path, target)
    else:
        target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def _description(
    name: str, channels: Iterable[str], labels: Sequence[str], cases: Iterable[str]
) -> dict[str, Any]:
    """dataset.json as MSD writes it; a case of several files is listed by their common name."""
    training = [
        {"image": f"./imagesTr/{case}{_COMPRESSED}", "label": f"./labelsTr/{case}{_COMPRESSED}"}
        for case in cases
    ]
    return {
        "name": name,
        "modality": {str(number): channel for number, channel in enumerate(channels)},
        "labels": {str(value): label for value, label in enumerate(("background", *labels))},
        "numTraining": len(training),
        "training": training,
        "test": [],
    }


def _refuse(source: Path, findings: Sequence[Finding]) -> None:
    """Raise one error that holds all findings, if there are any."""
    if findings:
        lines = "\n".join(f"  - {finding}" for finding in findings)
        raise InputError(f"{source}: cannot be converted. Nothing was written.\n{lines}")
