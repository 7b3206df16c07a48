"""What lesson 08 claims, as numbers: what XLA makes of a function, and how often it compiles.

Kernels are counted twice: as the operations of TensorFlow's own graph, and as the instructions
of the program that XLA compiled from it. Compilations are counted from outside, by the modules
that XLA writes to a folder while a process of its own runs.
"""

import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf

from nnunet_lib.course.lessons.common import relative_difference, run_python
from nnunet_lib.course.lessons.unet import CPU, middle_patch, tiny_plan
from nnunet_lib.model import InstanceNormalization, as_network, build_unet, training_forward
from nnunet_lib.planning import Plan

Function = Callable[..., Any]

# What chain() and its reference in NumPy use: mean, deviation, clip, gain, offset, slope.
MEAN, DEVIATION, LIMIT = 2.0, 3.0, 4.0
GAIN, OFFSET, SLOPE = 1.5, 0.25, 0.01

# Operations that only hold, name or hand on what others compute.
_BOOKKEEPING = {"Placeholder", "Const", "Identity", "NoOp", "ReadVariableOp", "StopGradient"}
_NO_KERNEL = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element"}
_NUMBER = r"\w+\[[\d,]*\](?:\{[\d,]*\})?"  # the type, shape and layout of one tensor
_INSTRUCTION = re.compile(rf"(?:ROOT )?%\S+ = (?:\(.*?\)|{_NUMBER}) ([\w-]+)\(")
_SHAPE = re.compile(r"\b(?:f|s|u|bf|pred)(\d*)\[([\d,]*)\]")

# Sizes of the work that is timed: (batch, z, y, x, channels), and so on.
_LARGE, _SMALL = (1, 64, 64, 64, 8), (1, 2, 2, 2, 8)
_FEATURES, _MATRIX = (1, 48, 24, 24, 16), (768, 768)
_MANY, _EDGE = 100, 24

SMALL_PLAN = tiny_plan(2, edge=16, stages=2)
"""The network of all claims: 2D and of two levels, so that it compiles in seconds."""
PATCHES = 3
"""How many it is given: a full batch of two, and a short one."""
CALLS = 5
"""How often each kind of work is timed."""


# Functions to compile ----------------------------------------------------------------------------


def chain(values: tf.Tensor) -> tf.Tensor:
    """Seven operations, voxel by voxel: z-score, clip, scale, shift, leaky ReLU."""
    scores = (values - MEAN) / DEVIATION
    clipped = tf.maximum(tf.minimum(scores, LIMIT), -LIMIT)
    return tf.nn.leaky_relu(clipped * GAIN + OFFSET, SLOPE)


def sorted_chain(values: tf.Tensor) -> tf.Tensor:
    """The same with a sort in its middle, which needs all values before it gives one."""
    scores = (values - MEAN) / DEVIATION
    clipped = tf.maximum(tf.minimum(tf.sort(scores), LIMIT), -LIMIT)
    return tf.nn.leaky_relu(clipped * GAIN + OFFSET, SLOPE)


def chain_error(values: np.ndarray) -> float:
    """How far the compiled chain is from NumPy in float64, in units of the largest result."""
    scores = (values.astype(np.float64) - MEAN) / DEVIATION
    raised = np.clip(scores, -LIMIT, LIMIT) * GAIN + OFFSET
    expected = np.where(raised > 0, raised, SLOPE * raised)
    found = compiled(chain)(tf.constant(values, tf.float32)).numpy()
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def norm_and_activation(channels: int) -> Function:
    """Instance norm and leaky ReLU of the library's block, as a function of features."""
    norm = InstanceNormalization()
    norm.build((None, None, None, None, channels))
    return lambda features: tf.nn.leaky_relu(norm(features), SLOPE)


def convolution(channels: int) -> Function:
    """A 3×3×3 convolution and a leaky ReLU after it, as a function of features."""
    kernel = random((3, 3, 3, channels, channels), 1) / 10
    return lambda features: tf.nn.leaky_relu(tf.nn.conv3d(features, kernel, [1] * 5, "SAME"), SLOPE)


