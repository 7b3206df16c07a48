"""What is checked of the exercises of lesson 08, and which mistakes are known."""

import re
from itertools import pairwise

import numpy as np

from nnunet_lib.course.exercises import Exercise, Mistake, Property

CALLS = 5

# 08.traffic ----------------------------------------------------------------------------------


def draw_chains(rng):
    """One input and one result of an operation are read twice; two results, one in the middle."""
    calls = []
    for _ in range(CALLS):
        last = int(rng.integers(4, 8))
        operations = [(("x", "shift"), "t0"), (("t0",), "t1"), (("t1", "shift"), "t2")]
        operations += [(("t1", "gain"), "side"), (("t2", "t0"), "t3")]
        operations += [((f"t{step - 1}",), f"t{step}") for step in range(4, last + 1)]
        names = {name for inputs, output in operations for name in (*inputs, output)}
        sizes = {name: 4 * int(rng.integers(100, 9999)) for name in sorted(names)}
        calls.append({"operations": operations, "sizes": sizes})
    return calls


def bytes_moved(operations, sizes):
    """Tensor by tensor: how often it is read, and whether it is made."""
    apart = together = 0
    for name, size in sizes.items():
        readers = sum(inputs.count(name) for inputs, _ in operations)
        makers = sum(output == name for _, output in operations)
        apart += size * (readers + makers)
        together += size * (not (readers and makers))
    return apart, together


def with_fused(count):
    """The bytes without fusion, and what `count` makes of (names read, names made, sizes)."""

    def gives(operations, sizes):
        read = [name for inputs, _ in operations for name in inputs]
        made = [output for _, output in operations]
        names = count(read, made)
        return bytes_moved(operations, sizes)[0], sum(sizes[name] for name in names)

    return gives


TRAFFIC = Exercise(
    function="traffic",
    draw=draw_chains,
    reference=bytes_moved,
    relative=1e-9,
    hint="With sets: set(read) - set(made) comes from memory, set(made) - set(read) goes there. "
    "Add up the sizes of both.",
    mistakes=(
        Mistake(
            "read again and again",
            "What comes from outside is counted as often as an operation reads it. A fused kernel "
            "reads a tensor once, and has it at hand for all operations.",
            gives=with_fused(
                lambda read, made: [n for n in read if n not in made] + list(set(made) - set(read))
            ),
        ),
        Mistake(
            "what stays inside",
            "You count every tensor once. But what one operation makes and another reads never "
            "leaves the processor.",
            gives=with_fused(lambda read, made: set(read) | set(made)),
        ),
        Mistake(
            "results left out",
            "What is read is right. But the results have to be written, too.",
            gives=with_fused(lambda read, made: set(read) - set(made)),
        ),
        Mistake(
            "inputs left out",
            "What is written is right. But a kernel has to read its inputs, too.",
            gives=with_fused(lambda read, made: set(made) - set(read)),
        ),
        Mistake(
            "last output",
            "You write only the last operation's output. Another result may lie in the middle of "
            "the list: whatever no operation of the chain reads.",
            gives=with_fused(lambda read, made: [*(set(read) - set(made)), made[-1]]),
        ),
        Mistake(
            "first inputs",
            "You read only the first operation's inputs. Later ones may need tensors from "
            "outside, too.",
            gives=with_fused(lambda read, made: [*read[:2], *(set(made) - set(read))]),
        ),
    ),
)

# 08.entry ------------------------------------------------------------------------------------

SILENT = ("parameter", "constant", "bitcast", "tuple", "get-tuple-element")
LOUD = ("fusion", "reduce", "convolution", "sort", "custom-call", "transpose", "dot", "copy")
NAMES = ("arg", "zero", "sum", "mean", "loop_fusion", "input", "norm", "leaky", "weights")
NAMES += ("tuple_select", "constant_fold", "parameter_norm", "bitcast_add", "last_tuple")
TYPES = ("f32[16,4]{1,0}", "f32[]", "f16[2,8,8]{2,1,0}", "(f32[16]{0},f32[])", "pred[4]{0}")
_LINE = re.compile(r"\s+(ROOT )?%([\w-]+)\.\d+ = \S+ ([\w-]+)\(")


