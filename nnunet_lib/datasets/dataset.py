"""A dataset on disk: a folder with a dataset.json, images and labels.

Two dialects are read: that of the Medical Segmentation Decathlon (MSD), which lists every
file, and that of nnU-Net version 2, which finds files by their folder and name. Taught in
lesson 01.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_lib.datasets.findings import FindingError
from nnunet_lib.datasets.nifti import ENDINGS, file_ending, stem
from nnunet_lib.files import read_json

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
# Names that have a meaning for nnU-Net which nothing here gives them.
_OTHER_NORMALISATIONS = ("nonorm", "rescale_to_0_1", "rgb_to_0_1")
_IGNORE = "ignore"


@dataclass(frozen=True)
class Case:
    """One scan.

    Attributes:
        identifier: the file name without ending and channel number.
        images: one 3D or 4D file (MSD), or one 3D file a channel in order (nnU-Net).
        label: the label map, None for a scan without one.
    """

    identifier: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """What dataset.json says, and where the files are. No image is opened for it.

    Attributes:
        name: the dataset's name.
        root: the folder that holds dataset.json.
        channels: name of each image channel, such as ("MRI",).
        labels: name of each label value; labels[0] is the background.
        training: cases with a label.
        test: cases without one.
        file_ending: `.nii.gz` or `.nii`.
    """

    name: str
    root: Path
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    training: tuple[Case, ...]
    test: tuple[Case, ...]
    file_ending: str

    @classmethod
    def open(cls, root: Path | str) -> "Dataset":
        """Read `root`/dataset.json, in MSD's or nnU-Net's dialect.

        Raises:
            InputError: if it is missing, is no valid dataset.json, lists a case twice, or names
                a file outside `root`. Whether the files are in order, `validate` says.
        """
        root = Path(root)
        source = root / "dataset.json"
        value = read_json(source)
        channels, labels = check_description(source, value)
        training, test = _cases(source, value, len(channels))
        _refuse_duplicates(source, training, test)
        name = str(value.get("name") or root.resolve().name)
        ending = _ending(value, training)
        return cls(name, root, channels, labels, training, test, ending)


def check_description(source: Path, value: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The channels and labels that a dataset.json's `value` names, if it is one that is read.

    Raises:
        InputError: if it is none.
    """
    if not isinstance(value, dict):
        raise FindingError(source, "is not a JSON object", "Write it as MSD does")
    _require_nifti(source, value)
    return _channels(source, value), _labels(source, value)


def find_images(folder: Path | str, number_of_channels: int) -> tuple[Case, ...]:
    """The scans in a folder, without labels, ordered by identifier.

    A scan is one file `<case>.nii.gz`, or the files `<case>_0000.nii.gz`, `<case>_0001.nii.gz`,
    ..., one a channel; `.nii` likewise. A missing channel's file is listed too, so that
    reading or validating the case names it. Hidden files are passed over. `folder` may also be
    one image file: then its case alone is returned.

    Raises:
        InputError: if there is no such folder, no image in it, one case twice, or a channel's
            file beside which the channel before it is missing.
    """
    folder = Path(folder)
    if folder.is_file():
        if folder.name.startswith("."):
            raise FindingError(folder, "is a hidden file", "Rename it")
        return (_case_of(folder, number_of_channels),)
    if folder.name.endswith(ENDINGS) and not folder.exists():
        raise FindingError(folder, "does not exist", "Check the name")
    if not folder.is_dir():
        raise FindingError(folder, "is not a folder", "Name the folder that holds the images")
    cases = _group(folder, number_of_channels)
    if not cases:
        raise FindingError(folder, "holds no .nii or .nii.gz file", "Put the images there")
    _refuse_duplicates(folder, cases)
    return cases


def _group(folder: Path, number_of_channels: int) -> tuple[Case, ...]:
    """The cases in a folder, each with its files."""
    files = [path for path in folder.iterdir() if path.name.endswith(ENDINGS)]
    # A broken link stays, so that reading it says what is wrong.
    visible = sorted(path for path in files if not path.name.startswith(".") and not path.is_dir())
    cases = (_case_of(path, number_of_channels) for path in visible)
    return tuple(sorted(set(cases), key=lambda case: case.identifier))


