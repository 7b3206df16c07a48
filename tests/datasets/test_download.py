"""Downloads from a server on this machine, with everything that goes wrong on the way."""

import hashlib
import io
import json
import tarfile
import threading
from collections import namedtuple
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.datasets import TASKS, Dataset, DecathlonTask, download, find_images, find_task
from nnunet_lib.datasets.download import download_task, unpack
from nnunet_lib.errors import InputError

NAME = "Task04_Hippocampus"
DESCRIPTION = {
    "name": "Small",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "one"},
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    "test": ["./imagesTs/b.nii.gz"],
}
# Random, so that a piece in the wrong place is noticed; larger than several reads.
NOISE = np.random.default_rng(0).bytes(500_000)
FILES = {
    f"{NAME}/dataset.json": json.dumps(DESCRIPTION).encode(),
    f"{NAME}/imagesTr/a.nii.gz": NOISE,
    f"{NAME}/imagesTr/._a.nii.gz": b"what macOS adds to an archive",
    f"{NAME}/labelsTr/a.nii.gz": b"label",
    f"{NAME}/imagesTs/b.nii.gz": b"image",
    f"._{NAME}": b"what macOS adds to an archive",
}


def tar_of(files: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    """A tar archive of these files, and of members that hold nothing."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in others:
            tar.addfile(member)
    return written.getvalue()


ARCHIVE = tar_of(FILES)
TASK = DecathlonTask(4, NAME, hashlib.md5(ARCHIVE).hexdigest())


@dataclass
class Server:
    """What the server has, how it behaves, and the (path, Range header) that it was asked for."""

    content: bytes = ARCHIVE
    ranges: bool = True
    wrong_range: bool = False
    cuts: list[int] = field(default_factory=list)  # bytes after which each next answer breaks off
    errors: list[int] = field(default_factory=list)  # status of each next answer
    silent: bool = False  # whether it takes questions and answers none
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def server(monkeypatch):
    state, over = Server(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            assert self.headers["Accept-Encoding"] == "identity"  # else ranges count other bytes
            if state.silent:
                over.wait(5)  # then no answer either: nobody is there to read it
                return
            if state.errors:
                self.send_error(state.errors.pop(0))
                return
            start = int(wanted[6:-1]) if wanted and state.ranges else 0
            if start >= len(state.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if wanted and state.ranges else 200)
            if wanted and state.ranges:
                first = start + 7 if state.wrong_range else start
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(state.content)}")
            body = state.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # Fewer bytes than announced, then the connection closes.
            self.wfile.write(body[: state.cuts.pop(0)] if state.cuts else body)

        def log_message(self, *_):
            """Say nothing."""

    # No proxy of this machine may come between.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.0)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{running.server_port}"
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield state
    over.set()
    running.shutdown()
    running.server_close()


def only(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_unpacked(folder: Path) -> None:
    for name, content in FILES.items():
        if name.startswith(NAME):
            assert (folder.parent / name).read_bytes() == content


# The table ---------------------------------------------------------------------------------------


def test_the_table_has_the_ten_tasks_each_with_a_checksum_of_its_own():
    assert [task.number for task in TASKS] == list(range(1, 11))
    assert all(task.name.startswith(f"Task{task.number:02d}_") for task in TASKS)
    assert len({task.md5 for task in TASKS}) == 10
    assert all(len(bytes.fromhex(task.md5)) == 16 for task in TASKS)


@pytest.mark.parametrize("number", ["4", "04"])
def test_a_task_is_found_by_its_number(number):
    assert find_task(number).name == "Task04_Hippocampus"


@pytest.mark.parametrize("number", ["0", "11", "004", "", "Hippocampus"])
def test_another_task_is_refused_with_the_list(number):
    with pytest.raises(InputError, match=r"01_BrainTumour.*10_Colon"):
        find_task(number)


# Fetching ----------------------------------------------------------------------------------------


def test_a_task_is_fetched_checked_and_unpacked(server, tmp_path):
    folder = download_task(TASK, tmp_path / "new" / "data", f"{server.address}/mirror/")
    assert folder == tmp_path / "new" / "data" / NAME
    assert_unpacked(folder)
    assert only(folder.parent) == {NAME}
    assert server.asked == [(f"/mirror/{NAME}.tar", None)]


def test_what_macos_adds_does_not_confuse_the_reader(server, tmp_path):
    folder = download_task(TASK, tmp_path, server.address)
    assert [case.identifier for case in Dataset.open(folder).training] == ["a"]
    assert [case.identifier for case in find_images(folder / "imagesTr", 1)] == ["a"]


def test_a_dataset_that_is_there_is_left_alone(server, tmp_path):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "dataset.json").write_text("mine")
    assert download_task(TASK, tmp_path, server.address) == tmp_path / NAME
    assert (tmp_path / NAME / "dataset.json").read_text() == "mine"
    assert server.asked == []


def test_a_folder_that_is_no_dataset_is_not_touched(server, tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match=r"holds no dataset\.json"):
        download_task(TASK, tmp_path, server.address)
    assert server.asked == []


def test_cut_connections_are_continued_where_they_broke_off(server, tmp_path):
    server.cuts = [200_000, 150_000]
    assert_unpacked(download_task(TASK, tmp_path, server.address))
    starts = [int(wanted[6:-1]) if wanted else 0 for _, wanted in server.asked]
    assert len(starts) == 3
    assert starts == sorted(set(starts))
    assert 200_000 - download.CHUNK <= starts[1] <= 200_000


def test_more_cuts_than_attempts_do_no_harm_while_each_brings_something(server, tmp_path):
    server.cuts = [70_000] * (download.ATTEMPTS + 1)
    assert_unpacked(download_task(TASK, tmp_path, server.address))


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges = False
    server.cuts = [300_000]
    assert_unpacked(download_task(TASK, tmp_path, server.address))
    assert len(server.asked) == 2


def test_a_server_that_sends_another_range_is_asked_for_everything(server, tmp_path):
    server.wrong_range = True
    server.cuts = [300_000]
    assert_unpacked(download_task(TASK, tmp_path, server.address))
    assert server.asked[-1][1] is None


def test_giving_up_keeps_what_came_for_the_next_call(server, tmp_path):
    server.cuts = [200_000] + [0] * download.ATTEMPTS
    with pytest.raises(InputError, match="same command again"):
        download_task(TASK, tmp_path, server.address)
    assert only(tmp_path) == {f"{NAME}.tar.part"}
    part = (tmp_path / f"{NAME}.tar.part").read_bytes()
    assert part
    assert ARCHIVE.startswith(part)
    server.asked.clear()
    server.cuts = []
    assert_unpacked(download_task(TASK, tmp_path, server.address))
    assert server.asked == [(f"/{NAME}.tar", f"bytes={len(part)}-")]


def test_a_server_that_never_gets_further_is_given_up(server, tmp_path):
    server.ranges = False
    server.cuts = [200_000] * 50
    with pytest.raises(InputError, match="gave up after"):
        download_task(TASK, tmp_path, server.address)
    assert len(server.asked) <= download.ATTEMPTS + 1


def test_an_interruption_leaves_what_came(server, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    server.cuts = [200_000]
    monkeypatch.setattr(download.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download_task(TASK, tmp_path, server.address)
    assert only(tmp_path) == {f"{NAME}.tar.part"}


def test_a_part_that_is_whole_is_not_fetched_again(server, tmp_path):
    (tmp_path / f"{NAME}.tar.part").write_bytes(ARCHIVE)
    assert_unpacked(download_task(TASK, tmp_path, server.address))
    assert len(server.asked) == 1


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / f"{NAME}.tar.part").write_bytes(ARCHIVE + b"more")
    assert_unpacked(download_task(TASK, tmp_path, server.address))


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_server_is_asked_again(server, tmp_path, status):
    server.errors = [status]
    assert_unpacked(download_task(TASK, tmp_path, server.address))


def test_a_missing_file_is_reported_at_once(server, tmp_path):
    server.errors = [404] * 9
    with pytest.raises(InputError, match=rf"{NAME}.tar: the server says 404 .*--base-url"):
        download_task(TASK, tmp_path, server.address)
    assert len(server.asked) == 1
    assert only(tmp_path) == set()


def test_a_server_that_is_down_is_reported(server, tmp_path):
    with pytest.raises(InputError, match=r"gave up after .* \(no connection\)"):
        download_task(TASK, tmp_path, "http://127.0.0.1:9")  # the discard port: nobody listens


def test_a_server_that_says_nothing_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.05))
    server.silent = True
    with pytest.raises(InputError, match=r"gave up after .* \(no answer for"):
        download_task(TASK, tmp_path, server.address)


def test_each_attempt_waits_longer_than_the_last(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    monkeypatch.setattr(download, "FIRST_PAUSE", 1.0)
    with pytest.raises(InputError, match="gave up after"):
        download_task(TASK, tmp_path, "http://127.0.0.1:9")  # the discard port: nobody listens
    assert pauses == [1, 2, 4, 8]


@pytest.mark.parametrize("address", ["no address", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address_is_reported(tmp_path, address):
    with pytest.raises(InputError, match="Check --base-url"):
        download_task(TASK, tmp_path, address)


def test_a_wrong_checksum_removes_the_file_and_says_so(server, tmp_path):
    server.content = ARCHIVE[:-1] + b"!"
    with pytest.raises(InputError, match=f"MD5.*not {TASK.md5}.*removed. Run the same"):
        download_task(TASK, tmp_path, server.address)
    assert only(tmp_path) == set()


def test_an_archive_that_was_put_there_is_checked_and_unpacked_without_a_network(tmp_path):
    (tmp_path / f"{NAME}.tar").write_bytes(ARCHIVE)
    assert_unpacked(download_task(TASK, tmp_path, "no address"))
    assert only(tmp_path) == {NAME}


def test_a_wrong_archive_that_was_put_there_is_left_to_its_owner(tmp_path):
    (tmp_path / f"{NAME}.tar").write_bytes(b"something of mine")
    with pytest.raises(InputError, match="Delete it"):
        download_task(TASK, tmp_path, "no address")
    assert (tmp_path / f"{NAME}.tar").read_bytes() == b"something of mine"


# Space -------------------------------------------------------------------------------------------


def with_free_space(monkeypatch, size: int) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage(10**12, 0, size))


def test_a_full_disk_stops_the_download_before_it_starts(server, tmp_path, monkeypatch):
    with_free_space(monkeypatch, 2 * len(ARCHIVE) - 1)
    with pytest.raises(InputError, match=r"free, but .* are needed"):
        download_task(TASK, tmp_path, server.address)
    assert only(tmp_path) == set()


@pytest.mark.parametrize("there", [0, 300_000])
def test_twice_the_archive_is_space_enough(server, tmp_path, monkeypatch, there):
    """What came before is on the disk already."""
    (tmp_path / f"{NAME}.tar.part").write_bytes(ARCHIVE[:there])
    with_free_space(monkeypatch, 2 * len(ARCHIVE) - there)
    assert_unpacked(download_task(TASK, tmp_path, server.address))


def test_a_disk_that_is_full_by_then_keeps_the_checked_archive(server, tmp_path, monkeypatch):
    (tmp_path / f"{NAME}.tar").write_bytes(ARCHIVE)
    with_free_space(monkeypatch, len(NOISE))
    with pytest.raises(InputError, match=r"free, but .* are needed"):
        download_task(TASK, tmp_path, server.address)
    assert only(tmp_path) == {f"{NAME}.tar"}


# Hostile archives --------------------------------------------------------------------------------


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


HOSTILE = {
    "absolute path": (member("/absolute"), "a path that leads out"),
    "path upwards": (member("../escaped"), "a path that leads out"),
    "path upwards from inside": (member(f"{NAME}/../../escaped"), "a path that leads out"),
    "symbolic link out": (member(f"{NAME}/link", tarfile.SYMTYPE, "../../escaped"), "a link"),
    "absolute symbolic link": (member(f"{NAME}/link", tarfile.SYMTYPE, "/etc"), "a link"),
    "symbolic link inside": (member(f"{NAME}/link", tarfile.SYMTYPE, "imagesTr"), "a link"),
    "hard link out": (member(f"{NAME}/link", tarfile.LNKTYPE, "../escaped"), "a link"),
    "character device": (member(f"{NAME}/device", tarfile.CHRTYPE), "a device"),
    "block device": (member(f"{NAME}/device", tarfile.BLKTYPE), "a device"),
    "named pipe": (member(f"{NAME}/pipe", tarfile.FIFOTYPE), "a device"),
}


@pytest.mark.parametrize(("evil", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(server, tmp_path, evil, problem):
    server.content = tar_of(FILES, evil)  # the last member: all others are harmless
    task = replace(TASK, md5=hashlib.md5(server.content).hexdigest())
    data = tmp_path / "outer" / "data"
    with pytest.raises(InputError, match=rf"holds {problem}.*{evil.name}.*Nothing was"):
        download_task(task, data, server.address)
    assert only(data) == {f"{NAME}.tar"}
    assert only(tmp_path) == {"outer"}
    assert only(tmp_path / "outer") == {"data"}


def test_unpacked_files_have_no_special_rights(tmp_path):
    evil = member(f"{NAME}/program")
    evil.mode = 0o6777
    (tmp_path / "a.tar").write_bytes(tar_of(FILES, evil))
    unpack(tmp_path / "a.tar", tmp_path / NAME)
    assert (tmp_path / NAME / "program").stat().st_mode & 0o7022 == 0


@pytest.mark.parametrize(
    "content",
    [b"no archive at all", ARCHIVE[:300_000], tar_of({"Task09_Spleen/dataset.json": b"{}"})],
    ids=["no archive", "truncated", "another dataset"],
)
def test_a_damaged_or_foreign_archive_leaves_nothing(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tar"):
        unpack(tmp_path / "a.tar", tmp_path / NAME)
    assert only(tmp_path) == {"a.tar"}


def test_an_old_python_that_cannot_unpack_safely_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(InputError, match=r"3\.11\.4"):
        download_task(TASK, tmp_path, server.address)
    assert server.asked == []
