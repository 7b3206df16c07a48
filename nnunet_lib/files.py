"""Files appear whole or not at all: write to a temporary neighbour, then rename."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunet_lib.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path` when the block ends well.

    The temporary file lies in the same folder, so that the rename is atomic, and keeps the
    file name's endings, because nibabel and NumPy choose the format by them.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            os.replace(temporary, path)


@contextmanager
def filling(folder: Path, last: str) -> Iterator[Path]:
    """`replacing` for a folder, which may be there if it is empty, such as one that is mounted.

    That one is filled when the block ends well, with the entry `last` at the end.
    """
    if not folder.exists():
        with replacing(folder) as temporary:
            yield temporary
        return
    with _naming(folder), tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as inside:
        temporary = Path(inside) / folder.name
        yield temporary
        for entry in sorted(temporary.iterdir(), key=lambda entry: entry.name == last):
            os.replace(entry, folder / entry.name)


def is_free(path: Path) -> bool:
    """Whether there is nothing, or a folder with nothing in it but what is hidden."""
    if path.is_dir():
        return all(entry.name.startswith(".") for entry in path.iterdir())
    return not path.exists()


def require_writable(path: Path) -> None:
    """Make sure that a file can be written there, before work is done for it.

    Raises:
        InputError: if it cannot.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder. Name a file.")
    if path.name == "dataset.json":
        raise InputError(f"{path}: is what describes a dataset. Name another file.")
    require_writable_folder(path.absolute().parent, path)


def require_writable_folder(folder: Path, path: Path | None = None) -> None:
    """Make sure that a folder can be made or written into, before work is done for it.

    `path` is what the error names, if not the folder.

    Raises:
        InputError: if it cannot.
    """
    path = path or folder
    absolute = folder.absolute()
    place = next(one for one in (absolute, *absolute.parents) if one.exists())
    if not place.is_dir():
        raise InputError(f"{path}: cannot be written, because {place} is no folder.")
    if not os.access(place, os.W_OK):
        raise InputError(f"{path}: cannot be written, because {place} is read-only for you.")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error of writing, such as a full disk, say what was to be written."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: if the file is missing, unreadable, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: is not valid JSON (line {error.lineno}: {error.msg}). Mend it there."
        ) from None
    except (RecursionError, ValueError) as error:  # nested too deeply, a number of 5000 digits
        raise InputError(f"{path}: is JSON that cannot be read ({error}).") from None


def digest(value: Any) -> str:
    """A hash of JSON values: equal ones have equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def as_tuples(value: Any) -> Any:
    """JSON's lists as tuples, at every depth, so that what is read equals what was written."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value
