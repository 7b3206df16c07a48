"""Claims hold, fail, or are missed, and the runner's audit notices each."""

import contextlib
import json
import math

import numpy as np
import pytest

from nnunet_lib.course.claims import CLAIM_MIME, ClaimError, Ledger, audit, collect

OPENING = (
    "# Title\n- **07.1** Say something. *Claims 07.1a, 07.1b.*\n- **07.2** More. *Claim 07.2a.*"
)
ALL = ("07.1a", "07.1b", "07.2a")


def executed(outputs, opening=OPENING):
    """A notebook as papermill leaves it: the opening, then one cell with these outputs."""
    cells = [
        {"cell_type": "markdown", "source": opening},
        {"cell_type": "code", "source": "", "outputs": [{"data": data} for data in outputs]},
    ]
    return {"cells": cells}


@pytest.fixture
def run(shown):
    """Check each claim with value 0; return the outputs that a kernel would have kept."""

    def run_claims(checks, finish=True):
        ledger = Ledger("07", ALL)
        for claim in checks:
            ledger.check(claim, "nothing is lost", 0, at_most=1)
        if finish:
            ledger.finish()
        return [bundle for bundle, _ in shown]

    return run_claims


@pytest.mark.parametrize(
    ("value", "bound", "holds"),
    [
        (1.0, {"at_most": 1.0}, True),
        (1.1, {"at_most": 1.0}, False),
        (1.0, {"at_least": 1.0}, True),
        (0.9, {"at_least": 1.0}, False),
        ("DALI", {"equal_to": "DALI"}, True),
        ("tf.data", {"equal_to": "DALI"}, False),
        (np.float32(0.5), {"at_most": 0.5}, True),
        (np.array([3]), {"equal_to": 3}, True),
        (math.nan, {"at_most": 1.0}, False),
        (math.nan, {"at_least": 1.0}, False),
        (math.nan, {"equal_to": math.nan}, False),
        (math.inf, {"at_most": 1.0}, False),
        (-math.inf, {"at_least": 1.0}, False),
        (np.nextafter(1.0, 2.0), {"at_most": 1.0}, False),
        (1.4, {"equal_to": 1}, False),
    ],
)
def test_a_claim_holds_exactly_when_its_value_keeps_the_bound(value, bound, holds, shown):
    ledger = Ledger("07", ALL)
    if holds:
        ledger.check("07.1a", "it is so", value, **bound)
    else:
        with pytest.raises(ClaimError, match=r"07\.1a DOES NOT HOLD: it is so"):
            ledger.check("07.1a", "it is so", value, **bound)
    # Either way the outcome is in the output, where the runner finds it.
    ((bundle, _),) = shown
    assert bundle[CLAIM_MIME]["claim"]["held"] is holds
    assert "it is so" in bundle["text/html"]
    assert json.loads(json.dumps(bundle, allow_nan=False)) == bundle


@pytest.mark.parametrize("bound", [{}, {"at_most": 1, "at_least": 0}, {"below": 1}])
def test_a_claim_needs_exactly_one_known_bound(bound):
    with pytest.raises(ClaimError, match="exactly one bound"):
        Ledger("07", ALL).check("07.1a", "it is so", 0, **bound)


def test_a_value_that_is_no_number_is_refused():
    with pytest.raises(ClaimError, match="one number or one word"):
        Ledger("07", ALL).check("07.1a", "it is so", [1, 2], equal_to=1)


def test_an_unannounced_claim_is_refused():
    with pytest.raises(ClaimError, match=r"07\.9a"):
        Ledger("07", ALL).check("07.9a", "it is so", 0, at_most=1)


@pytest.mark.parametrize("claim", ["7.1a", "08.1a", "07.1", "07.1aa"])
def test_an_id_of_another_form_or_lesson_is_refused(claim):
    with pytest.raises(ClaimError, match="no claim of lesson 07"):
        Ledger("07", (claim,))


def test_finish_names_the_claims_that_never_ran(run):
    with pytest.raises(ClaimError, match=r"\['07.1b', '07.2a'\]"):
        run(["07.1a"])


def test_a_claim_that_failed_unheard_is_found_at_the_end_and_by_the_audit(shown):
    ledger = Ledger("07", ("07.1a",))
    with contextlib.suppress(AssertionError):
        ledger.check("07.1a", "it is so", 1, equal_to=0)
    with pytest.raises(ClaimError, match=r"07\.1a DOES NOT HOLD"):
        ledger.finish()
    outputs = [bundle for bundle, _ in shown]
    finished = {CLAIM_MIME: {"finished": ["07.1a"]}}
    (problem,) = audit(executed([*outputs, finished], opening="**07.1** 07.1a"))
    assert "DOES NOT HOLD" in problem


def test_the_last_run_of_a_claim_counts(shown):
    ledger = Ledger("07", ("07.1a",))
    ledger.check("07.1a", "it is so", 0, equal_to=0)
    with contextlib.suppress(ClaimError):
        ledger.check("07.1a", "it is so", 1, equal_to=0)
    with pytest.raises(ClaimError, match="DOES NOT HOLD"):
        ledger.finish()
    assert [claim.held for claim in collect(executed([bundle for bundle, _ in shown]))] == [False]
    ledger.check("07.1a", "it is so", 0, equal_to=0)
    ledger.finish()
    assert audit(executed([bundle for bundle, _ in shown], opening="**07.1** 07.1a")) == ()


def test_a_claim_error_is_an_assertion_error():
    assert issubclass(ClaimError, AssertionError)


def test_the_audit_finds_nothing_wrong_with_a_complete_lesson(run):
    notebook = executed(run(ALL))
    assert audit(notebook) == ()
    assert [claim.claim for claim in collect(notebook)] == list(ALL)
    assert collect(notebook)[2].objective == "07.2"


def test_the_audit_finds_what_did_not_run_and_what_was_not_listed(run):
    notebook = executed(run(ALL), opening="**07.1** 07.1a 07.1c, **07.3** alone")
    problems = " ".join(audit(notebook))
    assert "Objective 07.3 has no claim" in problems
    assert "Claim 07.1c did not run" in problems
    assert "Claim 07.1b is not listed" in problems
    assert "Claim 07.2a is not listed" in problems


def test_the_audit_finds_a_claim_without_an_objective(run):
    notebook = executed(run(ALL), opening="**07.1** 07.1a 07.1b 07.2a")
    assert audit(notebook) == ("Claim 07.2 belongs to no objective.",)


def test_the_audit_finds_an_unfinished_ledger(run):
    (problem,) = audit(executed(run(ALL, finish=False)))
    assert "not finished" in problem


def test_the_audit_asks_nothing_of_a_notebook_without_claims():
    assert audit(executed([], opening="# Only a page")) == ()


def test_a_claim_that_ran_twice_counts_once(run):
    assert len(collect(executed(run([*ALL, "07.1a"])))) == 3
