"""A request to a child process has an answer or a death with a name, and whatever happens, the next request is served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweep.crossref import LATE_IMPORTS
from sweep.errors import ChildDiedError, ChildFailedError, LibraryError, ProcessUnusableError, UnknownCallError
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import CALL, Finding, Key, Place, Result, Status
from sweep.findings.kind import Difference, StateChange
from sweep.isolation import messages
from sweep.isolation.instruction_sets import pinned_environment
from sweep.isolation.sandbox import Sandbox, each_done
from sweep.isolation.supervisor import Supervisor
from sweep.progress import Activity, Phase
from sweep.trials import Effort, Trials
from tests import child_functions

ROOT = Path(__file__).resolve().parent.parent

PARENT = """
import sys, time
from pathlib import Path
from sweep.isolation.sandbox import Sandbox
with Sandbox(Path(sys.argv[1])) as sandbox:
    try:
        print(sandbox.request("tests.child_functions:pid"), flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print(sandbox.request("tests.child_functions:pid"), flush=True)
"""


def ask(sandbox, function, **arguments):
    return sandbox.request(f"tests.child_functions:{function}", **arguments)


def predicting(crossref):
    return Phase(Activity.PREDICTION, crossref)


def started_parent(scratch):
    command = [sys.executable, "-c", PARENT, str(scratch)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=child_functions.accept_ctrl_c
    )


def is_gone(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def goes_away(pid, seconds=5.0):
    until = time.monotonic() + seconds
    while not is_gone(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_value_comes_back_and_the_child_lives_on(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        arguments = {"a": [1, 2.5, None], "b": {"c": "ü\n"}}
        assert ask(sandbox, "echo", **arguments) == arguments
        assert ask(sandbox, "pid") == ask(sandbox, "pid") != os.getpid()
        assert sandbox.starts == 1


def test_an_exception_comes_back_by_name_and_the_child_lives_on(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        with pytest.raises(ChildFailedError) as caught:
            ask(sandbox, "fail", message="no such\nthing")
        assert (caught.value.class_name, caught.value.message) == ("LookupError", "no such\nthing")
        assert "child_functions.py" in caught.value.traceback
        assert ask(sandbox, "echo") == {}
        assert sandbox.starts == 1


def test_a_function_that_does_not_exist_is_an_error(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        with pytest.raises(ChildFailedError, match="no_such_function"):
            ask(sandbox, "no_such_function")
        with pytest.raises(ChildFailedError, match="ModuleNotFoundError"):
            sandbox.request("tests.no_such_module:f")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("return_a_fraction", "it holds fractions.Fraction, which the parent does not accept"),
        ("return_a_function", "it holds posix.system"),
        ("return_a_lambda", "Can't pickle local object"),
        ("return_an_intruder", "it holds posix.system"),
        ("save_garbage", "unreadable message"),
    ],
)
def test_a_reply_that_is_not_plain_data_is_an_error_that_says_so(tmp_path, function, message):
    with Sandbox(tmp_path) as sandbox, pytest.raises(ChildFailedError, match=message):
        ask(sandbox, function)


def test_data_classes_enums_errors_and_collections_can_be_sent():
    key = Key("fake", Place(output=0), Difference.STRIDES, 1)
    value = [
        key,
        Phase(Activity.REAL, "fake"),
        Counter("aab"),
        defaultdict(list, a=[1]),
        1j,
        {1},
        b"x",
        Ending(EndingKind.TIMEOUT),
    ]
    assert messages.decode_in_parent(messages.encode(messages.Returned(value))) == messages.Returned(value)


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.getattr", "sweep.files.replace", "sweep.no_such_module.Class"])
def test_nothing_else_can_be_sent(name):
    module, _, attribute = name.rpartition(".")
    with pytest.raises(ChildFailedError, match="it holds"):
        messages.decode_in_parent(b"c" + f"{module}\n{attribute}\n".encode() + b".")


def test_reading_a_message_does_not_import_torch():
    code = """
import sys
from sweep.errors import ChildFailedError
from sweep.isolation.messages import decode_in_parent
try:
    decode_in_parent(b"csweep.execution.run\\ncheck_overload\\n.")
except ChildFailedError as error:
    print(error.message)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "a class of sweep.execution.run, which the parent cannot import" in done.stdout


def test_an_error_of_the_project_comes_back_as_itself_with_its_place_and_checkpoints(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        first = ask(sandbox, "pid")
        with pytest.raises(UnknownCallError, match="no call 7") as caught:
            ask(sandbox, "save_and_raise", values=[1, 2])
        assert (caught.value.call, caught.value.phase, caught.value.checkpoints) == (5, Phase(Activity.REAL), [1, 2])
        assert ask(sandbox, "pid") == first


def test_a_child_that_says_that_it_is_unusable_is_replaced(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        first = ask(sandbox, "pid")
        with pytest.raises(ProcessUnusableError, match="changes open files, grad mode") as caught:
            ask(sandbox, "become_unusable", by_prediction=True)
        assert caught.value.cause == StateChange(("open files", "grad mode"))
        assert caught.value.by_prediction
        assert ask(sandbox, "pid") != first


def test_a_child_whose_libraries_cannot_be_imported_is_not_used(tmp_path):
    with Sandbox(tmp_path, libraries=["tests.no_such_module"]) as sandbox:
        for _ in range(2):
            with pytest.raises(LibraryError, match="no_such_module"):
                ask(sandbox, "echo")


def test_children_run_with_pinned_instruction_sets_unless_native_ones_are_asked_for(tmp_path, monkeypatch):
    names = list(pinned_environment(False))
    for name in names:
        monkeypatch.delenv(name, raising=False)
    with Sandbox(tmp_path) as pinned, Sandbox(tmp_path, native_cpu=True) as native:
        assert ask(pinned, "variables", names=names) == pinned_environment(False)
        assert ask(native, "variables", names=names) == dict.fromkeys(names) | pinned_environment(True)


@pytest.mark.parametrize(
    ("function", "arguments", "ending", "call", "phase"),
    [
        ("kill", {"number": signal.SIGSEGV, "call": 7, "phase": predicting("fake")}, "crash SIGSEGV", 7, predicting("fake")),
        ("kill", {"number": signal.SIGKILL, "call": 0, "phase": predicting("x" * 60)}, "crash SIGKILL", 0, predicting("x" * 48)),
        ("abort", {}, "crash SIGABRT", 2, Phase(Activity.EXAMPLE)),
        ("leave", {"code": 0}, "exit 0", 3, Phase(Activity.ATTEMPT)),
        ("leave", {"code": 3}, "exit 3", 3, Phase(Activity.ATTEMPT)),
        ("sleep", {"seconds": 60, "timeout": 0.3}, "timeout", 4, Phase(Activity.RECORD)),
    ],
)
def test_a_death_has_a_name_and_a_place_and_the_next_request_is_served_anew(tmp_path, function, arguments, ending, call, phase):
    with Sandbox(tmp_path) as sandbox:
        first = ask(sandbox, "pid")
        with pytest.raises(ChildDiedError) as caught:
            ask(sandbox, function, **arguments)
        assert (str(caught.value.ending), caught.value.call, caught.value.phase) == (ending, call, phase)
        assert is_gone(first)
        assert ask(sandbox, "pid") != first
        assert sandbox.starts == 2


def test_checkpoints_outlive_a_child_that_dies_and_a_function_that_fails(tmp_path):
    values = [[at, "x" * 1000] for at in range(1000)]  # more than a connection holds
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "save_all", values=values) == 1000
        with pytest.raises(ChildDiedError) as died:
            ask(sandbox, "save_and_die", values=values)
        assert (str(died.value.ending), died.value.call, died.value.checkpoints) == ("crash SIGABRT", 5, values)
        with pytest.raises(ChildFailedError) as failed:
            ask(sandbox, "save_and_fail", values=[1])
        assert (failed.value.class_name, failed.value.call, failed.value.checkpoints) == ("LookupError", 5, [1])
        with pytest.raises(ChildDiedError) as died:
            ask(sandbox, "abort")
        assert died.value.checkpoints == []


def test_what_a_request_left_in_the_working_folder_is_gone_for_the_next(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "litter") == ["file", "folder"]
        assert ask(sandbox, "working_folder")[1] == []
        assert sandbox.starts == 1


def test_a_real_time_signal_has_a_name(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        with pytest.raises(ChildDiedError) as caught:
            ask(sandbox, "kill", number=signal.SIGRTMIN + 1, call=0, phase=Phase(Activity.REAL))
        assert str(caught.value.ending) == f"crash SIG{signal.SIGRTMIN + 1}"


def test_a_child_that_was_killed_between_two_requests_is_a_death_and_is_replaced(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        first = ask(sandbox, "pid")
        os.kill(first, signal.SIGKILL)
        assert goes_away(first)
        with pytest.raises(ChildDiedError, match="crash SIGKILL"):
            ask(sandbox, "echo")
        assert ask(sandbox, "echo") == {}


def test_a_function_with_a_heartbeat_may_take_longer_than_the_timeout(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "busy", seconds=1.6, timeout=0.6) == "done"


def test_the_working_folder_is_empty_and_goes_with_the_child(tmp_path):
    sandbox = Sandbox(tmp_path)
    folder, content = ask(sandbox, "working_folder")
    assert (Path(folder).parent, content) == (tmp_path, [])
    sandbox.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ChildDiedError):
        ask(sandbox, "leave", code=0)
    assert list(tmp_path.iterdir()) == []


def test_a_child_finds_nothing_of_the_one_before_it(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "remember", value=1) == [1]
        assert ask(sandbox, "remember", value=2) == [1, 2]
        fork_server = ask(sandbox, "parent")
        sandbox.end_child()
        assert ask(sandbox, "remember", value=3) == [3]
        assert ask(sandbox, "parent") == fork_server


def test_a_fork_server_that_is_killed_takes_its_child_along_and_is_replaced(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        child, fork_server = ask(sandbox, "pid"), ask(sandbox, "parent")
        os.kill(fork_server, signal.SIGKILL)
        assert goes_away(child)
        with pytest.raises(ChildDiedError, match="crash SIGKILL"):
            ask(sandbox, "echo")
        assert ask(sandbox, "parent") != fork_server


def test_a_fork_server_that_went_while_it_had_no_child_is_replaced_and_no_request_is_blamed(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        fork_server = ask(sandbox, "parent")
        sandbox.end_child()
        os.kill(fork_server, signal.SIGKILL)
        assert goes_away(fork_server)
        assert ask(sandbox, "parent") != fork_server


def test_a_child_that_cannot_be_ended_is_left_behind_with_its_fork_server(tmp_path, monkeypatch):
    """As one that waits for a device in the kernel; here nobody says that it has ended."""
    monkeypatch.setattr("sweep.isolation.fork_server._KILL_TIMEOUT", 0.2)
    with Sandbox(tmp_path) as sandbox:
        child = ask(sandbox, "pid")
        before = ask(sandbox, "parent")
        os.kill(before, signal.SIGSTOP)
        sandbox.end_child()
        assert ask(sandbox, "parent") != before
    assert goes_away(child)


def test_a_fork_server_leaves_it_to_children_to_say_what_cannot_be_imported(tmp_path):
    with Sandbox(tmp_path, preloads=["tests.no_such_module"]) as sandbox:
        assert ask(sandbox, "echo") == {}
        with pytest.raises(ChildFailedError, match="ModuleNotFoundError"):
            sandbox.request("tests.no_such_module:f")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_fork_server_has_one_thread_whatever_it_has_imported(tmp_path):
    """Only that one is there in what it forks; a lock that another one held would never be released."""
    with Sandbox(tmp_path, preloads=["sweep.execution.run", "sweep.recording.tasks", *LATE_IMPORTS]) as sandbox:
        assert len(list(Path(f"/proc/{ask(sandbox, 'parent')}/task").iterdir())) == 1


def test_what_a_child_prints_does_no_harm_and_is_not_kept(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "talk", megabytes=8, timeout=30) == 8
        assert ask(sandbox, "printed_bytes") == 0


def test_a_child_has_no_input(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "read_input", timeout=5) == ""


def test_a_closed_sandbox_leaves_no_process(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        child, fork_server = ask(sandbox, "pid"), ask(sandbox, "parent")
    assert is_gone(child)
    assert is_gone(fork_server)
    sandbox.close()


def test_a_child_goes_with_its_killed_parent_and_its_folder_with_the_next_sandbox(tmp_path):
    with started_parent(tmp_path) as parent:
        child = int(parent.stdout.readline())
        assert not is_gone(child)
        parent.kill()
    assert goes_away(child)
    assert len(list(tmp_path.iterdir())) == 1
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "working_folder")[0] == str(next(tmp_path.iterdir()))
        assert len(list(tmp_path.iterdir())) == 1


def test_a_child_survives_ctrl_c_until_its_parent_ends_it(tmp_path):
    with started_parent(tmp_path) as parent:
        child = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        assert int(parent.stdout.readline()) == child
        assert parent.wait(timeout=10) == 0
    assert is_gone(child)
    assert list(tmp_path.iterdir()) == []


# --- supervisor --------------------------------------------------------------------------------------------------------


def supervised(*outcomes, recorded=5, real=None, effort=Effort.TRIED, trials=None):
    """A supervisor whose sandbox has these outcomes, one after the other, and the requests that were made of it.

    ``real`` is what the real call of one that died elsewhere raises; ``trials`` takes what each request is to do for examples.
    """
    outcomes, trials = list(outcomes), [] if trials is None else trials
    requests = []

    def request(function, **arguments):
        name = function.partition(":")[2]
        if name == "count":
            return recorded, set(range(recorded))
        if name == "make_real_call":
            if real is not None:
                raise real
            return None
        if name == "describe_death":
            return described(**arguments)
        trials.append(arguments["examples"])
        requests.append((arguments["skip"], trials[-1].effort is not Effort.UNTRIED, list(arguments["checkpoints"])))
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        calls = recorded - sum(not crossref for _, crossref, _ in arguments["skip"])
        return Result("aten.abs.default", calls=calls, findings=outcome, compared={"fake": calls})

    sandbox = SimpleNamespace(request=request, end_child=lambda: None)
    supervisor = Supervisor(sandbox, Path("corpus"), "cpu", ["fake", "functionalize"], timeout=1.0, effort=effort)
    return supervisor, requests


def described(name, folder, positions, device, key):
    dtypes = tuple(sorted({f"float{16 << position % 2}" for position in positions}))
    variants = ("neg",) if all(positions) else ()
    example = f"call {positions[-1]}"
    labels = ("fake", "real")
    calls = len(positions)
    return Finding(key.crossref, key.place, key.kind, key.index, "", "", labels, dtypes, calls, example, variants, key.form)


def skips(requests):
    return [(skip, examples) for skip, examples, _ in requests]


def ending(text):
    """An ending by its text, as tests write it."""
    kind, _, detail = text.partition(" ")
    return Ending(EndingKind(kind), detail)


def died(text, call, crossref="", activity=None, checkpoints=()):
    """A death in the prediction of a crossref, or else in the real call."""
    if activity is None:
        activity = Activity.PREDICTION if crossref else Activity.REAL
    return ChildDiedError(ending(text), call, Phase(activity, crossref), checkpoints)


def unusable(cause, call, crossref="", *, by_prediction=False):
    error = ProcessUnusableError(cause, by_prediction=by_prediction)
    error.call, error.phase = call, predicting(crossref) if crossref else Phase(Activity.REAL)
    return error


def finding(crossref="fake", kind=Difference.DTYPE):
    return Finding(crossref, Place(output=0), kind, None, "a", "b", ("fake", "real"), ("float32",), 1, "example")


def endings(result):
    return [(f.crossref, str(f.kind), f.calls, f.example) for f in result.findings]


def test_an_overload_that_kills_nobody_is_run_once():
    supervisor, requests = supervised((finding(),))
    result = supervisor.run("aten.abs.default")
    assert (result.calls, result.given_up, endings(result)) == (5, 0, [("fake", "dtype", 1, "example")])
    assert requests == [([], True, [])]


def test_a_call_that_kills_is_a_finding_and_the_others_are_still_made():
    supervisor, requests = supervised(
        died("crash SIGSEGV", 1, "fake"), died("timeout", 3, "functionalize"), (finding("functionalize"),)
    )
    result = supervisor.run("aten.abs.default")
    assert skips(requests) == [([], True), ([(1, "fake", "")], True), ([(1, "fake", ""), (3, "functionalize", "")], True)]
    assert (result.status, result.calls, result.given_up, result.compared) == (Status.KNOWN_BAD, 5, 0, {"fake": 5})
    assert endings(result) == [
        ("fake", "crash SIGSEGV", 1, "call 1"),
        ("functionalize", "timeout", 1, "call 3"),
        ("functionalize", "dtype", 1, "example"),
    ]


def test_checkpoints_of_dead_children_are_handed_on():
    supervisor, requests = supervised(
        died("crash SIGSEGV", 1, "fake", checkpoints=["a"]), died("timeout", 3, checkpoints=["b", "c"]), (finding(),)
    )
    supervisor.run("aten.abs.default")
    assert [checkpoints for _, _, checkpoints in requests] == [[], ["a"], ["a", "b", "c"]]


REAL_LOST = Ending(EndingKind.RAISED, "AcceleratorError", "real")
PREDICTION_LOST = Ending(EndingKind.RAISED, "AcceleratorError", "functionalized")
FILES = StateChange(("open files",))
LOST = unusable(PREDICTION_LOST, 1, "functionalize", by_prediction=True)


@pytest.mark.parametrize(
    ("error", "real", "author", "kind"),
    [
        (died("crash SIGSEGV", 1, "fake"), None, "fake", "crash SIGSEGV"),
        (died("crash SIGSEGV", 1, "fake"), died("crash SIGABRT", 1), CALL, "crash SIGABRT"),
        (died("timeout", 1, "fake"), died("crash SIGABRT", 1), "fake", "timeout"),
        (LOST, None, "functionalize", "functionalized raises AcceleratorError"),
        (LOST, unusable(REAL_LOST, 1), CALL, "real raises AcceleratorError"),
        (LOST, unusable(FILES, 1), "functionalize", "functionalized raises AcceleratorError"),
        (died("crash SIGSEGV", 1), None, CALL, "crash SIGSEGV"),
        (unusable(FILES, 1, "fake"), None, CALL, "changes open files"),
    ],
)
def test_a_death_in_a_prediction_is_the_real_calls_if_that_dies_by_itself(error, real, author, kind):
    supervisor, requests = supervised(error, (), real=real)
    assert endings(supervisor.run("aten.abs.default")) == [(author, kind, 1, "call 1")]
    assert skips(requests) == [([], True), ([(1, "" if author == CALL else author, "")], True)]


def test_deaths_of_one_kind_are_one_finding_about_all_of_them_with_the_smallest_call_as_its_example():
    supervisor, _ = supervised(died("crash SIGSEGV", 2, "fake"), died("crash SIGSEGV", 3, "fake"), ())
    result = supervisor.run("aten.abs.default")
    assert endings(result) == [("fake", "crash SIGSEGV", 2, "call 3")]
    assert (result.findings[0].dtypes, result.findings[0].variants) == (("float16", "float32"), ("neg",))


def test_a_death_under_one_crossref_leaves_the_call_to_the_others():
    errors = [died("crash SIGSEGV", at, crossref) for at in (1, 2) for crossref in ("fake", "functionalize")]
    supervisor, requests = supervised(*errors, ())
    result = supervisor.run("aten.abs.default")
    assert [(f.crossref, f.calls) for f in result.findings] == [("fake", 2), ("functionalize", 2)]
    assert (result.calls, result.given_up) == (5, 0)
    assert skips(requests)[-1] == ([(1, "fake", ""), (1, "functionalize", ""), (2, "fake", ""), (2, "functionalize", "")], True)


def test_a_call_that_dies_itself_is_skipped_whole_and_counts_as_made():
    supervisor, requests = supervised(died("crash SIGSEGV", 1), died("exit 3", 2), ())
    result = supervisor.run("aten.abs.default")
    assert skips(requests)[-1] == ([(1, "", ""), (2, "", "")], True)
    assert (result.calls, result.given_up, result.compared) == (5, 0, {"fake": 3})


@pytest.mark.parametrize(
    "error",
    [died("crash SIGSEGV", 7, activity=Activity.EXAMPLE), ProcessUnusableError(FILES)],
    ids=["died", "unusable"],
)
def test_a_death_while_a_printed_call_is_evaluated_costs_only_that_evaluation(error):
    error.call, error.phase = 7, Phase(Activity.EXAMPLE)
    trials = []
    supervisor, _ = supervised(error, (finding(),), trials=trials)
    examples = {"fake: output 0 dtype": "an example"}
    assert endings(supervisor.run("aten.abs.default", examples)) == [("fake", "dtype", 1, "example")]
    assert trials == [Trials(Effort.TRIED, examples), Trials(Effort.TRIED, examples, frozenset({7}))]


def efforts_after(*errors):
    """What is done for examples in each of the processes, of which all but the last die while one evaluates a printed call."""
    trials = []
    supervisor, _ = supervised(*errors, (finding(),), effort=Effort.SHRUNK, trials=trials)
    assert endings(supervisor.run("aten.abs.default")) == [("fake", "dtype", 1, "example")]
    return [(each.effort, sorted(each.deadly)) for each in trials]


def test_after_eight_deaths_in_printed_calls_less_is_done_for_examples():
    """Without shrinking, evaluations have other numbers."""
    errors = [died("crash SIGSEGV", number, activity=Activity.EXAMPLE) for number in range(9)]
    shrinking = [(Effort.SHRUNK, list(range(count))) for count in range(8)]
    assert efforts_after(*errors) == [*shrinking, (Effort.TRIED, []), (Effort.TRIED, [8])]


def test_after_a_printed_call_that_hangs_less_is_done_at_once():
    hung = died("timeout", 4, activity=Activity.EXAMPLE)
    assert efforts_after(hung, hung) == [(Effort.SHRUNK, []), (Effort.TRIED, []), (Effort.UNTRIED, [])]


def test_a_death_before_the_first_call_is_repeated_once_with_everything_else_as_it_was():
    supervisor, requests = supervised(died("crash SIGKILL", -1, activity=Activity.START), (finding(),))
    assert endings(supervisor.run("aten.abs.default")) == [("fake", "dtype", 1, "example")]
    assert skips(requests) == [([], True), ([], True)]


def test_a_second_death_that_no_call_caused_is_not_hidden():
    supervisor, _ = supervised(*[died("crash SIGKILL", -1, activity=Activity.START)] * 2)
    with pytest.raises(ChildDiedError):
        supervisor.run("aten.abs.default")


def test_after_three_deaths_the_calls_after_the_last_are_given_up_and_counted():
    errors = [died("crash SIGSEGV", at) for at in (1, 2, 4)]
    supervisor, requests = supervised(*errors, (finding(),), recorded=8)
    result = supervisor.run("aten.abs.default")
    assert skips(requests)[-1] == ([(1, "", ""), (2, "", ""), (4, "", ""), (5, "", ""), (6, "", ""), (7, "", "")], False)
    assert (result.calls, result.given_up) == (5, 3)
    assert endings(result) == [(CALL, "crash SIGSEGV", 3, "call 4"), ("fake", "dtype", 1, "example")]


def test_after_three_deaths_under_a_crossref_it_is_given_up_and_the_others_go_on():
    errors = [died("crash SIGSEGV", at, "fake") for at in (1, 2, 4)]
    supervisor, requests = supervised(*errors, died("exit 3", 6, "functionalize"), (), recorded=8)
    result = supervisor.run("aten.abs.default")
    deaths = [(at, "fake", "") for at in (1, 2, 4)]
    later = [(at, "fake", "") for at in (5, 6, 7)]
    assert skips(requests)[-2:] == [(deaths + later, True), ([*deaths, (6, "functionalize", ""), *later], True)]
    assert [(f.crossref, f.calls, f.given_up) for f in result.findings] == [("fake", 3, True), ("functionalize", 1, False)]
    assert result.given_up == 0


@pytest.mark.parametrize("deaths", [0, 3])
def test_an_error_of_the_harness_is_not_hidden(deaths):
    errors = [died("crash SIGSEGV", at, "fake") for at in range(deaths)]
    supervisor, _ = supervised(*errors, ChildFailedError("ValueError", "damaged", "", -1, Phase()))
    with pytest.raises(ChildFailedError, match="damaged"):
        supervisor.run("aten.abs.default")


class StandIns(Sandbox):
    """A sandbox that runs functions of ``child_functions`` in place of the entry points, by default those of the same name."""

    functions = {}  # noqa: RUF012 - each test sets its own

    def send(self, function, **arguments):
        name = function.partition(":")[2]
        super().send(f"tests.child_functions:{self.functions.get(name, name)}", **arguments)


@pytest.mark.parametrize(
    ("ruined_by", "starts"),
    [
        (None, 3),  # the calls until one dies, the real call alone, and the rest with the descriptions
        ("make_real_call", 3),
        ("check_overload", 4),
    ],
)
def test_a_child_whose_heap_a_call_has_ruined_costs_nothing_but_itself(tmp_path, ruined_by, starts):
    with StandIns(tmp_path) as sandbox:
        sandbox.functions = {ruined_by: f"{ruined_by}_and_ruin_heap"}
        supervisor = Supervisor(sandbox, Path("corpus"), "cpu", ["fake"], timeout=30.0)
        result = supervisor.run("aten.abs.default")
        assert (result.calls, endings(result)) == (3, [("fake", "crash SIGSEGV", 1, "example")])
        assert sandbox.starts == starts


def test_a_ruined_heap_kills_the_child_at_its_next_use(tmp_path):
    """What the test before this one relies on."""
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "use_heap") is None
        assert ask(sandbox, "ruin_heap") is None
        with pytest.raises(ChildDiedError, match="crash"):
            ask(sandbox, "use_heap")


def test_a_rerun_uses_a_new_child_of_the_other_sandbox_and_leaves_none(tmp_path):
    with StandIns(tmp_path / "a") as sandbox, StandIns(tmp_path / "b") as fresh:
        supervisor = Supervisor(sandbox, Path("corpus"), "cpu", ["fake"], timeout=30.0, fresh=fresh)
        first = supervisor.run("aten.abs.default")
        assert supervisor.rerun_in_fresh_process("aten.abs.default").findings == first.findings
        assert (sandbox.starts, fresh.starts) == (3, 3)
        assert list((tmp_path / "b").iterdir()) == []


def test_of_several_children_those_that_hang_are_returned_as_well(tmp_path):
    with Sandbox(tmp_path) as quick, Sandbox(tmp_path) as hung:
        quick.send("tests.child_functions:pid")
        hung.send("tests.child_functions:sleep", seconds=60)
        assert each_done([quick, hung], timeout=30) == [quick]
        assert quick.receive() > 0
        assert each_done([hung], timeout=0.3) == [hung]
        with pytest.raises(ChildDiedError, match="timeout"):
            hung.receive(timeout=0.3)


def test_an_activity_can_have_a_limit_of_its_own(tmp_path):
    with Sandbox(tmp_path, limits={Activity.RECORD: 0.2}) as sandbox, pytest.raises(ChildDiedError, match="timeout at call 4"):
        ask(sandbox, "sleep", seconds=60, timeout=30)