def _case_of(path: Path, number_of_channels: int) -> Case:
    """The case that a file belongs to; `name_0001` is a channel only beside `name_0000`."""
    match = _CHANNEL.fullmatch(stem(path))
    if match is None:
        return Case(stem(path), (path,))
    files = channel_files(path.parent, match["case"], file_ending(path), number_of_channels)
    if not files[0].is_file():
        return Case(stem(path), (path,))
    if path not in files:  # it would be left out without a word
        problem = f"is named as a channel of {match['case']}, but the one before it is missing"
        missing = f"{match['case']}_{len(files):04d}{file_ending(path)}"
        name = unlike_a_channel(path, number_of_channels)
        raise FindingError(path, problem, f"Add {missing}; or name a scan of its own {name}")
    return Case(match["case"], files)


def ends_like_a_channel(identifier: str) -> bool:
    """Whether a file of that name may be taken for a channel of another case: `scan_0001`."""
    return _CHANNEL.fullmatch(identifier) is not None


def unlike_a_channel(image: Path, number_of_channels: int) -> str:
    """How to name a scan of its own whose name ends like a channel's."""
    if number_of_channels > 1:
        return "otherwise: a name that ends in _ and four digits is one channel's"
    return f"{stem(image)}_0000{file_ending(image)}"


def channel_files(folder: Path, identifier: str, ending: str, number: int) -> tuple[Path, ...]:
    """The first `number` channels' files `<identifier>_0000`, ..., and more if there are more."""

    def file(channel: int) -> Path:
        return folder / f"{identifier}_{channel:04d}{ending}"

    while file(number).is_file():
        number += 1
    return tuple(file(channel) for channel in range(number))


