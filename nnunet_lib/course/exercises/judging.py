"""From what a learner's code gave to what the learner reads: what holds, what does not, a hint."""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from nnunet_lib.course.exercises.exercise import Exercise, Inputs, Mistake
from nnunet_lib.course.exercises.sandbox import Fault, Outcome
from nnunet_lib.course.exercises.values import Tolerance, describe, difference, plain
from nnunet_lib.errors import InputError


@dataclass(frozen=True)
class Finding:
    """Something that was checked, and whether it holds."""

    name: str
    held: bool


@dataclass(frozen=True)
class Verdict:
    """What came of one check.

    Attributes:
        exercise: its id.
        solved: whether everything holds.
        findings: what was checked; empty if the code did not run to its end.
        problem: what is wrong, with the first input that shows it; empty if nothing is.
        mistake: the name of what the hint speaks of: a mistake, a property, or a fault's kind.
        hint: what to think about; empty if there is nothing to say beyond the problem.
    """

    exercise: str
    solved: bool
    findings: tuple[Finding, ...] = ()
    problem: str = ""
    mistake: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Verdict":
        """From `to_json`'s value."""
        findings = tuple(Finding(**finding) for finding in value["findings"])
        return cls(**{**value, "findings": findings})


def judge(
    identifier: str, exercise: Exercise, source: str, calls: Sequence[Inputs], outcome: Outcome
) -> Verdict:
    """Hold an outcome against the reference, the properties and the mistakes that are known.

    Args:
        identifier: the exercise's id.
        exercise: what is checked.
        source: the learner's cell, in which only a placeholder is looked for.
        calls: the inputs that its function was called with.
        outcome: what came of it.
    """
    verdict = _judged(identifier, exercise, calls, outcome)
    line = 0 if verdict.solved else _placeholder(source)
    if not line:
        return verdict
    problem = f"Line {line} of the cell is still the placeholder: `{_line(source, line)}`"
    return Verdict(identifier, False, (), problem, "placeholder", "Write your code in its place.")


