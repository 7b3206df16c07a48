"""Processes that work as one: what they exchange, and what they say where they cannot."""

import os
import subprocess
import sys

import pytest

from nnunet_lib import distributed
from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.errors import InputError

NO_HOROVOD = "import sys; sys.modules['horovod'] = None; sys.modules['horovod.tensorflow'] = None\n"
JOIN = """
from nnunet_lib.distributed import join
from nnunet_lib.errors import InputError
try:
    print(join())
except InputError as error:
    print(error)
"""


def run(code: str, **variables: str) -> str:
    import os

    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 5, 6])
def test_shares_are_disjoint_and_cover(size: int, items: int) -> None:
    shares = [Ranks(rank, size).share(range(items)) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_exchanges_with_itself() -> None:
    assert ALONE.gather({"a": None}) == [{"a": None}]
    assert ALONE.agree("yes") == "yes"
    assert ALONE.mean(3) == 3
    assert ALONE.total("a tensor") == "a tensor"
    assert ALONE.gradient_tape("a tape") == "a tape"


def test_what_one_rank_refuses_all_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InputError("case_7 is damaged.")

    monkeypatch.setattr(Ranks, "gather", lambda self, own: [(1, None), own, (3, None)])
    assert ALONE.gather_done(lambda: 2) == [1, 2, 3]
    with pytest.raises(InputError, match=r"^case_7 is damaged\.$"):
        ALONE.gather_done(refuse)
    # A rank whose own work went well hears of it too, and of a fault that two ranks met once.
    monkeypatch.setattr(Ranks, "gather", lambda self, own: [(None, "c"), own, (None, "c")])
    with pytest.raises(InputError, match=r"^c$"):
        ALONE.gather_done(lambda: 2)


def test_without_horovod_one_process_works_and_two_get_a_word() -> None:
    assert "rank=0, size=1" in run(NO_HOROVOD + JOIN)
    assert "rank=0, size=1" in run(NO_HOROVOD + JOIN, HOROVOD_SIZE="1")
    assert "Several processes need Horovod" in run(NO_HOROVOD + JOIN, HOROVOD_SIZE="2")


def test_launching_without_horovod_gets_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "horovod", None)
    with pytest.raises(InputError, match="Several processes need Horovod"):
        distributed.launch(print, processes=2)
    with pytest.raises(InputError, match="1 or more"):
        distributed.launch(print, processes=0)


def test_joining_alone_loads_neither_horovod_nor_tensorflow() -> None:
    code = JOIN + "import sys; print({'horovod', 'tensorflow'} & sys.modules.keys())"
    assert run(code).endswith("set()\n")


@pytest.mark.slow
def test_two_processes_know_the_same() -> None:
    def exchange() -> tuple:
        import tensorflow as tf

        from nnunet_lib import distributed

        ranks = distributed.join()
        weight = tf.Variable(float(ranks.rank + 1))
        with tf.GradientTape() as tape:
            loss = ranks.total(weight * weight) ** 2  # (1 + 4)^2 on both
        (gradient,) = ranks.gradient_tape(tape).gradient(loss, [weight])
        ranks.broadcast([weight])
        ranks.wait()
        gathered = ranks.gather({"long": "x" * 1000 * ranks.rank})
        return (
            ranks.rank,
            ranks.local_size,
            float(loss),
            float(gradient),
            float(weight.numpy()),
            [len(item["long"]) for item in gathered],
            ranks.agree(ranks.rank),
            ranks.mean(ranks.rank),
        )

    # The loss is (1 + 4)². The gradient through `total` is summed over both ranks: 40 w, which is
    # 40 on one rank and 80 on the other; the tape gives both the mean.
    expected = [(rank, 2, 25.0, 60.0, 1.0, [0, 1000], 0, 0.5) for rank in range(2)]
    assert distributed.launch(exchange, processes=2) == expected


def settings() -> list[str | None]:
    return [os.environ.get(name) for name in (distributed.CYCLE_TIME, "HOROVOD_CACHE_CAPACITY")]


@pytest.mark.parametrize(("given", "chosen"), [(None, "10"), ("(None,)", "10"), ("2", "2")])
def test_horovod_pauses_between_its_rounds(
    given: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (distributed.CYCLE_TIME, "HOROVOD_CACHE_CAPACITY"):
        monkeypatch.setenv(name, given or "")  # so that the old value comes back
        if given is None:
            monkeypatch.delenv(name)
    distributed._choose_settings()
    assert settings() == [chosen, "2" if given == "2" else None]


@pytest.mark.slow
def test_processes_launched_here_pause_too() -> None:
    def joined() -> list[str | None]:
        import os

        from nnunet_lib.distributed import CYCLE_TIME, join

        join()
        return [os.environ.get(CYCLE_TIME), os.environ.get("HOROVOD_CACHE_CAPACITY")]

    assert distributed.launch(joined, processes=2) == [["10", None]] * 2


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others_with_a_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InputError, match="One of 2 processes failed"):
        distributed.launch(lambda: 1 / 0, processes=2)
    assert "ZeroDivisionError" in capfd.readouterr().err
