"""The library's own files, as this process found them when it began to load what lessons use."""

import os
from pathlib import Path

import nnunet_lib
from nnunet_lib.errors import InputError

_ABOVE_TRAINING = {"course", "cli", "deployment", "__main__.py"}


def stages(root: Path) -> list[Path]:
    """The source of every stage up to training, in the library's folder."""
    parts = (path for path in root.iterdir() if path.name not in _ABOVE_TRAINING)
    files = (file for part in parts for file in (part.rglob("*.py") if part.is_dir() else [part]))
    return sorted(file for file in files if file.suffix == ".py" and file.is_file())


def library() -> Path:
    """The folder that the library was imported from."""
    return Path(nnunet_lib.__file__).parent


def python_path() -> str:
    """PYTHONPATH for a process that is to import this very library, and not another checkout's."""
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(library().resolve().parent), *filter(None, [inherited])])


def _times() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in stages(library())}


_AT_LOADING = _times()


def require_unchanged() -> None:
    """Make sure that the files are still those which this process has loaded.

    Raises:
        InputError: if one was changed, added or removed.
    """
    if _times() != _AT_LOADING:
        raise InputError(
            f"{library()}: the library has changed since this kernel loaded it, so what it trains "
            "would pass for the new code's work. Restart the kernel."
        )
