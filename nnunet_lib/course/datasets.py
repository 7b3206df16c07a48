"""The data and the folders of a lesson, whatever folder its kernel was started in."""

import hashlib
import inspect
import json
import os
import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import nnunet_lib
from nnunet_lib.course.profiles import Profile
from nnunet_lib.datasets import Dataset, make_phantom, require_valid
from nnunet_lib.errors import InputError

PHANTOM = "phantom"
WORK_VARIABLE = "NNUNET_COURSE_WORK"


def resolve_dataset(name: str, profile: Profile, seed: int = 0) -> Dataset:
    """The dataset that DATASET names, with at most `profile.cases` training cases.

    Args:
        name: "phantom", which is generated once and kept; or the path of a folder in MSD
            layout; or the name of such a folder inside the checkout's data/.
        profile: says how many cases a lesson may use.
        seed: chooses the phantom, and which cases are used of a larger dataset.

    Raises:
        InputError: if there is no such dataset, or if it is not valid.
    """
    root = _phantom(profile.phantom_cases, seed) if name == PHANTOM else find_dataset(name)
    dataset = Dataset.open(root)
    chosen = random.Random(seed).sample(dataset.training, min(profile.cases, len(dataset.training)))
    ordered = tuple(sorted(chosen, key=lambda case: case.identifier))
    limited = replace(dataset, training=ordered, test=())
    require_valid(limited)
    return limited


def work_folder() -> Path:
    """Where lessons keep what they make: the checkout's build/lessons, or a cache folder.

    The environment variable NNUNET_COURSE_WORK names another place.
    """
    if WORK_VARIABLE in os.environ:
        return Path(os.environ[WORK_VARIABLE]).expanduser().resolve()
    checkout = _checkout()
    if checkout is not None:
        return checkout / "build" / "lessons"
    return Path.home() / ".cache" / "nnunet-course"


def fresh_folder(name: str) -> Path:
    """An empty folder of that name in the work folder; what an earlier run left is removed."""
    folder = work_folder() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _checkout() -> Path | None:
    """The folder of the checkout that the library was imported from, if it was from one."""
    parent = Path(nnunet_lib.__file__).resolve().parents[1]
    return parent if (parent / "notebooks").is_dir() else None


def find_dataset(name: str) -> Path:
    """The folder of a dataset given by path, or by its name inside the checkout's data/.

    Raises:
        InputError: if there is none.
    """
    checkout = _checkout()
    places = [Path(name).expanduser()]
    places += [checkout / "data" / name] if checkout is not None else []
    for place in places:
        if (place / "dataset.json").is_file():
            return place.resolve()
    looked = " and ".join(str(place.absolute()) for place in places)
    raise InputError(
        f"DATASET is {name!r}, but there is no dataset.json in {looked}. Give {PHANTOM!r}, or "
        "the path of a folder in MSD layout."
    )


def _phantom(cases: int, seed: int) -> Path:
    """The phantom dataset, made once and kept by the hash of everything that shapes it."""
    source = Path(inspect.getfile(make_phantom)).read_text(encoding="utf-8")
    ingredients = json.dumps([cases, seed, source])
    key = hashlib.sha256(ingredients.encode()).hexdigest()[:12]
    folder = work_folder() / f"phantom-{key}"
    if not (folder / "dataset.json").is_file():
        _make_whole(folder, cases, seed)
    return folder


def _make_whole(folder: Path, cases: int, seed: int) -> None:
    """Generate next to the final place and rename, so that half a dataset is never kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        make_phantom(made, cases=cases, seed=seed)
        try:
            made.rename(folder)
        except OSError:
            if not (folder / "dataset.json").is_file():  # else another process was first
                raise
