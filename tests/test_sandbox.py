"""A request to a child process has an answer or a death with a name, and whatever happens, the next request is served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweep.crossref import LATE_IMPORTS
from sweep.findings.finding import KNOWN_BAD, Finding, Result
from sweep.isolation.sandbox import ChildError, Died, Sandbox, each_done
from sweep.isolation.supervisor import Supervisor
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


def started_parent(scratch):
    command = [sys.executable, "-c", PARENT, str(scratch)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=child_functions.heed_ctrl_c
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
        with pytest.raises(ChildError) as caught:
            ask(sandbox, "fail", message="no such\nthing")
        assert (caught.value.name, caught.value.message) == ("LookupError", "no such\nthing")
        assert "child_functions.py" in caught.value.traceback
        assert ask(sandbox, "echo") == {}
        assert sandbox.starts == 1


def test_a_function_that_does_not_exist_is_an_error(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        with pytest.raises(ChildError, match="no_such_function"):
            ask(sandbox, "no_such_function")
        with pytest.raises(ChildError, match="ModuleNotFoundError"):
            sandbox.request("tests.no_such_module:f")


def test_an_answer_that_is_no_plain_data_is_an_error_that_says_so(tmp_path):
    with Sandbox(tmp_path) as sandbox, pytest.raises(ChildError, match="object is not JSON serializable"):
        ask(sandbox, "unspeakable")


@pytest.mark.parametrize(
    ("function", "arguments", "ending", "call", "phase"),
    [
        ("kill", {"number": signal.SIGSEGV, "call": 7, "phase": "fake"}, "crash SIGSEGV", 7, "fake"),
        ("kill", {"number": signal.SIGKILL, "call": 0, "phase": "x" * 60}, "crash SIGKILL", 0, "x" * 48),
        ("abort", {}, "crash SIGABRT", 2, "abort"),
        ("leave", {"code": 0}, "exit 0", 3, "leave"),
        ("leave", {"code": 3}, "exit 3", 3, "leave"),
        ("sleep", {"seconds": 60, "timeout": 0.3}, "timeout", 4, "sleep"),
    ],
)
def test_a_death_has_a_name_and_a_place_and_the_next_request_is_served_anew(tmp_path, function, arguments, ending, call, phase):
    with Sandbox(tmp_path) as sandbox:
        first = ask(sandbox, "pid")
        with pytest.raises(Died) as caught:
            ask(sandbox, function, **arguments)
        assert (caught.value.ending, caught.value.call, caught.value.phase) == (ending, call, phase)
        assert is_gone(first)
        assert ask(sandbox, "pid") != first
        assert sandbox.starts == 2


def test_what_a_child_told_is_known_when_it_dies_and_when_it_fails(tmp_path):
    values = [[at, "x" * 1000] for at in range(1000)]  # more than a connection holds
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "tell_all", values=values, tells=True) == 1000
        with pytest.raises(Died) as died:
            ask(sandbox, "tell_and_die", values=values, tells=True)
        assert (died.value.ending, died.value.call, died.value.told) == ("crash SIGABRT", 5, values)
        with pytest.raises(ChildError) as failed:
            ask(sandbox, "tell_and_fail", values=[1], tells=True)
        assert (failed.value.name, failed.value.told) == ("LookupError", [1])
        with pytest.raises(Died) as died:
            ask(sandbox, "abort")
        assert died.value.told == []


def test_what_a_request_left_in_the_working_folder_is_gone_for_the_next(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "litter") == ["file", "folder"]
        assert ask(sandbox, "working_folder")[1] == []
        assert sandbox.starts == 1


def test_a_real_time_signal_has_a_name(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        with pytest.raises(Died) as caught:
            ask(sandbox, "kill", number=signal.SIGRTMIN + 1, call=0, phase="fake")
        assert caught.value.ending == f"crash SIG{signal.SIGRTMIN + 1}"


def test_a_child_that_was_killed_between_two_requests_is_a_death_and_is_replaced(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        first = ask(sandbox, "pid")
        os.kill(first, signal.SIGKILL)
        assert goes_away(first)
        with pytest.raises(Died, match="crash SIGKILL"):
            ask(sandbox, "echo")
        assert ask(sandbox, "echo") == {}


def test_whoever_leaves_a_trace_may_take_longer_than_the_timeout(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        assert ask(sandbox, "busy", seconds=1.6, timeout=0.6) == "done"


def test_the_working_folder_is_empty_and_goes_with_the_child(tmp_path):
    sandbox = Sandbox(tmp_path)
    folder, content = ask(sandbox, "working_folder")
    assert (Path(folder).parent, content) == (tmp_path, [])
    sandbox.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Died):
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


def test_a_nursery_that_is_killed_takes_its_child_along_and_is_replaced(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        child, fork_server = ask(sandbox, "pid"), ask(sandbox, "parent")
        os.kill(fork_server, signal.SIGKILL)
        assert goes_away(child)
        with pytest.raises(Died, match="crash SIGKILL"):
            ask(sandbox, "echo")
        assert ask(sandbox, "parent") != fork_server


def test_a_nursery_that_went_while_it_had_no_child_is_replaced_and_no_request_is_blamed(tmp_path):
    with Sandbox(tmp_path) as sandbox:
        fork_server = ask(sandbox, "parent")
        sandbox.end_child()
        os.kill(fork_server, signal.SIGKILL)
        assert goes_away(fork_server)
        assert ask(sandbox, "parent") != fork_server


def test_a_child_that_cannot_be_ended_is_left_behind_with_its_nursery(tmp_path, monkeypatch):
    """As one that waits for a device in the kernel; here nobody says that it has ended."""
    monkeypatch.setattr("sweep.fork_server._PATIENCE", 0.2)
    with Sandbox(tmp_path) as sandbox:
        child = ask(sandbox, "pid")
        before = ask(sandbox, "parent")
        os.kill(before, signal.SIGSTOP)
        sandbox.end_child()
        assert ask(sandbox, "parent") != before
    assert goes_away(child)


def test_a_nursery_leaves_it_to_children_to_say_what_cannot_be_imported(tmp_path):
    with Sandbox(tmp_path, modules=["tests.no_such_module"]) as sandbox:
        assert ask(sandbox, "echo") == {}
        with pytest.raises(ChildError, match="ModuleNotFoundError"):
            sandbox.request("tests.no_such_module:f")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_nursery_has_one_thread_whatever_it_has_imported(tmp_path):
    """Only that one is there in what it forks; a lock that another one held would never be released."""
    with Sandbox(tmp_path, modules=["sweep.execution.run", "sweep.recording.tasks", *LATE_IMPORTS]) as sandbox:
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


def supervised(*outcomes, recorded=5, real=None):
    """A supervisor whose sandbox has these outcomes, one after the other, and the requests that were made of it.

    ``real`` is how the real call of one that crashed elsewhere ends.
    """
    waiting, made, told = list(outcomes), [], []

    def request(function, **arguments):
        name = function.partition(":")[2]
        if name == "count":
            return recorded
        if name == "make_real":
            if real is not None:
                raise real
            return None
        if name == "summary":
            at = arguments["positions"]
            dtypes = sorted({f"float{16 << position % 2}" for position in at})
            return {"dtypes": dtypes, "calls": len(at), "example": f"call {at[-1]}", "layouts": ["neg"] if all(at) else []}
        made.append((arguments["skip"], arguments["examples"]))
        told.append(list(arguments["told"]))
        outcome = waiting.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        calls = recorded - sum(not crossref for _, crossref in arguments["skip"])
        return Result("aten.abs.default", calls=calls, findings=outcome).as_json()

    sandbox = SimpleNamespace(request=request, end_child=lambda: None, told=told)
    return Supervisor(sandbox, Path("corpus"), "cpu", ["fake", "functionalize"], timeout=1.0), made


def finding(crossref="fake", kind="dtype"):
    return Finding(crossref, "output 0", kind, None, "a", "b", ("fake", "real"), ("float32",), 1, "example")


def endings(result):
    return [(f.crossref, f.kind, f.calls, f.example) for f in result.findings]


def test_an_overload_that_kills_nobody_is_run_once():
    supervisor, made = supervised((finding(),))
    result = supervisor.run("aten.abs.default")
    assert (result.calls, result.given_up, endings(result)) == (5, 0, [("fake", "dtype", 1, "example")])
    assert made == [([], True)]


def test_a_call_that_kills_is_a_finding_and_the_others_are_still_made():
    supervisor, made = supervised(
        Died("crash SIGSEGV", 1, "fake"), Died("timeout", 3, "functionalize"), (finding("functionalize"),)
    )
    result = supervisor.run("aten.abs.default")
    assert made == [([], True), ([(1, "fake")], True), ([(1, "fake"), (3, "functionalize")], True)]
    assert (result.status, result.calls, result.given_up) == (KNOWN_BAD, 5, 0)
    assert endings(result) == [
        ("fake", "crash SIGSEGV", 1, "call 1"),
        ("functionalize", "timeout", 1, "call 3"),
        ("functionalize", "dtype", 1, "example"),
    ]


def test_what_was_told_before_a_death_is_handed_on():
    supervisor, _ = supervised(Died("crash SIGSEGV", 1, "fake", ["a"]), Died("timeout", 3, "fake", ["b", "c"]), (finding(),))
    supervisor.run("aten.abs.default")
    assert supervisor.sandbox.told == [[], ["a"], ["a", "b", "c"]]


LOST = ChildError("UnusableByPrediction", "functionalized raises AcceleratorError", "", 1, "functionalize")


@pytest.mark.parametrize(
    ("died", "real", "found"),
    [
        (Died("crash SIGSEGV", 1, "fake"), None, ("fake", "crash SIGSEGV")),
        (Died("crash SIGSEGV", 1, "fake"), Died("crash SIGABRT", 1, "real"), ("every", "crash SIGABRT")),
        (Died("timeout", 1, "fake"), Died("crash SIGABRT", 1, "real"), ("fake", "timeout")),
        (LOST, None, ("functionalize", "functionalized raises AcceleratorError")),
        (LOST, ChildError("Unusable", "real raises AcceleratorError", ""), ("every", "real raises AcceleratorError")),
        (LOST, ChildError("Unusable", "changes open files", ""), ("functionalize", "functionalized raises AcceleratorError")),
        (Died("crash SIGSEGV", 1, "fake real"), None, ("every", "crash SIGSEGV")),
    ],
)
def test_a_crash_on_a_predicted_path_is_the_real_calls_if_that_crashes_by_itself(died, real, found):
    supervisor, made = supervised(died, (), real=real)
    assert endings(supervisor.run("aten.abs.default")) == [(*found, 1, "call 1")]
    assert made == [([], True), ([(1, "" if found[0] == "every" else found[0])], True)]


def test_deaths_of_one_kind_are_one_finding_about_all_of_them_with_the_smallest_call_as_its_example():
    supervisor, _ = supervised(Died("crash SIGSEGV", 2, "fake"), Died("crash SIGSEGV", 3, "fake"), ())
    result = supervisor.run("aten.abs.default")
    assert endings(result) == [("fake", "crash SIGSEGV", 2, "call 3")]
    assert (result.findings[0].dtypes, result.findings[0].layouts) == (("float16", "float32"), ("neg",))


def test_a_death_under_one_crossref_leaves_the_call_to_the_others():
    died = [Died("crash SIGSEGV", at, crossref) for at in (1, 2) for crossref in ("fake", "functionalize")]
    supervisor, made = supervised(*died, ())
    result = supervisor.run("aten.abs.default")
    assert [(f.crossref, f.calls) for f in result.findings] == [("fake", 2), ("functionalize", 2)]
    assert (result.calls, result.given_up) == (5, 0)
    assert made[-1] == ([(1, "fake"), (1, "functionalize"), (2, "fake"), (2, "functionalize")], True)


def test_a_death_while_examples_are_tried_costs_only_the_trying():
    supervisor, made = supervised(Died("crash SIGSEGV", 5, "example real"), (finding(),))
    assert endings(supervisor.run("aten.abs.default")) == [("fake", "dtype", 1, "example")]
    assert made == [([], True), ([], False)]


def test_a_death_that_is_no_calls_doing_is_not_hidden():
    supervisor, _ = supervised(Died("crash SIGKILL", -1, "start"), Died("crash SIGKILL", -1, "start"))
    with pytest.raises(Died):
        supervisor.run("aten.abs.default")


def test_after_three_deaths_the_calls_after_the_last_are_given_up_and_counted():
    deaths = [Died("crash SIGSEGV", at, "fake") for at in (1, 2, 4)]
    supervisor, made = supervised(*deaths, (finding(),), recorded=8)
    result = supervisor.run("aten.abs.default")
    assert made[-1] == ([(1, "fake"), (2, "fake"), (4, ""), (4, "fake"), (5, ""), (6, ""), (7, "")], False)
    assert (result.calls, result.given_up) == (5, 3)
    assert endings(result) == [("fake", "crash SIGSEGV", 3, "call 4"), ("fake", "dtype", 1, "example")]


@pytest.mark.parametrize("deaths", [0, 3])
def test_an_error_of_the_harness_is_not_hidden(deaths):
    died = [Died("crash SIGSEGV", at, "fake") for at in range(deaths)]
    supervisor, _ = supervised(*died, ChildError("CorpusError", "damaged", ""))
    with pytest.raises(ChildError, match="damaged"):
        supervisor.run("aten.abs.default")


def test_of_several_children_those_that_hang_are_given_back_as_well(tmp_path):
    with Sandbox(tmp_path) as quick, Sandbox(tmp_path) as hung:
        quick.send("tests.child_functions:pid")
        hung.send("tests.child_functions:sleep", seconds=60)
        assert each_done([quick, hung], timeout=30) == [quick]
        assert quick.receive() > 0
        assert each_done([hung], timeout=0.3) == [hung]
        with pytest.raises(Died, match="timeout"):
            hung.receive(timeout=0.3)