def draw_programs(rng):
    """The entry last, first or in the middle; its last instruction launched, or a tuple.

    A launched operation has a hyphen, and one type in five is a tuple. As in real programs, names
    left and right of an operation hold words that are operations, too.
    """
    calls = []
    for call in range(CALLS):
        operations = [*rng.choice(LOUD, 3), "custom-call", "fusion", "fusion", "bitcast-convert"]
        operations = rng.permutation([*operations, *SILENT, "parameter"]).tolist()
        operations += ["tuple" if call % 2 else str(rng.choice(LOUD))]
        entry = computation(rng, "ENTRY %main.9", operations)
        others = [
            computation(rng, f"%fused_computation.{number}", ["parameter", "multiply", "subtract"])
            for number in range(3)
        ]
        place = (3, 0, 1, 2, 3)[call]
        parts = [*others[:place], entry, *others[place:]]
        calls.append({"text": "\n\n".join([f"HloModule a_chain_{call}", *parts]) + "\n"})
    return calls


def computation(rng, title, operations):
    lines = [f"{title} (p.1: f32[16,4]) -> f32[16,4] {{"]
    numbers = rng.permutation(100)
    for place, operation in enumerate(operations):
        root = "ROOT " if place == len(operations) - 1 else ""
        name = rng.choice(NAMES)
        operand = rng.choice([*NAMES[:5], *SILENT])
        operands = f"f32[16,4]{{1,0}} %{operand}.1" if operation not in SILENT[:2] else "0"
        note = rng.choice(["", ', metadata={op_type="Sub" op_name="chain/sub"}'])
        kind = rng.choice(TYPES)
        lines.append(f"  {root}%{name}.{numbers[place]} = {kind} {operation}({operands}){note}")
    return "\n".join([*lines, "}"])


def read_entry(text, start="ENTRY", everywhere=False, to_the_end=False, root=True, silent=SILENT):
    """Line by line, remembering whether we are inside; the other arguments are mistakes."""
    inside, found = False, []
    for line in text.splitlines():
        if line.startswith(start) or everywhere:
            inside = True
        if line == "}" and not to_the_end:
            inside = False
        match = _LINE.match(line)
        if inside and match and match[3] not in silent and (root or not match[1]):
            found.append(match[3])
    return found


def without_silent_words(text, words=lambda line: line):
    """The lines of which some part, which `words` gives, holds no silent word."""
    entry = re.search(r"^ENTRY.*?^}", text, re.MULTILINE | re.DOTALL)[0]
    lines = [line for line in entry.splitlines() if _LINE.match(line)]
    kept = [line for line in lines if not any(word in words(line) for word in SILENT)]
    return [_LINE.match(line)[3] for line in kept]


def before_first_bracket(text):
    """What is the sign = where the type is a tuple, and begins with a bracket."""
    entry = re.search(r"^ENTRY.*?^}", text, re.MULTILINE | re.DOTALL)[0]
    found = [line.split("(")[0].split()[-1] for line in entry.splitlines() if " = " in line]
    return [operation for operation in found if operation not in SILENT]


def names_in_entry(text):
    entry = re.search(r"^ENTRY.*?^}", text, re.MULTILINE | re.DOTALL)[0]
    return [match[2] for match in map(_LINE.match, entry.splitlines()) if match]


