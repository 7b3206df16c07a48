"""The table of profiles is complete and ordered, and an unknown word is explained."""

from dataclasses import FrozenInstanceError

import pytest

from nnunet_lib.course.profiles import PROFILE_MIME, PROFILES, resolve, use_profile
from nnunet_lib.errors import InputError


def test_the_three_profiles_exist_under_their_own_names():
    assert list(PROFILES) == ["ci", "laptop", "gpu"]
    assert all(resolve(name).name == name for name in PROFILES)


def test_an_unknown_profile_is_refused_with_the_choices():
    with pytest.raises(InputError, match=r"'fast'.*ci, laptop, gpu"):
        resolve("fast")


def test_a_profile_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        resolve("ci").cases = 3


def test_larger_profiles_spend_no_less():
    for smaller, larger in zip(list(PROFILES.values()), list(PROFILES.values())[1:], strict=False):
        for field in ("cases", "phantom_cases", "training_minutes", "base_filters"):
            assert getattr(smaller, field) <= getattr(larger, field)


def test_every_profile_leaves_cases_to_predict_in_a_fold_of_five():
    for profile in PROFILES.values():
        assert profile.cases_to_predict <= min(profile.cases, profile.phantom_cases) // 5


def test_using_a_profile_tells_the_reader_and_the_runner(shown):
    profile = use_profile("ci")
    assert profile is PROFILES["ci"]
    ((bundle, _),) = shown
    assert bundle[PROFILE_MIME]["name"] == "ci"
    steps = profile.epochs * profile.steps_per_epoch
    assert f"{steps} steps of training" in " ".join(bundle["text/plain"].split())
    assert max(map(len, bundle["text/plain"].splitlines())) < 80
