"""Files appear whole or not at all, and unreadable ones are named."""

import errno
import os
from pathlib import Path

import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.files import (
    filling,
    read_json,
    replacing,
    require_writable,
    require_writable_folder,
    write_json,
)


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "b": {"c": "ü"}}
    write_json(tmp_path / "new" / "value.json", value)
    assert read_json(tmp_path / "new" / "value.json") == value


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, "old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_keeps_its_endings_and_its_folder(tmp_path: Path) -> None:
    with replacing(tmp_path / "scan.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        assert tmp_path in temporary.parents
        temporary.touch()


def test_what_json_cannot_say_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "value.json", float("nan"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "no such file"), (b"{", "line 1"), (b"\xff", "cannot be read"),
     (b"[" * 100_000, "recursion"), (b"1" * 5000, "digits")],
)  # fmt: skip
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=word) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_filled_whole_or_not_at_all(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "output"
    if there:
        folder.mkdir()

    def fill(fails: bool) -> None:
        with filling(folder, last="done.json") as temporary:
            (temporary / "images").mkdir(parents=True)
            (temporary / "done.json").touch()
            if fails:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        fill(fails=True)
    assert folder.exists() == there
    assert not list(tmp_path.rglob("*/*"))
    fill(fails=False)
    assert sorted(path.name for path in folder.iterdir()) == ["done.json", "images"]


def test_an_entry_that_says_that_all_is_there_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (moved.append(new.name), replace(old, new)))
    with filling(tmp_path, last="dataset.json") as temporary:
        assert tmp_path in temporary.parents  # on one disk, where moving is no copying
        temporary.mkdir()
        for name in ("dataset.json", "a", "z"):
            (temporary / name).touch()
    assert moved[-1] == "dataset.json"
    assert len(moved) == 3


def test_a_full_disk_is_told_with_the_file_that_did_not_fit(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No space") as caught,
        replacing(tmp_path / "scan.nii.gz"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "scan.nii.gz")


def test_where_no_file_can_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder" / "value.json")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "a.json", "is no folder"),
        (tmp_path / "dataset.json", "describes a dataset"),
    ):
        with pytest.raises(InputError, match=words):
            require_writable(path)


def test_where_no_folder_can_be_filled_is_told_before_the_work(
    tmp_path: Path, read_only: Path
) -> None:
    require_writable_folder(tmp_path)
    require_writable_folder(tmp_path / "new" / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/a: cannot be written, because .*file is no folder"):
        require_writable_folder(tmp_path / "file" / "a")
    with pytest.raises(InputError, match=r"read_only/a/b: .*read_only is read-only for you"):
        require_writable_folder(read_only / "a" / "b")
    with pytest.raises(InputError, match=r"read_only: .*read_only is read-only for you"):
        require_writable_folder(read_only)
