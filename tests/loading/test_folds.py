import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.loading import split_folds

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
