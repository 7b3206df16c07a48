"""Fetch a task of the Medical Segmentation Decathlon: resumed, checked, unpacked safely.

`requests` speaks HTTP, proxies and certificates included. Of the libraries made for fetching
data none that is well kept resumes a cut download, so the Range header is ours.
"""

import hashlib
import shutil
import sys
import tarfile
import time
from pathlib import Path, PurePosixPath

import requests
from tqdm.auto import tqdm

from nnunet_lib.datasets.decathlon import DecathlonTask
from nnunet_lib.errors import InputError
from nnunet_lib.files import replacing

BASE_URL = "https://msd-for-monai.s3-us-west-2.amazonaws.com"
"""The public archive, which MONAI keeps; each task is `<base URL>/<name>.tar` there."""
ATTEMPTS = 5  # in a row that bring nothing new, before giving up
FIRST_PAUSE = 1.0  # seconds before the second attempt; doubled before each further one
TIMEOUT = (10.0, 60.0)  # seconds to connect, and to wait for the next bytes
CHUNK = 2**16  # bytes


def download_task(task: DecathlonTask, output: Path, base_url: str = BASE_URL) -> Path:
    """Fetch and unpack one task into `output`; return the dataset's folder.

    A dataset that is there is left alone. `<name>.tar.part` is what has come so far: after a
    cut or Ctrl-C the next call continues it, if the server can. `<name>.tar`, checked, takes
    its place, and goes once the dataset is unpacked. A `<name>.tar` that somebody put there is
    checked and unpacked without a network. Proxies come from the environment.

    Args:
        task: an entry of `decathlon.TASKS`.
        output: the folder to hold the dataset's folder; made if missing.
        base_url: where the archives lie, for those who have a mirror.

    Raises:
        InputError: if the server has no such file or cannot be reached, the checksum is wrong,
            the disk is too small, or the archive holds anything but plain files inside it.
    """
    folder, archive = output / task.name, output / f"{task.name}.tar"
    if is_downloaded(folder):
        return folder
    _require_data_filter()
    if archive.is_file():
        _require_md5(archive, task.md5, "Delete it, and it is fetched anew")
    else:
        _fetch_checked(f"{base_url.rstrip('/')}/{archive.name}", archive, task.md5)
    unpack(archive, folder)
    archive.unlink()
    return folder


def is_downloaded(folder: Path) -> bool:
    """Whether a dataset is there. It appears by renaming, so what is there is whole.

    Raises:
        InputError: if there is something else of that name.
    """
    if folder.exists() and not (folder / "dataset.json").is_file():
        raise InputError(f"{folder}: is there, but holds no dataset.json. Move it out of the way.")
    return folder.exists()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the dataset `folder.name` of a tar archive as `folder`, whole or not at all.

    Raises:
        InputError: if the archive is damaged, holds no such dataset, or holds links, devices,
            or paths that lead out of it; or if the disk is too small.
    """
    try:
        with tarfile.open(archive, "r:") as tar, replacing(folder) as temporary:
            members = tar.getmembers()
            for member in members:
                _require_plain(archive, member)
            _require_space(folder.parent, sum(member.size for member in members))
            shown = tqdm(members, f"unpack {folder.name}", unit="file")
            tar.extractall(temporary.parent, members=shown, filter="data")
            if not (temporary / "dataset.json").is_file():
                raise InputError(
                    f"{archive}: holds no {folder.name}/dataset.json, so it is not that dataset. "
                    "Delete it, and fetch it from another place."
                )
    except tarfile.TarError as error:
        raise InputError(
            f"{archive}: cannot be unpacked ({error}). Delete it, and fetch it anew."
        ) from None


def _require_plain(archive: Path, member: tarfile.TarInfo) -> None:
    """Refuse what could reach outside the folder: the Decathlon has plain files and folders.

    Links are refused even where they stay inside: Python's `data` filter, the second line of
    defence, has let some lead out (CVE-2025-4517 and others).
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        problem = "a path that leads out of it"
    elif member.issym() or member.islnk():
        problem = "a link"
    elif not (member.isreg() or member.isdir()):
        problem = "a device or the like"
    else:
        return
    raise InputError(
        f"{archive}: holds {problem}, {member.name!r}, which no dataset needs. Nothing was "
        "unpacked. Delete it, and fetch it from a place that you trust."
    )


def _require_data_filter() -> None:
    if not hasattr(tarfile, "data_filter"):
        version = ".".join(map(str, sys.version_info[:3]))
        raise InputError(f"Python {version} cannot unpack safely. Use 3.11.4 or a later 3.11.")


