"""The runner: workers that are alive together and take turns, with toys for work."""

import sys

import pytest

from benchmarks.speed import pairs
from benchmarks.speed.pairs import Measured, Side, WorkerError, take_turns
from benchmarks.speed.worker import resident


def side(work, name=None, peer=False):
    return Side(name or work, f"tests.benchmarks.toys:{work}", peer)


def test_every_side_has_its_turns_and_its_note():
    result = take_turns([side("nap"), side("talk")], turns=3)
    assert list(result) == ["nap", "talk"]
    assert [len(one.seconds) for one in result.values()] == [3, 3]
    assert min(result["nap"].seconds) >= 0.02
    assert result["nap"].note == "slept"


def test_the_order_turns_round_and_all_are_alive(monkeypatch):
    calls = []

    class Recorded(pairs.Worker):
        alive = 0

        def __init__(self, *arguments):
            super().__init__(*arguments)
            Recorded.alive += 1

        def turn(self):
            calls.append((self.side.name, Recorded.alive))
            return super().turn()

        def stop(self):
            super().stop()
            assert self.process.returncode is not None

    monkeypatch.setattr(pairs, "Worker", Recorded)
    take_turns([side("talk", "a"), side("talk", "b")], turns=2)
    assert calls == [("a", 2), ("b", 2), ("b", 2), ("a", 2)]


def test_work_may_have_arguments_variables_and_figures_of_its_own():
    result = take_turns([side("report:3:4", "told")], turns=1, environment={"TOY": "5"})
    assert result["told"].seconds == (3.0,)
    assert result["told"].bytes == 4 + 5


@pytest.mark.skipif(not resident("VmRSS"), reason="memory is read from /proc, which Linux has")
@pytest.mark.parametrize("work", ["grow", "keep"])
def test_growth_is_since_the_work_was_prepared(work):
    result = take_turns([side(work), side("talk")], turns=2)
    assert 60 * 2**20 < result[work].bytes < 100 * 2**20
    assert result["talk"].bytes < 4 * 2**20


def test_a_peer_runs_in_its_own_environment_without_our_path(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ -z "$PYTHONPATH" ] || exit 7\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(pairs, "PEERS", python)
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    assert len(take_turns([side("talk", peer=True)], turns=1)["talk"].seconds) == 1


@pytest.mark.parametrize("work", ["fail", "missing"])
def test_a_side_that_ends_is_named_with_the_command_that_shows_why(work):
    with pytest.raises(WorkerError, match=rf"toys:{work}\) ended.*worker tests\.benchmarks"):
        take_turns([side(work)], turns=1)


def test_median_and_spread():
    measured = Measured((4.0, 1.0, 2.0, 3.0, 5.0), 0)
    assert measured.median == 3.0
    assert measured.spread == pytest.approx((4 - 2) / 2 / 3)
