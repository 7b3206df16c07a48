"""What is kept is whole, is made once, and is made anew where its ingredients change."""

import threading

import pytest

from nnunet_lib.course import keeping
from nnunet_lib.course.datasets import fresh_folder
from nnunet_lib.course.keeping import kept
from nnunet_lib.errors import InputError


def write(text):
    """A maker that leaves one file with this text."""

    def make(folder):
        folder.mkdir()
        (folder / "text").write_text(text)

    return make


def test_it_is_made_once(work):
    first = kept("thing", ["a", 1], write("first"))
    assert kept("thing", ["a", 1], write("second")) == first
    assert (first / "text").read_text() == "first"
    assert list(work.iterdir()) == [first]  # nothing half made


@pytest.mark.parametrize(("name", "ingredients"), [("thing", ["a", 2]), ("other", ["a", 1])])
def test_other_ingredients_and_other_names_are_made_anew(work, name, ingredients):
    kept("thing", ["a", 1], write("first"))
    assert (kept(name, ingredients, write("second")) / "text").read_text() == "second"


def test_a_place_that_cannot_be_used_is_told_with_the_variable_s_name(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(keeping.WORK_VARIABLE, str(tmp_path / "file" / "work"))
    with pytest.raises(InputError, match=f"cannot be made .*{keeping.WORK_VARIABLE}"):
        kept("thing", [], write("first"))
    with pytest.raises(InputError, match=f"cannot be made .*{keeping.WORK_VARIABLE}"):
        fresh_folder("lesson")
    monkeypatch.setenv(keeping.WORK_VARIABLE, "~nobody-here/work")
    with pytest.raises(InputError, match="there is no such user"):
        keeping.work_folder()


def test_what_was_interrupted_is_not_kept(work):
    def interrupted(folder):
        write("half")(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept("thing", [], interrupted)
    assert list(work.iterdir()) == []
    assert (kept("thing", [], write("whole")) / "text").read_text() == "whole"


def test_two_kernels_at_once_end_with_one_whole_folder(work):
    both = threading.Barrier(2, timeout=30)
    found = []

    def kernel():
        def make(folder):
            write("the same")(folder)
            both.wait()  # both have made theirs before either is put into its place

        found.append(kept("thing", [], make))

    threads = [threading.Thread(target=kernel) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 2
    assert list(work.iterdir()) == found[:1]
    assert (found[0] / "text").read_text() == "the same"


def test_a_folder_that_cannot_be_put_into_its_place_is_an_error(work):
    def vanished(folder):
        pass

    with pytest.raises(FileNotFoundError):
        kept("thing", [], vanished)


def test_without_the_variable_work_stays_in_the_checkout(monkeypatch, tmp_path):
    monkeypatch.delenv(keeping.WORK_VARIABLE, raising=False)
    monkeypatch.setattr(keeping, "checkout", lambda: tmp_path)
    assert keeping.work_folder() == tmp_path / "build" / "lessons"
    monkeypatch.setattr(keeping, "checkout", lambda: None)
    assert keeping.work_folder().name == "nnunet-course"