def _fetch_checked(url: str, archive: Path, md5: str) -> None:
    """Fetch `archive`, which gets its name only once its checksum is right."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(f"{archive.name}.part")
    _fetch(url, part)
    try:
        _require_md5(part, md5, "It was removed. Run the same command again")
    except InputError:
        part.unlink()
        raise
    part.replace(archive)


def _require_md5(path: Path, md5: str, remedy: str) -> None:
    """MD5 guards against accidents, not against malice; it is what is published."""
    found = hashlib.md5(usedforsecurity=False)
    bar = tqdm(desc=f"check {path.name}", total=_size(path), unit="B", unit_scale=True)
    with path.open("rb") as file, bar:
        while chunk := file.read(2**20):
            found.update(chunk)
            bar.update(len(chunk))
    if found.hexdigest() != md5:
        raise InputError(
            f"{path}: is damaged or is not the published archive: its MD5 checksum is "
            f"{found.hexdigest()}, not {md5}. {remedy}."
        )


class _TryAgainError(Exception):
    """The server answered, but not with what was asked; it may next time."""


_TEMPORARY = {
    requests.exceptions.SSLError: "its certificate is not accepted",
    requests.exceptions.ProxyError: "the proxy does not connect",
    requests.exceptions.Timeout: f"no answer for {TIMEOUT[1]:g} s",
    requests.exceptions.ConnectionError: "no connection",
    requests.exceptions.ChunkedEncodingError: "the connection was cut",
}
"""What may pass, and how people call it; the special ones before the general ones."""
_RETRIED: tuple[type[Exception], ...] = (_TryAgainError, *_TEMPORARY)


def _fetch(url: str, part: Path) -> None:
    """Fetch until nothing is missing, taking up again what breaks off."""
    failures, furthest = 0, _size(part)
    while True:
        try:
            return _continue(url, part)
        except _RETRIED as error:
            # An attempt that got further than all before is no failure: large files need many.
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures == ATTEMPTS:
                raise InputError(_gave_up(url, part, error)) from None
            time.sleep(FIRST_PAUSE * 2 ** (failures - 1))
        except requests.RequestException as error:
            raise InputError(f"{url}: cannot be fetched ({error}). Check --base-url.") from None


def _gave_up(url: str, part: Path, error: Exception) -> str:
    reason = next((words for kind, words in _TEMPORARY.items() if isinstance(error, kind)), error)
    size = _size(part)
    rest = f": it continues with the {_bytes(size)} in {part}" if size else ""
    return (
        f"{url}: gave up after {ATTEMPTS} attempts ({reason}). Check the network, then run the "
        f"same command again{rest}."
    )


def _continue(url: str, part: Path) -> None:
    """Ask once for what `part` lacks, and append it as it comes."""
    offset = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        start = _first_byte(answer, part)
        if start is not None:
            _append(answer, part, start)


def _first_byte(answer: requests.Response, part: Path) -> int | None:
    """Where in the file the answer's bytes belong; None if the file is whole already."""
    offset, reach = _size(part), answer.headers.get("Content-Range", "")
    if answer.status_code == requests.codes.ok:
        return 0  # the server does not do ranges, and sends everything
    if answer.status_code == requests.codes.partial and reach.startswith(f"bytes {offset}-"):
        return offset
    if answer.status_code == requests.codes.requested_range_not_satisfiable:
        if reach == f"bytes */{offset}":
            return None
        part.unlink(missing_ok=True)  # longer than the file: it is of something else
    elif answer.status_code == requests.codes.partial:
        part.unlink(missing_ok=True)  # not the range that was asked for: start anew without one
    elif answer.status_code < 500 and answer.status_code != requests.codes.too_many_requests:
        raise InputError(
            f"{answer.url}: the server says {answer.status_code} {answer.reason}. "
            "Check --base-url; the archives may have moved."
        )
    raise _TryAgainError(f"the server says {answer.status_code} {answer.reason}")


def _append(answer: requests.Response, part: Path, start: int) -> None:
    """Write the answer's bytes into `part` from `start` on, with a progress bar."""
    length = answer.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    if total is not None:
        # What is still to come, and the same files again once they are unpacked.
        _require_space(part.parent, 2 * total - start)
    name = part.name.removesuffix(".part")
    with (
        part.open("ab") as file,
        tqdm(desc=name, total=total, initial=start, unit="B", unit_scale=True) as bar,
    ):
        file.truncate(start)
        for chunk in answer.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f"{folder}: has {_bytes(free)} free, but {_bytes(size)} are needed for the "
            "archive and its files. Free some, or name another folder as --output."
        )


def _bytes(size: int) -> str:
    return f"{tqdm.format_sizeof(size)}B"