ENTRY = Exercise(
    function="launched",
    draw=draw_programs,
    reference=read_entry,
    hint="Cut the text out from 'ENTRY' to the next newline and '}'. In each of its lines that "
    "holds ' = ', take what follows the type: re.search(r' = \\S+ ([\\w-]+)\\(', line)[1].",
    properties=(
        Property(
            "the list holds words",
            lambda result, text: all(re.search(r"\w", operation) for operation in result),
            "Each entry has to be one word, as a string. Where one is none, look at the type of "
            "that instruction: does it hold a sign that you cut at?",
        ),
    ),
    mistakes=(
        Mistake(
            "all computations",
            "You list the instructions of every computation. Those of a fused one run *inside* of "
            "its fusion, which is launched once: keep to the entry.",
            gives=lambda text: read_entry(text, everywhere=True),
        ),
        Mistake(
            "to the end of the text",
            "You begin at the entry, and go on to the end of the text. Other computations may "
            "follow: where does the entry end?",
            gives=lambda text: read_entry(text, to_the_end=True),
        ),
        Mistake(
            "root left out",
            "The last line of a computation begins with ROOT, and is an instruction like any "
            "other. You miss it.",
            gives=lambda text: read_entry(text, root=False),
        ),
        Mistake(
            "nothing left out",
            "You list what only holds or hands on, such as parameters and constants. Nothing is "
            "launched for those.",
            gives=lambda text: read_entry(text, silent=()),
        ),
        Mistake(
            "silent word anywhere",
            "Some launched operations are missing. A word such as `constant` may also stand in a "
            "name, as in `%constant.5`. Find the line's operation first, then ask about it alone.",
            gives=without_silent_words,
        ),
        Mistake(
            "silent word right of =",
            "Some launched operations are missing: those with an operand such as `%constant.5`. "
            "Find the line's operation first, then ask about it alone.",
            gives=lambda text: without_silent_words(text, lambda line: line.split(" = ")[1]),
        ),
        Mistake(
            "part of the word",
            "`bitcast-convert` is launched: only `bitcast` is not. Is the whole operation one of "
            "the words, or does it merely hold one?",
            gives=lambda text: without_silent_words(text, lambda line: _LINE.match(line)[3]),
        ),
        Mistake(
            "names",
            "You give the instructions' *names*, left of the sign =. They say what people called "
            "it. What it does stands behind the type.",
            gives=names_in_entry,
        ),
        Mistake(
            "first bracket",
            "You look for the first bracket of a line. Where the type is a tuple, that is the "
            "type's own: what stands between type and operands?",
            gives=before_first_bracket,
        ),
        Mistake(
            "hyphen",
            "The others are right, but an operation such as `custom-call` is missing. Which signs "
            "does your pattern allow in a name?",
            gives=lambda text: [name for name in read_entry(text) if "-" not in name],
        ),
        Mistake(
            "each once",
            "You give each operation once. Two fusions are two launches: keep both, in order.",
            gives=lambda text: list(dict.fromkeys(read_entry(text))),
        ),
    ),
)

# 08.compare ----------------------------------------------------------------------------------


def draw_gradients(rng):
    """Rounding, faults in tiny numbers and in large ones, equality, a NaN, and a missing bias."""
    makers = (
        rounding,
        tiny_fault,
        equality,
        with_nan,
        missing_bias,
        nearly_too_much,
        strict,
        too_long,
    )
    return [makers[index](rng) for index in rng.permutation(len(makers))]


def parameters(rng, size=1.0):
    """A kernel, a bias whose gradient is smaller, and a second kernel."""
    widths = rng.integers(3, 6, 2)
    shapes = [(3, 3, widths[0], widths[1]), (widths[1],), (widths[1], 2)]
    sizes = np.array([1.0, 0.05, 0.3]) * size
    return [
        ((rng.uniform(0.3, 1, shape) * rng.choice([-1, 1], shape)) * s).astype(np.float32)
        for shape, s in zip(shapes, sizes, strict=True)
    ]


def noisy(rng, arrays, relative):
    return [a + (rng.normal(size=a.shape) * relative).astype(np.float32) * a for a in arrays]


def as_call(plain, compiled, bound=1e-4):
    return {"plain": plain, "compiled": compiled, "bound": bound}


def rounding(rng):
    """One number near zero changes its sign, which says nothing."""
    plain = parameters(rng)
    plain[0].flat[rng.integers(9)] = 1e-8
    compiled = noisy(rng, plain, 1e-6)
    compiled[0][plain[0] == np.float32(1e-8)] = -1e-8
    return as_call(plain, compiled)


def tiny_fault(rng):
    plain = parameters(rng, size=1e-9)
    return as_call(plain, noisy(rng, plain, 0.02))


def equality(rng):
    """A change of nothing is at most any bound, one of nothing too."""
    plain = parameters(rng)
    return as_call(plain, [array.copy() for array in plain], bound=0.0)