def _placeholder(source: str) -> int:
    """The line with a stub's `name = ...`, `return ...` or `raise NotImplementedError`, or 0."""
    try:
        nodes = ast.walk(ast.parse(source))
        return next((node.lineno for node in nodes if _is_placeholder(node)), 0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0


def _is_placeholder(node: ast.AST) -> TypeGuard[ast.stmt]:
    match node:
        case (
            ast.Assign(value=ast.Constant(value=content))
            | ast.Return(value=ast.Constant(value=content))
            | ast.Expr(value=ast.Constant(value=content))
        ):
            return content is ...
        case ast.Raise(exc=ast.Name(id="NotImplementedError")):
            return True
    return False


def _line(source: str, number: int) -> str:
    return source.split("\n")[number - 1].strip()  # as the parser counts


def _judged(
    identifier: str, exercise: Exercise, calls: Sequence[Inputs], outcome: Outcome
) -> Verdict:
    if outcome.fault:
        return _of_fault(identifier, exercise, calls, outcome.fault)
    if len(outcome.results) != len(calls):
        return Verdict(identifier, False, problem="The code sent something that is no result.")
    wanted = [plain(exercise.reference(**inputs)) for inputs in calls]
    differences = _differences(exercise, outcome.results, wanted)
    findings = _findings(exercise, calls, outcome, differences)
    if all(finding.held for finding in findings):
        return Verdict(identifier, True, findings)
    mistake, hint = _diagnosis(exercise, calls, outcome, findings)
    problem = _first_problem(calls, differences)
    return Verdict(identifier, False, findings, problem, mistake, hint)


def _differences(exercise: Exercise, results: Sequence[Any], wanted: Sequence[Any]) -> list[str]:
    tolerance = Tolerance(exercise.relative, exercise.absolute)
    return [
        difference(result, right, tolerance) for result, right in zip(results, wanted, strict=True)
    ]


def _findings(
    exercise: Exercise, calls: Sequence[Inputs], outcome: Outcome, differences: Sequence[str]
) -> tuple[Finding, ...]:
    right = sum(not words for words in differences)
    title = f"{exercise.function} is right for inputs drawn anew ({right} of {len(calls)})"
    found = [Finding(title, right == len(calls))]
    for one in exercise.properties:
        held = all(
            _holds(one.holds, result, inputs)
            for result, inputs in zip(outcome.results, calls, strict=True)
        )
        found.append(Finding(one.name, held))
    if outcome.changed:
        found.append(Finding("it leaves its inputs as they were", False))
    return tuple(found)


def _holds(holds: Callable[..., bool], result: Any, inputs: Inputs) -> bool:
    try:
        return bool(holds(result, **inputs))
    except Exception:  # a result of the wrong type or shape has no property
        return False


def _diagnosis(
    exercise: Exercise, calls: Sequence[Inputs], outcome: Outcome, findings: Sequence[Finding]
) -> tuple[str, str]:
    """The name and the hint of the mistake that gives these results; else of a missing property."""
    for mistake in exercise.mistakes:
        if mistake.gives and _gives(mistake, exercise, calls, outcome.results):
            return mistake.name, mistake.hint
    if any(result is None for result in outcome.results):
        return "nothing", f"{exercise.function} gives None. Does every way through it `return`?"
    failed = {finding.name for finding in findings if not finding.held}
    for one in exercise.properties:
        if one.name in failed:
            return one.name, one.hint
    if outcome.changed:
        return "changes its input", (
            f"The function changes {', '.join(outcome.changed)}, which whoever calls it may still "
            "need. Work on a copy."
        )
    return "", ""


def _gives(
    mistake: Mistake, exercise: Exercise, calls: Sequence[Inputs], results: Sequence[Any]
) -> bool:
    """Whether a mistake gives just these results."""
    assert mistake.gives is not None
    try:
        given = [plain(mistake.gives(**inputs)) for inputs in calls]
    except Exception:  # the mistake cannot be made with these inputs
        return False
    return not any(_differences(exercise, results, given))


def _first_problem(calls: Sequence[Inputs], differences: Sequence[str]) -> str:
    for number, words in enumerate(differences):
        if words:
            return f"{_of_call(calls, number)}: {words}."
    return ""


def _of_call(calls: Sequence[Inputs], number: int) -> str:
    """Which call it was, and its inputs."""
    inputs = ", ".join(f"{name}: {_described(value)}" for name, value in calls[number].items())
    return f"In call {number + 1} of {len(calls)} ({inputs})"


def _described(value: Any) -> str:
    try:
        return describe(plain(value))
    except InputError as error:  # no data, such as a function
        return str(error)


def _of_fault(
    identifier: str, exercise: Exercise, calls: Sequence[Inputs], fault: Fault
) -> Verdict:
    """The verdict on code that gave no results."""
    problem = _FAULTS[fault.kind](exercise, fault)
    if fault.line:
        problem += f" It happened in line {fault.line} of the cell: `{fault.code}`"
    if 0 <= fault.call < len(calls):
        problem = f"{_of_call(calls, fault.call)}: {problem}"
    mistake, hint = _fault_hint(exercise, fault)
    return Verdict(identifier, False, (), problem, mistake, hint)


_FAULTS: dict[str, Callable[[Exercise, Fault], str]] = {
    "syntax": lambda e, f: f"The cell is not Python yet: {f.message}.",
    "missing": lambda e, f: f"The cell defines no function `{e.function}`.",
    "call": lambda e, f: f"`{e.function}` cannot be called as the exercise says: {f.message}.",
    "unusable": lambda e, f: f"The check cannot use what `{e.function}` gives: {f.message}.",
    "error": lambda e, f: f"{f.exception}: {f.message}." if f.message else f"{f.exception}.",
    "strange": lambda e, f: f"`{e.function}` gives {f.message}, which cannot be compared.",
    "time": lambda e, f: f"It took more than {e.seconds:g} seconds and was stopped.",
    "memory": lambda e, f: f"It needed more memory than the {e.memory / 2**30:g} GiB allowed.",
    "ended": lambda e, f: f"The code ended its process {f.message}, without a result.",
}


def _fault_hint(exercise: Exercise, fault: Fault) -> tuple[str, str]:
    """A hint for code that gave no results: of the exercise's own mistakes first."""
    raised = [one for one in exercise.mistakes if one.raises and one.raises == fault.exception]
    for mistake in raised:
        if mistake.saying and mistake.saying in fault.message:
            return mistake.name, mistake.hint
    for words, hint in _MESSAGE_HINTS.items():
        if words in fault.message:
            return words, hint
    for mistake in raised:
        if not mistake.saying:
            return mistake.name, mistake.hint
    if fault.exception in _EXCEPTION_HINTS:
        return fault.exception, _EXCEPTION_HINTS[fault.exception]
    if fault.kind == "syntax" and re.match(r"[%!]", fault.code):
        return "magic", "Lines that begin with % or ! are for JupyterLab: put them elsewhere."
    return fault.kind, _KIND_HINTS.get(fault.kind, "")


_MESSAGE_HINTS = {
    "truth value of an array": (
        "An array of several values is neither true nor false, so that `if`, `and` and `or` cannot "
        "use it. Say what shall hold, with .all() or .any(), or compare with numpy functions."
    ),
}
_EXCEPTION_HINTS = {
    "NameError": (
        "The check runs this cell alone, in a fresh process. Import in it what it needs, and call "
        "`check` in another one."
    ),
    "ModuleNotFoundError": "The exercise needs nothing beyond what its cell imports at first.",
    "SystemExit": "Leave out exit() and sys.exit(): return the result instead.",
    "EOFError": "There is no keyboard in a check: leave out input(), and use the arguments.",
    "RecursionError": "The function calls itself without end.",
}
_KIND_HINTS = {
    "syntax": "Look at that line and the one above: a bracket, a colon, the indentation?",
    "missing": "Keep the line `def ...` with the name that the exercise gives, and run the cell.",
    "call": "Keep the function's first line as the exercise gives it.",
    "unusable": "What shall it return, and of which type? The exercise says so.",
    "strange": "Return numbers, text, arrays, or lists and dictionaries of these.",
    "time": "Is there a loop that never ends, or one over every voxel where NumPy has a function?",
    "memory": "Which array is that large? Print the shapes that go into it.",
    "ended": "Leave out calls that end Python, such as exit(), quit() or os._exit().",
}
