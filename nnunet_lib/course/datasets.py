"""The data of a lesson, whatever folder its kernel was started in."""

import glob
import inspect
import operator
import os
import platform
import random
import shutil
from dataclasses import replace
from pathlib import Path

import psutil

from nnunet_lib.course.keeping import at_home, checkout, kept, make_folder, work_folder
from nnunet_lib.course.profiles import Profile
from nnunet_lib.datasets import Dataset, make_phantom, require_valid, write_volume
from nnunet_lib.errors import InputError

PHANTOM = "phantom"


def resolve_dataset(name: Path | str, profile: Profile, seed: int = 0) -> Dataset:
    """The dataset that DATASET names, with at most `profile.cases` training cases.

    Args:
        name: "phantom", which is generated once and kept; or the path of a folder in MSD
            layout; or the name of such a folder inside the checkout's data/.
        profile: says how many cases a lesson may use.
        seed: chooses the phantom, and which cases are used of a larger dataset.

    Raises:
        InputError: if there is no such dataset, if it is not valid, or if a parameter is of
            another kind.
    """
    if not isinstance(name, str | Path):
        raise InputError(
            f"DATASET is {name!r}: must be text, in quotes. In papermill: -r DATASET {name}."
        )
    seed = _whole(seed)
    root = _phantom(profile.phantom_cases, seed) if name == PHANTOM else find_dataset(name)
    dataset = Dataset.open(root)
    chosen = random.Random(seed).sample(dataset.training, min(profile.cases, len(dataset.training)))
    ordered = tuple(sorted(chosen, key=lambda case: case.identifier))
    limited = replace(dataset, training=ordered, test=())
    require_valid(limited)
    return limited


def _whole(seed: int) -> int:
    """The seed, also NumPy's, as Python's own whole number."""
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if number < 0:
        raise InputError(f"SEED is {seed!r}: must be a whole number of at least 0.")
    return number


def fresh_folder(name: str) -> Path:
    """An empty folder for this process in the work folder; what ended runs left is removed.

    Its name ends in the machine's name and the process's number, so that several kernels may run
    one lesson at once.
    """
    name = f"{name}-{platform.node()}"
    for left in work_folder().glob(f"{glob.escape(name)}-*"):
        owner = left.name.removeprefix(f"{name}-")
        if owner.isdecimal() and (int(owner) == os.getpid() or not psutil.pid_exists(int(owner))):
            shutil.rmtree(left, ignore_errors=True)
    return make_folder(work_folder() / f"{name}-{os.getpid()}")


def cleared(folder: Path) -> Path:
    """The same path, without what an earlier run of the cell left there."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def find_dataset(name: Path | str) -> Path:
    """The folder of a dataset given by path, or by its name inside the checkout's data/.

    Raises:
        InputError: if there is none.
    """
    home = checkout()
    places = [at_home(name)]
    places += [home / "data" / name] if home is not None else []
    for place in places:
        if (place / "dataset.json").is_file():
            return place.resolve()
    looked = " and ".join(str(place.absolute()) for place in places)
    raise InputError(
        f"DATASET is {name!r}, but there is no dataset.json in {looked}. Give {PHANTOM!r}, or "
        "the path of a folder in MSD layout."
    )


def _phantom(cases: int, seed: int) -> Path:
    """The phantom dataset, made once and kept by the hash of what draws and what writes it."""
    parts = (make_phantom, write_volume)
    source = [Path(inspect.getfile(part)).read_text(encoding="utf-8") for part in parts]
    return kept(
        "phantom",
        [cases, seed, source],
        lambda folder: make_phantom(folder, cases=cases, seed=seed),
    )
