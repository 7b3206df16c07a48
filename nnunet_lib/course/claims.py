"""Claims: what a lesson says is true is checked where it says it.

A lesson's first cell lists its objectives by id (00.1, 00.2, ...) and beside each the claims
that prove it (00.1a, 00.1b, ...). The `Ledger` runs each claim, shows it, and raises where
one does not hold. Every claim also goes into the notebook's output as JSON: the runner reads
it from the executed copy, compares it with the first cell, and prints the whole ledger.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from nnunet_lib.course.output import BROKEN, HELD, emit, framed, html_table

CLAIM_MIME = "application/vnd.nnunet-course.claims+json"
TABLE_HEADS = ("objective", "claim", "statement", "value", "bound", "held")
_CLAIM_ID = re.compile(r"\b(\d\d\.\d+)([a-z])\b")
_OBJECTIVE_ID = re.compile(r"\*\*(\d\d\.\d+)\*\*")

Value = float | int | str


class ClaimError(AssertionError):
    """Something that the lesson says is true is not, or was never checked."""


@dataclass(frozen=True)
class Claim:
    """One checked statement: a value, the bound it was held against, and the outcome."""

    lesson: str
    objective: str
    claim: str
    statement: str
    value: Value
    bound: str
    held: bool

    def sentence(self) -> str:
        """The claim on one line, for people."""
        outcome = "holds" if self.held else "DOES NOT HOLD"
        measured = f"{_short(self.value)}, and the bound is {self.bound}"
        return f"Claim {self.claim} {outcome}: {self.statement}. The value is {measured}."


_COMPARISONS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "at_most": ("≤", operator.le),
    "at_least": ("≥", operator.ge),
    "equal_to": ("=", operator.eq),
}


class Ledger:
    """The claims of one lesson: those announced, and those checked so far.

    Args:
        lesson: two digits, such as "00".
        claims: ids of all claims that the lesson's first cell lists, such as "00.1a".
    """

    def __init__(self, lesson: str, claims: Sequence[str]) -> None:
        for claim in claims:
            if not _CLAIM_ID.fullmatch(claim) or not claim.startswith(f"{lesson}."):
                raise ClaimError(
                    f"{claim!r} is no claim of lesson {lesson}: ids look like {lesson}.1a."
                )
        self.lesson = lesson
        self.announced = tuple(claims)
        self.checked: dict[str, Claim] = {}

    def check(self, claim: str, statement: str, value: Any, **bound: Value) -> None:
        """Check a claim, show it, and raise if it does not hold.

        Args:
            claim: one of the announced ids.
            statement: the sentence that is true if the value keeps the bound.
            value: a number or a word; arrays of one element count as their element.
            bound: exactly one of `at_most`, `at_least`, `equal_to`.

        Raises:
            ClaimError: if the value does not keep the bound (NaN keeps none), or if no such
                claim was announced.
        """
        if claim not in self.announced:
            raise ClaimError(f"Claim {claim} is not among those announced: {self.announced}.")
        plain = _plain(value)
        entry = Claim(
            lesson=self.lesson,
            objective=claim[:-1],
            claim=claim,
            statement=statement,
            value=_storable(plain),
            bound=_describe(bound),
            held=_holds(plain, bound),
        )
        self.checked[claim] = entry
        _emit({"claim": asdict(entry)}, entry.sentence(), _claim_html(entry))
        if not entry.held:
            raise ClaimError(entry.sentence())

    def finish(self) -> None:
        """Show the ledger; the last thing that a lesson does.

        Raises:
            ClaimError: if an announced claim was never checked, or one did not hold.
        """
        for entry in self.checked.values():
            if not entry.held:
                raise ClaimError(entry.sentence())
        missing = [claim for claim in self.announced if claim not in self.checked]
        if missing:
            raise ClaimError(f"These claims were announced but never checked: {missing}.")
        entries = list(self.checked.values())
        plain = "\n".join(entry.sentence() for entry in entries)
        html = html_table(TABLE_HEADS, table_rows(entries))
        _emit({"finished": list(self.announced)}, plain, html)


def collect(notebook: Mapping[str, Any]) -> tuple[Claim, ...]:
    """The claims that an executed notebook's outputs carry, each claim's last run."""
    entries = (Claim(**item["claim"]) for item in _emitted(notebook) if "claim" in item)
    return tuple({entry.claim: entry for entry in entries}.values())


def audit(notebook: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with the claims of an executed notebook, one sentence each.

    Its first cell lists objectives (ids in bold) and claims; every objective needs a claim,
    every claim must have run and been announced there, and the ledger must be finished.
    """
    opening = "".join(notebook["cells"][0]["source"]) if notebook["cells"] else ""
    listed = {"".join(match) for match in _CLAIM_ID.findall(opening)}
    proven = {claim[:-1] for claim in listed}
    ran = {entry.claim for entry in collect(notebook)}
    objectives = set(_OBJECTIVE_ID.findall(opening))
    problems = [f"Objective {name} has no claim." for name in sorted(objectives - proven)]
    problems += [f"Claim {name} belongs to no objective." for name in sorted(proven - objectives)]
    problems += [f"Claim {name} did not run." for name in sorted(listed - ran)]
    problems += [f"Claim {name} is not listed in the first cell." for name in sorted(ran - listed)]
    problems += [entry.sentence() for entry in collect(notebook) if not entry.held]
    if (listed or ran) and not any("finished" in item for item in _emitted(notebook)):
        problems.append("The ledger was not finished: end the lesson with ledger.finish().")
    return tuple(problems)


