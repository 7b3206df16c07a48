"""The runner: workers that are alive together and take turns, with toys for work."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import pytest

from benchmarks.speed import pairs
from benchmarks.speed.pairs import Measured, Side, WorkerError, take_turns
from benchmarks.speed.worker import CORES, SHORT, After, measure


def side(work, name=None, peer=False):
    return Side(name or work, f"tests.benchmarks.toys:{work}", peer)


def test_every_side_has_its_turns_and_its_note():
    result = take_turns([side("nap"), side("talk")], turns=3)
    assert list(result) == ["nap", "talk"]
    assert [len(one.seconds) for one in result.values()] == [3, 3]
    assert min(result["nap"].seconds) >= 0.02
    assert result["nap"].note == "slept for the 7th time"  # once to be ready, then twice a turn


def test_each_side_follows_each_other_one_and_all_are_alive(monkeypatch):
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
    sides = [side("talk", name) for name in "abc"]
    take_turns(sides, turns=30)
    assert {alive for _, alive in calls} == {3}
    names = [name for name, _ in calls]
    turns = [names[first : first + 3] for first in range(0, len(names), 3)]
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    follows = Counter(pair for turn in turns for pair in pairwise(turn))
    assert len(follows) == 6
    assert min(follows.values()) >= 5  # of 60, 10 each on average
    take_turns(sides, turns=30)
    assert [name for name, _ in calls] == 2 * names


def test_work_may_have_arguments_variables_and_figures_of_its_own():
    result = take_turns([side("report:3:4", "told")], turns=1, environment={"TOY": "5"})
    assert result["told"].seconds == (3.0,)
    assert result["told"].bytes == 4 + 5


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
    told = rf"toys:{work}\) ended.*TOY='a b' .*worker tests\.benchmarks"
    with pytest.raises(WorkerError, match=told):
        take_turns([side(work)], turns=1, environment={"TOY": "a b"})


def test_a_side_that_is_killed_between_its_turns_is_named_too():
    worker = pairs.Worker(side("nap"))
    worker.stop()
    with pytest.raises(WorkerError, match=r"toys:nap\) ended with code -9"):
        worker.turn()


def test_what_is_done_first_is_not_measured_and_short_work_is_done_once_more():
    calls = []
    short = After(lambda: calls.append("first"), lambda: calls.append("work"))
    measure(short, 0)
    assert calls == ["first", "work"] * 2
    calls.clear()
    long = After(lambda: time.sleep(2 * SHORT), lambda: calls.append("work"))
    assert measure(long, 0)["seconds"] < SHORT
    calls.clear()
    measure(lambda: (calls.append("work"), time.sleep(1.1 * SHORT)), 0)
    assert calls == ["work"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes")
def test_a_worker_keeps_to_two_cores():
    program = (
        "import os; from benchmarks.speed.worker import stay_on_cores;"
        "os.sched_getaffinity = lambda _: {7, 3, 1, 5};"
        "os.sched_setaffinity = lambda _, cores: print(cores); stay_on_cores()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [1, 3]
    assert CORES == 2


def test_median_and_spread():
    measured = Measured((4.0, 1.0, 2.0, 3.0, 5.0), 0)
    assert measured.median == 3.0
    assert measured.spread == pytest.approx((4 - 2) / 2 / 3)
    assert Measured((4.0, 1.0, 2.0), 0).spread == pytest.approx((4 - 1) / 2 / 2)


def test_growth_that_is_chance_has_a_logarithm():
    assert [Measured((), size).growth for size in (-5, 0, 2**21)] == [1.0, 1.0, 2.0]