def _channels(source: Path, value: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the channels: `modality` (MSD) or `channel_names` (nnU-Net)."""
    key = "channel_names" if "channel_names" in value else "modality"
    names = value.get(key)
    if not isinstance(names, dict) or not names:
        problem = "names no image channels"
        raise FindingError(source, problem, 'Add "modality", such as {"0": "MRI"}')
    for name in names.values():
        if str(name).casefold() in _OTHER_NORMALISATIONS:
            problem = f'asks with the channel name "{name}" for a normalisation that is not there'
            remedy = "Rename it: CT is normalised by the dataset, any other name by the case"
            raise FindingError(source, problem, remedy)
    return _consecutive(source, key, {_number(number): name for number, name in names.items()})


def _labels(source: Path, value: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the label values: {"0": name} (MSD) or {name: 0} (nnU-Net)."""
    labels = value.get("labels")
    if not isinstance(labels, dict) or len(labels) < 2:
        remedy = 'Add "labels", such as {"0": "background", "1": "organ"}'
        raise FindingError(source, "names no labels beside the background", remedy)
    if any(isinstance(item, list) for item in labels.values()):
        remedy = "Give every voxel one label, and list the labels instead"
        raise FindingError(source, "has regions (lists of labels), which are not read", remedy)
    if _IGNORE in labels or _IGNORE in labels.values():
        remedy = "Label every voxel, or leave the case out"
        raise FindingError(source, 'has the label "ignore", which is not read', remedy)
    inverted = not all(_number(key) is not None for key in labels)
    pairs = ((item, key) if inverted else (key, item) for key, item in labels.items())
    numbered = [(_number(number), name) for number, name in pairs]
    if len(dict(numbered)) < len(numbered):
        raise FindingError(source, "gives two labels one value", "Number the labels 0, 1, 2, ...")
    names = _consecutive(source, "labels", dict(numbered))
    if "" in names or len(set(names)) < len(names):
        problem = f"names the labels {', '.join(map(repr, names))}"
        raise FindingError(source, problem, "Give each a name of its own")
    for number, name in enumerate(names[1:], start=1):
        if name.strip().casefold() == "background":
            problem = f'gives the label "{name}" the value {number}, but 0 is the background'
            remedy = "Number the background 0 and the others 1, 2, ..., here and in the files"
            raise FindingError(source, problem, remedy)
    return names


def _number(value: Any) -> int | None:
    """A whole number, also where JSON has it as a string; None for anything else."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _consecutive(source: Path, key: str, names: Mapping[int | None, Any]) -> tuple[str, ...]:
    """The names in the order of their numbers, which have to be 0, 1, 2, ..."""
    if set(names) != set(range(len(names))):
        found = ", ".join("?" if number is None else str(number) for number in names)
        problem = f'numbers its "{key}" {found}, not 0 to {len(names) - 1} without gaps'
        raise FindingError(source, problem, "Number them 0, 1, 2, ... here and in the files")
    return tuple(str(names[number]) for number in range(len(names)))


def _cases(
    source: Path, value: Mapping[str, Any], number_of_channels: int
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Training and test cases: as listed (MSD), or by convention (nnU-Net)."""
    if "training" in value:
        return (
            _listed(source, value, "training", number_of_channels),
            _listed(source, value, "test", number_of_channels),
        )
    root = source.parent
    if not (root / "imagesTr").is_dir():
        remedy = 'List the cases under "training", or put them in imagesTr and labelsTr'
        raise FindingError(source, "lists no training cases, and there is no imagesTr", remedy)
    training = tuple(
        Case(case.identifier, case.images, _label_of(case, root / "labelsTr"))
        for case in _group(root / "imagesTr", number_of_channels)
    )
    expected = _number(value.get("numTraining"))
    if expected is not None and expected != len(training):
        problem = f"has numTraining {expected}, but imagesTr holds {len(training)} cases"
        raise FindingError(source, problem, "Add the missing files or correct numTraining")
    test = root / "imagesTs"
    return training, _group(test, number_of_channels) if test.is_dir() else ()


def _label_of(case: Case, folder: Path) -> Path:
    return folder / f"{case.identifier}{file_ending(case.images[0])}"


def _listed(
    source: Path, value: Mapping[str, Any], key: str, number_of_channels: int
) -> tuple[Case, ...]:
    """The cases under "training" or "test"."""
    entries = value.get(key, [])
    if not isinstance(entries, list):
        raise FindingError(source, f'"{key}" is not a list', "List one entry a case")
    return tuple(_entry(source, key, entry, number_of_channels) for entry in entries)


def _entry(source: Path, key: str, entry: Any, number_of_channels: int) -> Case:
    """One listed case: {"image": path, "label": path}, or for a test case the image's path."""
    fields = {"image": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        problem = f'lists under "{key}" {entry!r}, which names no image'
        raise FindingError(source, problem, 'Write {"image": "...", "label": "..."}')
    image = _inside(source, fields["image"])
    label = fields.get("label") if key == "training" else None
    if key == "training" and not isinstance(label, str):
        raise FindingError(source, f"lists {image.name} without a label", 'Add its "label"')
    images = _images(image, number_of_channels)
    return Case(stem(image), images, _inside(source, label) if label else None)


def _images(image: Path, number_of_channels: int) -> tuple[Path, ...]:
    """The listed file, or in its absence the files a channel that stand for it."""
    files = channel_files(image.parent, stem(image), file_ending(image), number_of_channels)
    return files if files[0].is_file() and not image.is_file() else (image,)


def _inside(source: Path, name: str) -> Path:
    """The path of a listed file, which may not lead out of the dataset's folder.

    The name is checked, not what links point to: data are often linked in from elsewhere.
    """
    relative = os.path.normpath(name)
    if os.path.isabs(relative) or relative.split(os.sep)[0] == "..":
        problem = f"names a file outside of its folder: {name}"
        raise FindingError(source, problem, "Move the file inside, and list it relative to here")
    path = source.parent / relative
    file_ending(path)
    return path


def _require_nifti(source: Path, value: Mapping[str, Any]) -> None:
    """Refuse other formats by name; looked for by their endings, no file would be found."""
    ending = value.get("file_ending", ENDINGS[0])
    if ending not in ENDINGS:
        problem = f'has the file_ending "{ending}"'
        raise FindingError(source, problem, f"Convert the files to {' or '.join(ENDINGS)}")


def _ending(value: Mapping[str, Any], training: Sequence[Case]) -> str:
    """`file_ending` if given, else that of the first image."""
    default = file_ending(training[0].images[0]) if training else ENDINGS[0]
    return str(value.get("file_ending", default))


def _refuse_duplicates(source: Path, *lists: Iterable[Case]) -> None:
    """No identifier twice in a list, no image file in two lists."""
    for cases in lists:
        _refuse_repeated(source, [case.identifier for case in cases])
    _refuse_repeated(
        source, [str(path) for cases in lists for case in cases for path in case.images]
    )


def _refuse_repeated(source: Path, names: Sequence[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        problem = f"has these more than once: {', '.join(repeated)}"
        raise FindingError(source, problem, "Keep one of each")