def _holds(value: Value, bound: Mapping[str, Value]) -> bool:
    """Whether the value keeps the one bound; an unknown or missing bound is an error."""
    name, limit = _only(bound)
    return bool(_COMPARISONS[name][1](value, _plain(limit)))


def _describe(bound: Mapping[str, Value]) -> str:
    """The bound as people write it, such as "≤ 1e-05"."""
    name, limit = _only(bound)
    return f"{_COMPARISONS[name][0]} {_short(_plain(limit))}"


def _only(bound: Mapping[str, Value]) -> tuple[str, Value]:
    """The one bound that was given."""
    if len(bound) != 1 or not set(bound) <= set(_COMPARISONS):
        raise ClaimError(f"Give exactly one bound of {tuple(_COMPARISONS)}, not {tuple(bound)}.")
    return next(iter(bound.items()))


def _plain(value: Any) -> Value:
    """A NumPy or TensorFlow scalar as Python's own number; words stay words."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, float | int | str):
        raise ClaimError(f"A claim's value is one number or one word, not {type(value).__name__}.")
    return plain


def _storable(value: Value) -> Value:
    """NaN and infinity as words, since JSON has no such numbers."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _short(value: Value) -> str:
    """A number with four significant digits; whole numbers and words in full."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _emitted(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything that ledgers put into the outputs of an executed notebook, in order."""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", ()))
    bundles = (output.get("data", {}) for output in outputs)
    return [bundle[CLAIM_MIME] for bundle in bundles if CLAIM_MIME in bundle]


def _emit(content: dict[str, Any], plain: str, html: str) -> None:
    """Show `html` (or `plain` in a terminal) and let the output carry `content`."""
    emit({CLAIM_MIME: content, "text/plain": plain, "text/html": html})


def _claim_html(entry: Claim) -> str:
    """One claim as a marked paragraph; the mark is a word too, not a colour alone."""
    return framed(escape(entry.sentence()), HELD if entry.held else BROKEN)


def table_rows(entries: Sequence[Claim]) -> list[tuple[str, ...]]:
    """One line of the ledger a claim, under `TABLE_HEADS`."""
    return [
        (e.objective, e.claim, e.statement, _short(e.value), e.bound, "yes" if e.held else "NO")
        for e in entries
    ]