def with_nan(rng):
    plain = parameters(rng)
    compiled = noisy(rng, plain, 1e-6)
    compiled[2].flat[rng.integers(6)] = np.nan
    return as_call(plain, compiled)


def missing_bias(rng):
    plain = parameters(rng)
    compiled = noisy(rng, plain, 1e-6)
    compiled[1] *= 0
    return as_call(plain, compiled)


def nearly_too_much(rng):
    """Within the bound all together, though not in the bias alone."""
    plain = parameters(rng)
    compiled = noisy(rng, plain, 1e-5)
    compiled[1] *= np.float32(1.0005)
    return as_call(plain, compiled)


def strict(rng):
    """Within most bounds, and not within this one."""
    plain = parameters(rng)
    return as_call(plain, noisy(rng, plain, 2e-5), bound=1e-6)


def too_long(rng):
    """By so much that it matters whose length the change is divided by."""
    plain = parameters(rng)
    return as_call(plain, [array * np.float32(1.5) for array in plain])


def change_of(plain, compiled):
    """By sums of squares, parameter by parameter, in float64."""
    change = whole = 0.0
    for g, h in zip(plain, compiled, strict=True):
        change += np.sum(np.subtract(h, g, dtype=np.float64) ** 2)
        whole += np.sum(np.square(g, dtype=np.float64))
    return float(np.sqrt(change / whole))


def changes(plain, compiled):
    """Of each parameter by itself."""
    return [change_of([g], [h]) for g, h in zip(plain, compiled, strict=True)]


def measured(measure):
    def gives(plain, compiled, bound):
        change = measure(plain, compiled)
        return change, bool(change <= bound)

    return gives


def judged(agrees):
    """The right change, with another verdict."""
    return lambda plain, compiled, bound: (
        change_of(plain, compiled),
        bool(agrees(plain, compiled, bound)),
    )


def in_one_row(arrays):
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays])


def by_largest(plain, compiled):
    g, h = in_one_row(plain), in_one_row(compiled)
    return np.abs(h - g).max() / np.abs(g).max()


def by_element(plain, compiled):
    g, h = in_one_row(plain), in_one_row(compiled)
    return np.max(np.abs(h - g) / np.abs(g))


COMPARE = Exercise(
    function="compare",
    draw=draw_gradients,
    reference=measured(change_of),
    relative=1e-3,
    absolute=1e-14,
    hint="g = np.concatenate([array.ravel() for array in plain]), h likewise. Then "
    "np.linalg.norm(h - g) / np.linalg.norm(g), and `<=`, which is false for NaN.",
    mistakes=(
        Mistake(
            "bit for bit",
            "The change is right. But you ask for equality, which a compiler that adds in another "
            "order cannot give. Hold the change against the bound.",
            gives=judged(lambda plain, compiled, bound: all(map(np.array_equal, plain, compiled))),
        ),
        Mistake(
            "allclose",
            "The change is right. But np.allclose has bounds of its own: by default everything "
            "within 1e-8 of another number is close to it, whatever the gradients' size.",
            gives=judged(lambda plain, compiled, bound: all(map(np.allclose, compiled, plain))),
        ),
        Mistake(
            "NaN agrees",
            "The change is right. But a NaN passes as agreement: every comparison with it is "
            "false, `change > bound` too.",
            gives=judged(lambda plain, compiled, bound: not change_of(plain, compiled) > bound),
        ),
        Mistake(
            "below the bound",
            "The change is right. But *at most* `bound` is asked for, and a change that is just "
            "the bound does not agree with you.",
            gives=judged(lambda plain, compiled, bound: change_of(plain, compiled) < bound),
        ),
        Mistake(
            "worst parameter",
            "You take each parameter's change by itself, and the largest. One row for all of them "
            "is asked for: a small gradient then counts for little.",
            gives=measured(lambda plain, compiled: np.max(changes(plain, compiled))),
        ),
        Mistake(
            "mean of parameters",
            "You average the changes of the parameters. Put all gradients into one row first, and "
            "divide once.",
            gives=measured(lambda plain, compiled: np.mean(changes(plain, compiled))),
        ),
        Mistake(
            "number by number",
            "You divide number by number. A gradient near zero may change its sign by rounding: "
            "relative to itself that is much, to the whole it is nothing.",
            gives=measured(by_element),
        ),
        Mistake(
            "largest number",
            "You compare the largest difference with the largest number. The measure asked for is "
            "the *length* of the change, over the length of g.",
            gives=measured(by_largest),
        ),
        Mistake(
            "squares",
            "You divide sums of squares. A length is the root of that, and the bound is meant for "
            "lengths.",
            gives=measured(lambda plain, compiled: change_of(plain, compiled) ** 2),
        ),
        Mistake(
            "divided by h",
            "You divide by the length of h. It is nearly that of g while both agree; but where the "
            "compiler is at fault, its own result is no measure.",
            gives=measured(
                lambda plain, compiled: (
                    np.linalg.norm(in_one_row(compiled) - in_one_row(plain))
                    / np.linalg.norm(in_one_row(compiled))
                )
            ),
        ),
        Mistake(
            "not relative",
            "This is the length of the change alone. How much that is depends on how long the "
            "gradient itself is.",
            gives=measured(
                lambda plain, compiled: np.linalg.norm(in_one_row(compiled) - in_one_row(plain))
            ),
        ),
    ),
)

