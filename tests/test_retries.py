"""The retry policy of a recording task."""

from __future__ import annotations

import pytest

from sweep.errors import ChildDiedError, ChildFailedError, ProcessUnusableError
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.kind import StateChange
from sweep.progress import Activity, Phase
from sweep.recording.outcome import AttemptPlan
from sweep.recording.retries import MAX_SKIPPED, Failure, Mode, Run
from sweep.recording.stages import Task

SEGFAULT, ABORT = Ending(EndingKind.CRASH, "SIGSEGV"), Ending(EndingKind.CRASH, "SIGABRT")
CRASH = Failure(SEGFAULT, 3, Activity.ATTEMPT)
VARIANTS = Run(Task(4, "tensor_variants", "aten.abs.default"), 0, was_isolated=True)
GUESS = Run(Task(2, "schema_guesses", "aten.abs.default"), 0, was_isolated=True)
RECORDING = Run(Task(0, "opinfo", "anything"), 0)


def test_a_crash_is_kept_only_if_it_happens_again_in_a_process_of_its_own():
    confirmation = VARIANTS.after_failure(CRASH)
    assert (confirmation.mode, confirmation.plan) == (Mode.CONFIRM, AttemptPlan(only=3))
    assert confirmation.after_failure(CRASH).plan == AttemptPlan(skip=(3,), crashes=(3,))
    assert confirmation.after_success().plan == AttemptPlan(skip=(3,))
    other = Failure(Ending(EndingKind.TIMEOUT), 3, Activity.ATTEMPT)
    assert confirmation.after_failure(other).plan == AttemptPlan(skip=(3,))


@pytest.mark.parametrize(
    ("run", "failure"),
    [
        (GUESS, CRASH),
        (VARIANTS, Failure(SEGFAULT, 3, Activity.ATTEMPT_ON_CPU)),
        (VARIANTS, Failure(Ending(EndingKind.TIMEOUT), 3, Activity.ATTEMPT)),
        (VARIANTS, Failure(None, 3, Activity.ATTEMPT)),
    ],
)
def test_an_attempt_whose_end_shows_nothing_about_the_call_is_only_skipped(run, failure):
    assert run.after_failure(failure).plan == AttemptPlan(skip=(3,))


def test_a_second_crash_of_one_task_is_not_kept():
    after_first = VARIANTS.after_failure(CRASH).after_failure(CRASH)
    assert after_first.after_failure(Failure(SEGFAULT, 5, Activity.ATTEMPT)).plan == AttemptPlan(skip=(3, 5), crashes=(3,))


def test_after_too_many_processes_the_rest_is_not_attempted_and_then_the_task_is_given_up():
    run = GUESS
    for attempt in range(MAX_SKIPPED):
        run = run.after_failure(Failure(SEGFAULT, attempt, Activity.ATTEMPT))
    run = run.after_failure(Failure(SEGFAULT, 7, Activity.ATTEMPT))
    assert (run.mode, run.plan) == (Mode.SHORTENED, AttemptPlan(skip=tuple(range(MAX_SKIPPED)), stop=7))
    assert run.after_failure(CRASH) is None
    assert run.after_success() is None


@pytest.mark.parametrize(
    "failure", [Failure(ABORT, -1, Activity.START), Failure(SEGFAULT, -1, Activity.RECORD)], ids=["abort", "segfault"]
)
def test_a_crash_is_repeated_once_since_another_task_may_have_caused_it(failure):
    again = RECORDING.after_failure(failure)
    assert (again.mode, again.plan) == (Mode.FULL, AttemptPlan())
    assert again.after_failure(failure) is None


def test_an_attempt_that_crashes_in_a_process_of_many_tasks_is_not_skipped_for_it():
    first = Run(VARIANTS.task, 0).after_failure(CRASH)
    assert (first.mode, first.plan) == (Mode.FULL, AttemptPlan())
    assert first.after_success() is None
    assert first.after_failure(CRASH).plan == AttemptPlan(only=3)


def test_a_task_that_dies_outside_of_an_attempt_is_given_up():
    assert RECORDING.after_failure(Failure(Ending(EndingKind.TIMEOUT), -1, Activity.RECORD)) is None


def test_failures_of_errors():
    phase = Phase(Activity.ATTEMPT)
    unusable = ProcessUnusableError(StateChange(("environment",)))
    unusable.call, unusable.phase = 2, phase
    assert Failure.of(ChildDiedError(SEGFAULT, 3, phase)) == CRASH
    assert Failure.of(unusable) == Failure(None, 2, Activity.ATTEMPT)
    assert Failure.of(ChildFailedError("KeyError", "x", "", 3, phase)) is None
    assert VARIANTS.after_failure(None) is None


def test_a_plan_allows_what_it_does_not_exclude():
    assert [AttemptPlan(skip=(1,), stop=3).allows(n) for n in range(5)] == [True, False, True, False, False]
    assert [AttemptPlan(only=1).allows(n) for n in range(3)] == [False, True, False]
