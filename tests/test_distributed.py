"""Processes that work as one: what they exchange, and what they say where they cannot."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import tensorflow as tf

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


def test_of_the_ranks_on_all_machines_one_is_first() -> None:
    ranks = [Ranks(rank, 4, local_rank=rank % 2, local_size=2) for rank in range(4)]
    assert [one.is_first for one in ranks] == [True, False, False, False]


def test_one_process_exchanges_with_itself() -> None:
    assert ALONE.gather({"a": None}) == [{"a": None}]
    assert ALONE.agree("yes") == "yes"
    assert ALONE.agree_number(0.1) == 0.1
    assert ALONE.total("a tensor") == "a tensor"
    assert ALONE.gradient_tape("a tape") == "a tape"


def test_what_one_rank_cannot_write_all_hear_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(Ranks, "gather", lambda self, own: told.append(own) or [own])

    def full() -> None:
        raise OSError(28, "No space left on device", "run/metrics.jsonl")

    words = "run/metrics.jsonl: No space left on device."
    with pytest.raises(InputError, match=f"^{words}$"):
        ALONE.gather_done(full)
    assert told == [(None, words)]


def test_what_one_rank_refuses_all_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def refuse() -> None:
        raise InputError("case_7 is damaged.")

    def gather(self: Ranks, own: object) -> list[object]:
        told.append(own)
        return [(1, None), own, (3, None)]

    monkeypatch.setattr(Ranks, "gather", gather)
    assert ALONE.gather_done(lambda: 2) == [1, 2, 3]
    with pytest.raises(InputError, match=r"^case_7 is damaged\.$"):
        ALONE.gather_done(refuse)
    # Who refuses says so to the others, who wait for a word from each.
    assert told == [(2, None), (None, "case_7 is damaged.")]
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


def test_the_launched_function_gets_its_arguments_and_horovod_its_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run_here(function: Any, *, args: tuple, np: int, use_gloo: bool, **options: Any) -> list:
        return [(function(*args), use_gloo, options)] * np

    monkeypatch.setitem(sys.modules, "horovod", SimpleNamespace(run=run_here))
    results = distributed.launch(max, 3, 5, processes=2, verbose=1)
    assert results == [(5, True, {"verbose": 1})] * 2


@pytest.mark.parametrize("launcher", ["HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_each_launcher_says_how_many_it_has_started(
    monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    for name in ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert distributed._expected_size() == 1
    monkeypatch.setenv(launcher, "2")
    assert distributed._expected_size() == 2


@pytest.mark.slow
def test_processes_that_horovod_leaves_apart_do_not_work_alone() -> None:
    """Horovod that was built without MPI knows nothing of what mpirun has started."""
    refusal = run(JOIN, OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1")
    assert refusal.startswith("2 processes were started, and Horovod joined 1: it was built for")
    assert "horovodrun -np N" in refusal


def test_who_joins_has_settings_before_horovod_begins_and_then_takes_its_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[object] = []
    horovod = SimpleNamespace(
        init=lambda: steps.append("begin"),
        rank=lambda: 3,
        size=lambda: 4,
        local_rank=lambda: 1,
        local_size=lambda: 2,
    )
    monkeypatch.setenv("HOROVOD_SIZE", "4")
    monkeypatch.setattr(distributed, "_horovod", lambda: horovod)
    monkeypatch.setattr(distributed, "_choose_settings", lambda: steps.append("settings"))
    monkeypatch.setattr(distributed, "_take_device", steps.append)
    ranks = distributed.join.__wrapped__()  # what is joined here must not be remembered
    assert ranks == Ranks(rank=3, size=4, local_rank=1, local_size=2)
    assert steps == ["settings", "begin", ranks]


def test_each_rank_of_a_machine_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, growing = [], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpu, kind: seen.append(gpu))
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda *given: growing.append(given)
    )
    distributed._take_device(Ranks(rank=3, size=4, local_rank=1, local_size=2))
    assert seen == ["second"]
    assert growing == [("second", True)]


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["the only one"])
    with pytest.raises(InputError, match="1 GPUs and 2 processes; start one process a GPU"):
        distributed._take_device(Ranks(rank=1, size=2, local_rank=1, local_size=2))


@pytest.mark.parametrize(("cores", "local_size", "share"), [(8, 4, 2), (2, 4, 1)])
def test_the_ranks_of_a_machine_without_gpus_share_its_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, local_size: int, share: int
) -> None:
    threads = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(distributed, "cores", lambda: cores)
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", threads.append)
    distributed._take_device(Ranks(rank=5, size=8, local_rank=1, local_size=local_size))
    assert threads == [share]


def test_joining_alone_loads_neither_horovod_nor_tensorflow() -> None:
    code = JOIN + "import sys; print({'horovod', 'tensorflow'} & sys.modules.keys())"
    assert run(code).endswith("set()\n")


class Threads(threading.local):
    """Horovod's part, for three ranks that are threads of this process."""

    Sum = "sum"
    rank: int
    everybody = threading.Barrier(3)
    said: ClassVar[dict[int, tf.Tensor]] = {}

    def all_parts(self, part: tf.Tensor) -> list[tf.Tensor]:
        self.said[self.rank] = part
        self.everybody.wait(60)
        parts = [self.said[rank] for rank in range(3)]
        self.everybody.wait(60)  # before anybody says something else
        return parts

    def allreduce(self, part: tf.Tensor, op: str) -> tf.Tensor:
        assert op == self.Sum
        return tf.add_n(self.all_parts(part))

    def allgather(self, part: tf.Tensor, name: str) -> tf.Tensor:
        return tf.concat(self.all_parts(part), 0)

    def broadcast(self, part: tf.Tensor, root_rank: int, name: str) -> tf.Tensor:
        return self.all_parts(part)[root_rank]

    def run(self, exchange: Callable[[Ranks], object]) -> list[object]:
        """What each rank gets."""

        def work(rank: int) -> object:
            self.rank = rank
            return exchange(Ranks(rank, 3))

        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(work, range(3)))