# 08.cost -------------------------------------------------------------------------------------


def draw_scans(rng):
    """Shapes come again, not only at once, and two of them have the same number of voxels."""
    calls = []
    for _ in range(CALLS):
        first = tuple(int(size) for size in rng.choice(np.arange(40, 90), 3, replace=False))
        second = tuple(int(size) for size in rng.integers(90, 140, 3))
        turned = first[::-1]
        shapes = [first, second, first, turned, *[second] * int(rng.integers(2, 5)), first]
        plain = float(rng.uniform(50, 100))
        calls.append(
            {
                "shapes": shapes,
                "plain": plain,
                "fused": plain * float(rng.uniform(0.3, 0.8)),
                "compiling": float(rng.uniform(1, 5)),
            }
        )
    return calls


def call_by_call(shapes, plain, fused, compiling):
    """With the programs that there are so far."""
    programs, without, with_xla = [], 0.0, 0.0
    for shape in shapes:
        z, y, x = shape
        without += 1e-9 * plain * z * y * x
        with_xla += 1e-9 * fused * z * y * x
        if shape not in programs:
            programs.append(shape)
            with_xla += compiling
    return without, with_xla


def with_programs(count):
    """As many programs as `count` makes of the shapes."""

    def gives(shapes, plain, fused, compiling):
        voxels = sum(int(np.prod(shape)) for shape in shapes)
        return voxels * plain * 1e-9, voxels * fused * 1e-9 + count(shapes) * compiling

    return gives


def runs_only_later(shapes, plain, fused, compiling):
    """As if the first call of a shape did nothing but compile."""
    without, with_xla = call_by_call(shapes, plain, fused, compiling)
    return without, with_xla - sum(int(np.prod(shape)) for shape in set(shapes)) * fused * 1e-9


COST = Exercise(
    function="cost",
    draw=draw_scans,
    reference=call_by_call,
    relative=1e-7,
    hint="math.prod(shape) is a scan's number of voxels. The programs are as many as there are "
    "different shapes: len(set(shapes)).",
    mistakes=(
        Mistake(
            "one program",
            "You compile once for all calls. A *graph* can leave a size open; a compiled program "
            "cannot: how many does XLA need here?",
            gives=with_programs(lambda shapes: 1),
        ),
        Mistake(
            "a program a call",
            "You compile in every call. A program is kept: a shape that comes again finds it.",
            gives=with_programs(len),
        ),
        Mistake(
            "forgets programs",
            "You compile whenever the shape changes from one call to the next. But all earlier "
            "programs are kept, not only the last.",
            gives=with_programs(lambda shapes: 1 + sum(a != b for a, b in pairwise(shapes))),
        ),
        Mistake(
            "number of voxels",
            "Two shapes with the same number of voxels are two shapes: loops and memory are laid "
            "out for (z, y, x), not for a product.",
            gives=with_programs(lambda shapes: len({int(np.prod(shape)) for shape in shapes})),
        ),
        Mistake(
            "compiling left out",
            "The calls are right. The time for compiling is missing.",
            gives=with_programs(lambda shapes: 0),
        ),
        Mistake(
            "first call",
            "The first call with a shape compiles *and* runs: its voxels take their time, too.",
            gives=runs_only_later,
        ),
        Mistake(
            "nanoseconds",
            "plain and fused are in nanoseconds, compiling is in seconds. Bring them to one unit.",
            gives=lambda shapes, plain, fused, compiling: call_by_call(
                shapes, plain * 1e9, fused * 1e9, compiling
            ),
        ),
    ),
)

