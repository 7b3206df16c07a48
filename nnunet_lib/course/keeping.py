"""What lessons make once and keep, by the hash of everything that went into it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nnunet_lib
from nnunet_lib.errors import InputError
from nnunet_lib.files import digest

WORK_VARIABLE = "NNUNET_COURSE_WORK"


def work_folder() -> Path:
    """Where lessons keep what they make: the checkout's build/lessons, or a cache folder.

    The environment variable NNUNET_COURSE_WORK names another place.
    """
    if WORK_VARIABLE in os.environ:
        return at_home(os.environ[WORK_VARIABLE]).resolve()
    place = checkout()
    if place is not None:
        return place / "build" / "lessons"
    return Path.home() / ".cache" / "nnunet-course"


def at_home(name: Path | str) -> Path:
    """A path, with `~` as the home folder.

    Raises:
        InputError: if it begins with another's, whom this machine does not know.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise InputError(f"{name}: there is no such user here. Give the whole path.") from None


def make_folder(folder: Path, exist_ok: bool = False) -> Path:
    """Make a folder in the work folder.

    Raises:
        InputError: if it cannot be made, or is there and may not be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}). Let the environment variable "
            f"{WORK_VARIABLE} name a folder that you may write to, before Jupyter is started."
        ) from None
    return folder


def checkout() -> Path | None:
    """The folder of the checkout that the library was imported from, if it was from one."""
    parent = Path(nnunet_lib.__file__).resolve().parents[1]
    return parent if (parent / "notebooks").is_dir() else None


def kept(name: str, ingredients: Any, make: Callable[[Path], object]) -> Path:
    """The folder `<name>-<hash of the ingredients>` in the work folder; made if it is not there.

    It is made under another name and then renamed, so that a folder of this name is always
    whole. Two kernels that make it at once both do the work, and the first one's is kept.

    Args:
        name: what it is, in a word.
        ingredients: JSON values, on which the content depends and on nothing else.
        make: fills the folder that it is given, which does not exist yet.
    """
    folder = work_folder() / f"{name}-{digest(ingredients)[:12]}"
    if folder.is_dir():
        return folder
    make_folder(folder.parent, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        make(made)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise
    return folder
