"""Files appear whole or not at all, and unreadable ones are named."""

from pathlib import Path

import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json, replacing, write_json


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
    ("content", "word"), [(None, "no such file"), (b"{", "line 1"), (b"\xff", "cannot be read")]
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, word: str) -> None:
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=word) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