def random(shape: Sequence[int], seed: int) -> tf.Tensor:
    """Standard normal numbers."""
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def compiled(function: Function) -> Function:
    """The function as one program of XLA's."""
    return tf.function(function, jit_compile=True)


# Kernels -----------------------------------------------------------------------------------------


def graph_operations(function: Function, *arguments: tf.Tensor) -> list[str]:
    """The operations of TensorFlow's graph that compute something: a kernel each, uncompiled."""
    return [operation.type for operation in _graph_operations(function, *arguments)]


def instructions(function: Function, *arguments: tf.Tensor) -> list[str]:
    """The instructions of the program's entry that compute something: a kernel each, with XLA.

    A function that is not compiled runs TensorFlow's operations, and those are its answer.

    Args:
        function: what `tf.function` returned, with `jit_compile=True` or without.
        arguments: as in a call.
    """
    if not hasattr(function, "experimental_get_compiler_ir"):
        return graph_operations(function, *arguments)
    try:
        return entry_instructions(hlo(function, *arguments))
    except ValueError:  # TensorFlow's answer for a function without jit_compile
        return graph_operations(function, *arguments)


def hlo(function: Any, *arguments: tf.Tensor) -> str:
    """The compiled program as text, after XLA has optimised it."""
    return str(function.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo"))


def entry_instructions(text: str) -> list[str]:
    """What the entry of a program computes with, as names of its instructions, in order."""
    return [name for name, _ in _entry(text)]


def readable(text: str) -> str:
    """The entry of a program without notes on where in Python each line came from."""
    entry = text[text.index("ENTRY") :].strip()
    without_notes = re.sub(r", (?:metadata|parameter_replication)=\{[^}]*\}", "", entry)
    return re.sub(r"(\])\{[\d,]*\}", r"\1", without_notes)


def _entry(text: str) -> list[tuple[str, str]]:
    """(name, line) of each instruction of the entry that computes something."""
    lines = text[text.index("ENTRY") :].splitlines()[1:]
    found = [(match[1], line) for line in lines if (match := _INSTRUCTION.match(line.strip()))]
    return [(name, line) for name, line in found if name not in _NO_KERNEL]


def _graph_operations(function: Function, *arguments: tf.Tensor) -> list[tf.Operation]:
    traced = function if hasattr(function, "get_concrete_function") else tf.function(function)
    graph = traced.get_concrete_function(*arguments).graph
    return [op for op in graph.get_operations() if op.type not in _BOOKKEEPING]


# Memory traffic ----------------------------------------------------------------------------------


def traffic_saved(function: Function, *arguments: tf.Tensor) -> float:
    """How many times as many bytes the graph's kernels read and write as the program's do.

    Every kernel reads its inputs from memory and writes its outputs there. Both sides are
    counted from shapes alone.
    """
    graph = sum(_bytes_of(operation) for operation in _graph_operations(function, *arguments))
    lines = [line for _, line in _entry(hlo(compiled(function), *arguments))]
    return graph / sum(_bytes_in(line) for line in lines)


def _bytes_of(operation: tf.Operation) -> int:
    tensors = [*operation.inputs, *operation.outputs]
    return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in tensors)