# 08.retrace ----------------------------------------------------------------------------------


def draw_schedules(rng):
    """Rates that fall, the last of which comes three times."""
    calls = []
    for _ in range(2):
        rates = np.sort(rng.uniform(0.01, 0.2, 4))[::-1].round(4).tolist()
        rates += rates[-1:] * 2
        weights = rng.uniform(1, 2, rng.integers(3, 6)).astype(np.float32)
        calls.append({"weights": weights, "slope": float(rng.uniform(0.5, 1.5)), "rates": rates})
    return calls


def follow(function, weights, slope, rates):
    """All steps, and how often Python passed the gradient: while tracing, or without a graph."""
    import tensorflow as tf

    passes = {"graph": 0, "no graph": 0}

    @tf.autograph.experimental.do_not_convert
    def gradient(values):
        passes["no graph" if tf.executing_eagerly() else "graph"] += 1
        return slope * values

    step = function(gradient)
    if step is None:
        return None
    values = tf.constant(weights)
    for rate in rates:
        values = step(values, rate)
    return {
        "weights": values,
        "times traced": passes["graph"],
        "times run without a graph": passes["no graph"],
    }


def followed(weights, slope, rates, traced=1, eager=0):
    """The gradient is `slope` times the weights, so each step is a factor."""
    product = np.prod([1 - rate * slope for rate in rates])
    return {
        "weights": (weights * product).astype(np.float32),
        "times traced": traced,
        "times run without a graph": eager,
    }


RETRACE = Exercise(
    function="make_step",
    draw=draw_schedules,
    reference=followed,
    probe=follow,
    tensorflow=True,
    seconds=60.0,
    hint="Give the graph a tensor: tf.constant(rate, tf.float32) before the traced function is "
    "called, or an `input_signature` of tf.TensorSpec, which turns numbers into tensors.",
    mistakes=(
        Mistake(
            "traced for each rate",
            "Compare how often it was traced with the number of *different* rates. What is a "
            "Python number for `tf.function`: an input, or a part of the code?",
            gives=lambda weights, slope, rates: followed(
                weights, slope, rates, traced=len(set(rates))
            ),
        ),
        Mistake(
            "traced in each step",
            "It is traced in every step, even for a rate that comes again. Where is the traced "
            "function made, and how often? Make it once, outside of the step.",
            gives=lambda weights, slope, rates: followed(weights, slope, rates, traced=len(rates)),
        ),
        Mistake(
            "no graph",
            "Nothing is traced any more: each step runs in plain Python. That does not retrace, "
            "but the graph is what we wanted.",
            gives=lambda weights, slope, rates: followed(
                weights, slope, rates, traced=0, eager=len(rates)
            ),
        ),
        Mistake(
            "frozen rate",
            "It is traced once. But the rate of the first step is now part of the graph, and all "
            "later ones are ignored.",
            gives=lambda weights, slope, rates: followed(weights, slope, rates[:1] * len(rates)),
        ),
    ),
)

# 08.filled -----------------------------------------------------------------------------------


def draw_validations(rng):
    """More than one batch, the last of which is full in the first call alone."""
    calls = []
    for call in range(CALLS):
        size = int(rng.integers(3, 6))
        rest = int(rng.integers(1, size)) if call else size
        number = size * int(rng.integers(1, 4)) + rest
        patches = rng.normal(size=(number, 4, 5)).astype(np.float32)
        labels = (rng.uniform(size=patches.shape) < 0.4).astype(np.uint8)
        slope = float(rng.uniform(0.5, 3))
        calls.append(
            {
                "losses": compiled_for(size, slope),
                "patches": patches,
                "labels": labels,
                "size": size,
            }
        )
    return calls


