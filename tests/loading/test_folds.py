import json
from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json
from nnunet_lib.loading import load_folds, save_folds, split_folds

NAMES = [f"case_{i:02d}" for i in range(23)]


def test_validation_parts_are_disjoint_and_cover_every_case() -> None:
    folds = split_folds(NAMES)
    validated = [name for fold in folds for name in fold.validation]
    assert len(folds) == 5
    assert sorted(validated) == NAMES
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_a_fold_trains_on_exactly_the_cases_that_it_does_not_validate_on() -> None:
    for fold in split_folds(NAMES, 4):
        assert not set(fold.training) & set(fold.validation)
        assert sorted(fold.training + fold.validation) == NAMES


def test_the_order_of_listing_does_not_matter_and_the_seed_does() -> None:
    assert split_folds(reversed(NAMES), seed=3) == split_folds(NAMES, seed=3)
    assert split_folds(NAMES, seed=3) != split_folds(NAMES, seed=4)


def test_cases_are_shuffled_before_they_are_split() -> None:
    assert split_folds(NAMES)[0].validation != tuple(NAMES[:5])


@pytest.mark.parametrize(
    ("names", "number", "message"),
    [
        (NAMES[:4], 5, "4 cases for 5 folds"),
        (NAMES[:1], 5, "There is 1 case, and training needs 2 or more"),
        ([], 2, "There is no case"),
        (NAMES, 1, "2 or more"),
        ([*NAMES, "case_07"], 5, "case_07"),
    ],
)
def test_impossible_splits_are_refused(names: list[str], number: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_folds(names, number)


def test_no_patient_is_on_both_sides_of_a_fold() -> None:
    cases = [f"p{patient:02d}_{visit}" for patient in range(11) for visit in range(1 + patient % 3)]
    folds = split_folds(cases, 4, patient_of=lambda case: case.split("_")[0])
    assert sorted(case for fold in folds for case in fold.validation) == sorted(cases)
    for fold in folds:
        learned, held_out = (
            {case[:3] for case in part} for part in (fold.training, fold.validation)
        )
        assert not learned & held_out
        assert len(learned | held_out) == 11


def test_patients_are_sorted_before_the_shuffle() -> None:
    """A set gives them in another order in each process, and ranks or resumed runs would differ."""
    cases = [f"{patient}_{visit}" for patient in "abcdefghij" for visit in (1, 2)]
    folds = split_folds(cases, 5, patient_of=lambda case: case[0])
    shuffled = np.random.default_rng(0).permutation(list("abcdefghij"))
    for number, fold in enumerate(folds):
        assert {case[0] for case in fold.validation} == set(shuffled[2 * number : 2 * number + 2])


def test_patients_are_counted_and_not_their_cases() -> None:
    with pytest.raises(InputError, match=r"in these 4 cases, by patient_of: 2\. Each of 3 folds"):
        split_folds(["a_1", "a_2", "b_1", "b_2"], 3, patient_of=lambda case: case[0])


def test_one_patient_for_all_cases_is_a_mistake_in_patient_of() -> None:
    """What comes before the last `_` is no patient where all cases are called alike."""
    with pytest.raises(InputError, match=r"23 cases, by patient_of: 1\..* Correct patient_of"):
        split_folds(NAMES, patient_of=lambda case: case.rsplit("_", 1)[0])


def test_folds_are_kept_in_nnunet_s_format(tmp_path: Path) -> None:
    folds = split_folds(NAMES, 3)
    save_folds(folds, tmp_path / "splits_final.json")
    written = json.loads((tmp_path / "splits_final.json").read_text())
    assert [set(fold) for fold in written] == [{"train", "val"}] * 3
    assert load_folds(tmp_path / "splits_final.json", NAMES) == folds


def test_a_fold_may_leave_cases_out_and_names_them_in_any_order(tmp_path: Path) -> None:
    write_json(tmp_path / "folds.json", [{"train": ["c", "a"], "val": ["b"], "test": []}])
    (fold,) = load_folds(str(tmp_path / "folds.json"), ["a", "b", "c", "d"])
    assert (fold.training, fold.validation) == (("a", "c"), ("b",))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"train": ["a"], "val": ["b"]}, "folds.json: must be a list of folds"),
        ([], "folds.json: must be a list of folds"),
        ([{"train": ["a"], "val": ["b"]}, ["a", "b"]], "folds.json, fold 1: needs a case"),
        ([{"train": ["a"], "validation": ["b"]}], "fold 0: needs a case or more in each part"),
        ([{"train": [], "val": ["b"]}], "fold 0: needs a case or more in each part"),
        ([{"train": ["a"], "val": "b"}], "fold 0: needs a case or more in each part"),
        ([{"train": ["a"], "val": ["b", "z"]}], "fold 0: there is no preprocessed case z"),
        ([{"train": ["a", "z"], "val": ["b"]}], "fold 0: there is no preprocessed case z"),
        ([{"train": ["a"], "val": [["b"]]}], r"fold 0: \['b'\] is no name of a case"),
        ([{"train": ["a"], "val": [7]}], "fold 0: 7 is no name of a case. Write each fold as"),
        ([{"train": ["a", "a"], "val": ["b"]}], "fold 0: names case a more than once"),
        ([{"train": ["a", "b"], "val": ["b"]}], "fold 0: names case b more than once"),
    ],
)
def test_what_are_no_folds_is_refused(tmp_path: Path, value: object, message: str) -> None:
    write_json(tmp_path / "folds.json", value)
    with pytest.raises(InputError, match=message):
        load_folds(tmp_path / "folds.json", ["a", "b", "c"])