def _bytes_in(line: str) -> int:
    """The bytes of every tensor that an instruction names: its result and its operands."""
    total = 0
    for bits, sizes in _SHAPE.findall(line):
        elements = np.prod([int(size) for size in sizes.split(",") if size], dtype=np.int64)
        total += int(elements) * (int(bits or 8) // 8)
    return total


# The library's network ---------------------------------------------------------------------------


def small_network(plan: Plan = SMALL_PLAN, seed: int = 0) -> tf.keras.Model:
    """An untrained U-Net of few filters."""
    tf.keras.utils.set_random_seed(seed)
    return build_unet(plan)


def middle_patches(scans: Iterable[np.ndarray]) -> np.ndarray:
    """The middle of each scan (z, y, x), z-scored: (n, *patch, 1)."""
    return np.concatenate([middle_patch(scan, SMALL_PLAN) for scan in scans])


def patches_of(plan: Plan, number: int, seed: int = 0) -> np.ndarray:
    """Random patches (number, *patch, channels)."""
    return random((number, *plan.patch_size, len(plan.channels)), seed).numpy()


def forward_kernels(model: tf.keras.Model, patches: np.ndarray) -> tuple[int, int]:
    """The kernels of the library's forward pass in training: without `xla`, and with it."""
    features = tf.constant(patches)
    plain = instructions(training_forward(model), features)
    return len(plain), len(instructions(training_forward(model, xla=True), features))


def prediction_difference(model: tf.keras.Model, patches: np.ndarray, batch_size: int) -> float:
    """The largest change of a logit through XLA, in standard deviations of all logits."""
    with tf.device(CPU):
        copy = _copy_of(model)
        plain = as_network(copy)(patches)
        with_xla = as_network(copy, xla=True, batch_size=batch_size)(patches)
    return float(np.abs(with_xla - plain).max() / plain.std())


def gradient_difference(model: tf.keras.Model, patches: np.ndarray) -> float:
    """The length of the gradients' change through XLA, relative to the gradient's own."""
    with tf.device(CPU):
        copy = _copy_of(model)
        plain = _gradient(copy, training_forward(copy), patches)
        with_xla = _gradient(copy, training_forward(copy, xla=True), patches)
    return relative_difference(with_xla, plain)


def _copy_of(model: tf.keras.Model) -> tf.keras.Model:
    """The same network with weights of its own, on the device of the caller's `tf.device`."""
    copy = tf.keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _gradient(model: tf.keras.Model, forward: Function, patches: np.ndarray) -> np.ndarray:
    """The gradient of the logits' mean squares, all parameters in one row."""

    @tf.function
    def differentiate(images: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(head**2) for head in forward(images)])
        return tape.gradient(loss, model.trainable_variables)

    found = differentiate(tf.constant(patches))
    return np.concatenate([gradient.numpy().ravel() for gradient in found])


# Tracing -----------------------------------------------------------------------------------------


class _Counting(tf.keras.layers.Layer):
    """Hands its input on, and remembers in which graphs Python passed here."""

    def __init__(self) -> None:
        super().__init__()
        self.graphs: set[tf.Graph] = set()

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The input itself."""
        self.graphs.add(tf.compat.v1.get_default_graph())
        return tf.identity(inputs)


def network_traces(numbers: Sequence[int]) -> int:
    """How often the library's network is traced when calls bring these numbers of patches."""
    patch = tf.keras.Input((8, 8, 1))
    counting = _Counting()
    network = as_network(tf.keras.Model(patch, [counting(patch)]))
    counting.graphs.clear()
    for number in numbers:
        network(np.zeros((number, 8, 8, 1), np.float32))
    return len(counting.graphs)


def factor_traces(factors: Sequence[float | tf.Tensor]) -> int:
    """How often a function of one factor is traced when it is called with each of these."""
    traces = 0

    @tf.function
    def scale(factor: float | tf.Tensor) -> tf.Tensor:
        nonlocal traces
        traces += 1  # Python runs only while TensorFlow traces
        return tf.ones(3) * factor

    for factor in factors:
        scale(factor)
    return traces


# Compilations, counted in a process of its own ---------------------------------------------------


def modules(program: str) -> int:
    """How many programs XLA compiles while a new Python process runs this source.

    XLA reads `XLA_FLAGS` only once, when it starts: that is why the process is a new one.

    Raises:
        RuntimeError: if the process fails, with what it said.
    """
    with TemporaryDirectory() as folder:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder}"
        run_python(program, XLA_FLAGS=flags.strip())
        return len(list(Path(folder).glob("*.before_optimizations.txt")))