@pytest.fixture
def three_ranks(monkeypatch: pytest.MonkeyPatch) -> Threads:
    threads = Threads()
    monkeypatch.setattr(distributed, "_horovod", lambda: threads)
    return threads


def test_ranks_hear_each_other_in_their_order_and_the_first_decides(three_ranks: Threads) -> None:
    def exchange(ranks: Ranks) -> tuple:
        gathered = ranks.gather({"name": "x" * ranks.rank})
        lengths = [len(item["name"]) for item in gathered]
        return lengths, ranks.agree(ranks.rank), ranks.agree_number(0.1 + ranks.rank)

    assert three_ranks.run(exchange) == [([0, 1, 2], 0, 0.1)] * 3


def test_the_mean_gradient_through_a_total_is_that_of_the_whole_batch(three_ranks: Threads) -> None:
    def loss_and_gradient(ranks: Ranks) -> tuple[float, float]:
        weight = tf.Variable(2.0)
        with tf.GradientTape() as tape:
            loss = ranks.total(weight * (ranks.rank + 1)) ** 2  # ((1 + 2 + 3) w)²
        return float(loss), float(tape.gradient(loss, weight))

    losses, gradients = zip(*three_ranks.run(loss_and_gradient), strict=True)
    assert losses == (144, 144, 144)
    assert sum(gradients) / 3 == 144  # 72 w


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
            ranks.agree_number(0.1 + ranks.rank),
        )

    # The loss is (1 + 4)². The gradient through `total` is summed over both ranks: 40 w, which is
    # 40 on one rank and 80 on the other; the tape gives both the mean.
    expected = [(rank, 2, 25.0, 60.0, 1.0, [0, 1000], 0, 0.1) for rank in range(2)]
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


def test_where_there_is_a_gpu_horovod_keeps_its_own_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(distributed.CYCLE_TIME, "")  # so that the old value comes back
    monkeypatch.delenv(distributed.CYCLE_TIME)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    distributed._choose_settings()
    assert distributed.CYCLE_TIME not in os.environ


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