def cross_entropies(patches, labels, slope):
    """Of each patch, with logits that are `slope` times the image: log 2 for zeros."""
    logits = patches.astype(np.float64) * slope
    return (np.logaddexp(0, logits) - labels * logits).mean(axis=(1, 2))


def compiled_for(size, slope):
    """As a compiled program that takes one shape only."""

    def losses(patches, labels):
        if np.shape(patches) != (size, 4, 5) or np.shape(labels) != (size, 4, 5):
            raise ValueError(f"the program is compiled for ({size}, 4, 5), not {patches.shape}")
        return cross_entropies(patches, labels, slope)

    return losses


def patch_by_patch(losses, patches, labels, size):
    """Each patch in a batch of nothing but copies of it."""
    pairs = zip(patches, labels, strict=True)
    each = [losses(np.stack([p] * size), np.stack([t] * size))[0] for p, t in pairs]
    return sum(each) / len(each)


def batches(losses, patches, labels, size):
    """(losses of the filled batch, number of real patches) of each."""
    for start in range(0, len(patches), size):
        real = min(size, len(patches) - start)
        shape = (size, *patches.shape[1:])
        image, truth = np.zeros(shape, patches.dtype), np.zeros(shape, labels.dtype)
        image[:real], truth[:real] = patches[start : start + real], labels[start : start + real]
        yield losses(image, truth), real


def over_batches(combine):
    return lambda losses, patches, labels, size: combine(
        list(batches(losses, patches, labels, size)), len(patches)
    )


def cut_by_rest(found, number):
    """The last batch cut to what number % size says, which is nothing for a full one."""
    *others, (last, _) = found
    return (sum(each.sum() for each, _ in others) + last[: number % len(last)].sum()) / number


FILLED = Exercise(
    function="mean_loss",
    draw=draw_validations,
    reference=patch_by_patch,
    relative=1e-6,
    hint="In the last batch only the first len(batch) losses belong to patches. The others must "
    "not enter the sum.",
    mistakes=(
        Mistake(
            "padding counted",
            "Take a single patch and a batch of four. How many losses does the program give, and "
            "what are they of?",
            gives=over_batches(lambda found, n: sum(each.sum() for each, _ in found) / n),
        ),
        Mistake(
            "mean of all places",
            "Sum and number now fit together, but both count what was filled in. The mean is asked "
            "for over real patches.",
            gives=over_batches(lambda found, n: np.mean([each for each, _ in found])),
        ),
        Mistake(
            "mean of means",
            "What was filled in is out. But you average the batches' means, so that a patch of the "
            "short batch weighs more than the others.",
            gives=over_batches(
                lambda found, n: np.mean([each[:real].mean() for each, real in found])
            ),
        ),
        Mistake(
            "last batch dropped",
            "You leave the short batch out. Its patches belong to the mean.",
            gives=over_batches(
                lambda found, n: np.mean([each for each, real in found if real == len(each)])
            ),
        ),
        Mistake(
            "sum over too many",
            "You leave the short batch's losses out of the sum, but still divide by all patches.",
            gives=over_batches(
                lambda found, n: sum(each.sum() for each, real in found if real == len(each)) / n
            ),
        ),
        Mistake(
            "full batch dropped",
            "Where patches are left over you are right. If all batches are full, you leave the "
            "last one out: what is len(patches) % size then?",
            gives=over_batches(cut_by_rest),
        ),
        Mistake(
            "another shape",
            "The program takes batches of one shape, and a real one would be compiled anew for "
            "this. Keep filling up, and look at what you do with the losses.",
            raises="ValueError",
            saying="the program is compiled for",
        ),
    ),
)

EXERCISES = {
    "08.traffic": TRAFFIC,
    "08.entry": ENTRY,
    "08.compare": COMPARE,
    "08.cost": COST,
    "08.retrace": RETRACE,
    "08.filled": FILLED,
}
