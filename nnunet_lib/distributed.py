"""Several processes that work as one, with Horovod: who am I, and what do we know together.

Taught in lesson 09. Sergeev and Del Balso, arXiv:1802.05799. A process that was started alone
gets `ALONE`, whose every exchange is the identity, so that callers need no second branch. It
imports neither Horovod nor TensorFlow before it is asked to.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nnunet_lib.errors import InputError, words_of
from nnunet_lib.parallel import cores

if TYPE_CHECKING:
    import tensorflow as tf

Item = TypeVar("Item")

SIZE_VARIABLES = ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE")
"""What Horovod's own launcher and mpirun tell each process: how many there are."""

CYCLE_TIME, CPU_CYCLE_TIME = "HOROVOD_CYCLE_TIME", "10"
"""Milliseconds between Horovod's rounds, and what we choose where processes train on a CPU."""

MISSING = (
    "Several processes need Horovod, which is not installed here or does not load ({error}). It "
    "exists for Linux and macOS, and `make env` builds it on Linux x86-64. Start one process, "
    "without horovodrun, or install it."
)


@dataclass(frozen=True)
class Ranks:
    """This process among the others.

    Attributes:
        rank: its number, from 0.
        size: how many processes there are, on all machines.
        local_rank: its number on this machine, which is also the number of its GPU.
        local_size: how many processes this machine has.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the only one that writes checkpoints and logs."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This rank's part of `items`: every item belongs to exactly one rank, none twice."""
        return items[self.rank :: self.size]

    def total(self, tensor: "tf.Tensor") -> "tf.Tensor":
        """The sum over ranks, the same on each; differentiable.

        Whatever is made of it must be made alike on every rank. Its gradient is then the same on
        each, and the sum of these gradients over ranks needs no second exchange: it is one of
        them times `size`. Where gradients are averaged afterwards, as a `gradient_tape` does,
        that makes exactly the gradient of the whole batch's loss.
        """
        if self.size == 1:
            return tensor
        import tensorflow as tf

        @tf.custom_gradient
        def total(part: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return _horovod().allreduce(part, op=_horovod().Sum), lambda slope: slope * self.size

        return total(tensor)

    def gradient_tape(self, tape: "tf.GradientTape") -> "tf.GradientTape":
        """A tape whose gradients are the mean over ranks."""
        return tape if self.size == 1 else _horovod().DistributedGradientTape(tape)

    def broadcast(self, variables: Sequence["tf.Variable"]) -> None:
        """Give every rank the values that rank 0 has."""
        if self.size > 1:
            _horovod().broadcast_variables(list(variables), root_rank=0)

    def agree(self, value: Any) -> Any:
        """What rank 0 says: for decisions that all must take alike, such as when to stop."""
        return self.gather(value)[0]

    def agree_number(self, value: float) -> float:
        """`agree` of one number, in one exchange in place of two: for what is asked every step."""
        if self.size == 1:
            return value
        import tensorflow as tf

        number = tf.constant(value, tf.float64)
        return float(_horovod().broadcast(number, root_rank=0, name="number"))

    def gather(self, value: Any) -> list[Any]:
        """Everybody's `value`, a plain JSON value, in the order of the ranks."""
        if self.size == 1:
            return [value]
        import tensorflow as tf

        encoded = json.dumps(value).encode()  # not Horovod's own gathering, which uses pickle
        lengths = _horovod().allgather(tf.constant([len(encoded)]), name="lengths").numpy()
        characters = tf.constant(np.frombuffer(encoded, np.uint8))
        gathered = _horovod().allgather(characters, name="characters").numpy()
        parts = np.split(gathered, np.cumsum(lengths)[:-1])
        return [json.loads(part.tobytes()) for part in parts]

    def gather_done(self, work: Callable[[], Any]) -> list[Any]:
        """Everybody's `work()`, as `gather` gives it. What one rank refuses, all refuse.

        A rank that left on its own would end the others, who wait for it, with a traceback.

        Raises:
            InputError: on every rank alike, if `work` raises one, or an OSError, on any.
        """
        try:
            done, refusal = work(), None
        except (InputError, OSError) as error:
            done, refusal = None, words_of(error)
        outcomes = self.gather((done, refusal))
        refusals = dict.fromkeys(refusal for _, refusal in outcomes if refusal is not None)
        if refusals:
            raise InputError("\n".join(refusals))
        return [done for done, _ in outcomes]

    def wait(self) -> None:
        """Go on only when every rank has come this far."""
        self.gather(None)


ALONE = Ranks()


@cache
def join() -> Ranks:
    """Join the processes that this one was started with; `ALONE` if there are none.

    On a machine with GPUs this process gets the one of its local rank and sees no other; on a
    CPU it gets its share of the cores. Call it before TensorFlow does any work.

    Raises:
        InputError: if there are several processes and Horovod cannot be loaded or joins other
            than those, or fewer GPUs than processes.
    """
    if _expected_size() < 2:
        return ALONE
    _choose_settings()
    horovod = _horovod()
    horovod.init()
    ranks = Ranks(horovod.rank(), horovod.size(), horovod.local_rank(), horovod.local_size())
    _require_all(ranks)
    _take_device(ranks)
    return ranks


def launch(function: Callable[..., Any], *arguments: Any, processes: int, **options: Any) -> list:
    """Run `function(*arguments)` in that many new processes here; return each one's result.

    For notebooks; scripts use `horovodrun -np N`. The function must lie in an importable module
    or be self-contained, and calls `join` to learn its rank. Start-up takes some seconds.

    Args:
        function: what each process calls.
        arguments: passed on to it.
        processes: how many.
        options: of `horovod.run`, such as `verbose=1`.

    Raises:
        InputError: if Horovod is not installed, or a process fails.
    """
    if processes < 1:
        raise InputError(f"processes is {processes}; give 1 or more.")
    try:
        import horovod
    except ImportError as error:
        raise InputError(MISSING.format(error=error)) from None
    try:
        return list(horovod.run(function, args=arguments, np=processes, use_gloo=True, **options))
    except RuntimeError as error:
        raise InputError(f"One of {processes} processes failed: {error}") from None


def _choose_settings() -> None:
    """How long Horovod pauses between its rounds, unless somebody has said it.

    `horovod.run` of Horovod 0.28 writes "(None,)" for a cycle time and a cache size that nobody
    gave. Horovod reads 0, never pauses, which takes a core, and agrees on each tensor anew. On a
    CPU even its own 1 ms costs the training more time than a pause of 10 ms.
    """
    for name in (CYCLE_TIME, "HOROVOD_CACHE_CAPACITY"):
        if os.environ.get(name) == "(None,)":
            del os.environ[name]
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        os.environ.setdefault(CYCLE_TIME, CPU_CYCLE_TIME)


def _expected_size() -> int:
    """How many processes the launcher says it has started; 1 without a launcher."""
    told = [os.environ[name] for name in SIZE_VARIABLES if name in os.environ]
    return int(told[0]) if told else 1


def _require_all(ranks: Ranks) -> None:
    """Refuse to work apart from the others, which would each write what this one writes."""
    if ranks.size != _expected_size():
        raise InputError(
            f"{_expected_size()} processes were started, and Horovod joined {ranks.size}: it was "
            "built for another launcher. Start them with `horovodrun -np N`."
        )


@cache
def _horovod() -> Any:
    """Horovod's binding to TensorFlow."""
    try:
        import horovod.tensorflow
    except ImportError as error:
        raise InputError(MISSING.format(error=error)) from None
    return horovod.tensorflow


def _take_device(ranks: Ranks) -> None:
    """One GPU a local rank, or this rank's share of the cores."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        threads = max(1, cores() // ranks.local_size)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        return
    if ranks.local_rank >= len(gpus):
        raise InputError(
            f"This machine has {len(gpus)} GPUs and {ranks.local_size} processes; start one "
            "process a GPU (horovodrun -np)."
        )
    tf.config.set_visible_devices(gpus[ranks.local_rank], "GPU")
    tf.config.experimental.set_memory_growth(gpus[ranks.local_rank], True)