def predict_as_they_come(numbers: Sequence[int]) -> int:
    """Predict batches of these sizes with a compiled function that takes any; how often traced."""
    model = small_network()
    traces = 0

    @tf.function(
        input_signature=[tf.TensorSpec((None, *model.inputs[0].shape[1:]))], jit_compile=True
    )
    def forward(patches: tf.Tensor) -> tf.Tensor:
        nonlocal traces
        traces += 1
        return model(patches, training=False)[0]

    for number in numbers:
        forward(tf.constant(patches_of(SMALL_PLAN, number)))
    return traces


def predict_filled_up(numbers: Sequence[int]) -> None:
    """Predict batches of these sizes with the library's network, which fills them up."""
    network = as_network(small_network(), xla=True, batch_size=max(numbers))
    for number in numbers:
        network(patches_of(SMALL_PLAN, number))


# Where it helps and where it hurts ---------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """One kind of work: a function, and what to call it with."""

    name: str
    function: Function
    argument: tf.Tensor


@dataclass(frozen=True)
class Comparison:
    """How one kind of work fared with XLA.

    Attributes:
        name: of the work.
        operations: kernels without XLA.
        instructions: kernels with it.
        speed: time without XLA over time with it; above 1 it helps.
        compilation: the first compiled call, in calls without XLA.
    """

    name: str
    operations: int
    instructions: int
    speed: float
    compilation: float


def kinds_of_work(seed: int = 0) -> list[Work]:
    """From what suits a compiler best to what suits it least."""
    plan = tiny_plan(3, _EDGE)
    model = small_network(plan, seed)
    forward = training_forward(model)
    features = random(_FEATURES, seed)
    patches = tf.constant(patches_of(plan, plan.batch_size, seed))
    return [
        Work("many operations on few numbers", _many_chains, random(_SMALL, seed)),
        Work("a chain on many numbers", chain, random(_LARGE, seed)),
        Work("instance norm, leaky ReLU", norm_and_activation(_FEATURES[-1]), features),
        Work("a matrix product", lambda values: values @ values, random(_MATRIX, seed)),
        Work("a 3D convolution", convolution(_FEATURES[-1]), features),
        Work("the U-Net, forward", lambda images: forward(images)[0], patches),
        Work("the U-Net, forward and back", _forward_and_back(model), patches),
    ]


def compare(work: Work, calls: int = CALLS) -> Comparison:
    """Call it with XLA and without, in turns, so that a busy machine disturbs both alike.

    Args:
        work: what to do.
        calls: how often each; the speed is the ratio of the medians.
    """
    plain, with_xla = tf.function(work.function), compiled(work.function)
    _seconds(plain, work.argument)
    first = _seconds(with_xla, work.argument)
    pairs = [
        (_seconds(plain, work.argument), _seconds(with_xla, work.argument)) for _ in range(calls)
    ]
    usual, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Comparison(
        name=work.name,
        operations=len(graph_operations(work.function, work.argument)),
        instructions=len(instructions(with_xla, work.argument)),
        speed=usual / fast,
        compilation=first / usual,
    )


def _seconds(function: Function, argument: tf.Tensor) -> float:
    start = time.perf_counter()
    tf.nest.map_structure(lambda result: result.numpy(), function(argument))
    return time.perf_counter() - start


def _many_chains(values: tf.Tensor) -> tf.Tensor:
    """The chain again and again, on its own result."""
    for _ in range(_MANY):
        values = chain(values)
    return values


def _forward_and_back(model: tf.keras.Model) -> Function:
    """The gradients of the finest logits' mean square."""
    forward = training_forward(model)

    def gradients(images: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(forward(images)[0] ** 2)
        found = tape.gradient(loss, model.trainable_variables)
        return [gradient for gradient in found if gradient is not None]

    return gradients
