"""Evaluates a user's text and writes down every distinct call that it dispatches, each into a corpus of its own.

Unlike the ``recorder``, which samples what a corpus needs, it keeps all calls: those inside others and in backward, refused ones,
and those that differ only in values. Each is written before it runs, since it may end the process. Runs in the child.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher, no_python_dispatcher

from sweep.calls import corpus
from sweep.calls.call import Call, Unrecordable
from sweep.calls.codec import encode
from sweep.calls.new_memory import filled
from sweep.calls.parsing import EXAMPLE, NAMES, TYPED, overload_in, record_call
from sweep.calls.printing import written
from sweep.calls.recipes import remember
from sweep.calls.storages import TEXT_LIMITS
from sweep.errors import NotACallError
from sweep.execution import settings
from sweep.operators.inventory import inventory, is_swept, qualified_name
from sweep.progress import NO_PROGRESS, Activity, Phase, Progress
from sweep.recording.evaluation import DispatchedCall, Evaluation, RaisedByText, UncheckedCall
from sweep.recording.observers import BackendObserver, CompositeObserver

#: How many calls are kept that differ only in the values of their tensors. Loops make many.
_SAME_BUT_FOR_VALUES = 8


def evaluate(
    text: str, folder: str, device: str, file: str = "", memory: int = 0, progress: Progress = NO_PROGRESS
) -> Evaluation:
    """Write down what a text calls; of a single call of a name in ``torch.ops``, only that.

    Args:
        text: Python statements, which may use ``parsing.NAMES``.
        folder: folder for the corpora.
        device: the device under test.
        file: path of the file that the text is from, whose folder it can import from; empty if there is none.
        memory: bytes of an accelerator's memory that this process may use; 0 is no limit.
        progress: takes heartbeats, and each call before it is made.

    Raises:
        NotACallError: the text is not Python or dispatches nothing, or the arguments of its single call cannot be used.
    """
    text = text if file else text.strip()
    name = overload_in(text)
    if name is not None:
        record_call(name, text, folder, device)
        return Evaluation([DispatchedCall(name, folder, text)], is_single_call=True)
    settings.apply(device, memory)
    if file:
        sys.path.insert(0, str(Path(file).parent))
    recorder = TextRecorder(Path(folder), device, TYPED + (file or text), progress)
    torch.manual_seed(0)
    progress.beat(-1, Phase(Activity.RECORD))
    with filled(0), recorder.observing():  # the same text is to make the same calls every time
        raised = _run(text, file or "<text>")
    if not recorder.calls and not recorder.unchecked:
        why = "" if raised is None else f" before it raises {raised}"
        raise NotACallError(f"it dispatches nothing{why}; write an expression such as {EXAMPLE}")
    return Evaluation(recorder.calls, recorder.unchecked, recorder.repeated, raised)


def _run(text: str, file: str) -> RaisedByText | None:
    """Run a text as a script, and return what ended it, if anything did."""
    try:
        exec(compile(text, file, "exec"), {**NAMES, "__name__": "__main__"})
    except BaseException as error:  # whatever a user's Python raises
        if isinstance(error, SystemExit) and not error.code:
            return None
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file and frame.lineno]
        return RaisedByText(type(error).__name__, str(error).strip(), lines[-1] if lines else 0)
    return None


class TextRecorder:
    """Writes down every distinct call; the sink of both observers.

    Args:
        folder: where each call gets a folder of its own, which is a corpus.
        device: the device under test.
        source: the source of the calls.
        progress: takes a heartbeat and a checkpoint for each.

    Attributes:
        calls: the calls, in the order in which they began.
        unchecked: those without a plain form and those of operators that are not swept, each once.
        repeated: number of calls that were not kept because there are enough that differ only in values.
    """

    def __init__(self, folder: Path, device: str, source: str, progress: Progress = NO_PROGRESS) -> None:
        self.device = device
        self.calls: list[DispatchedCall] = []
        self.unchecked: list[UncheckedCall] = []
        self.repeated = 0
        self._folder, self._source, self._progress = folder, source, progress
        self._digests: set[bytes] = set()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._is_encoding = False
        self._registered = frozenset(torch._C._dispatch_get_all_op_names())

    @contextlib.contextmanager
    def observing(self) -> Iterator[None]:
        """Context in which calls are written down."""
        with CompositeObserver(self).installed(), _Observer(self), enable_python_dispatcher():
            yield

    def see(
        self,
        op: torch._ops.OpOverload,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        run: Callable[[], Any],
        *,
        composite: bool = False,
    ) -> Any:
        """Write a call down and make it; it is dropped again if it returns and there are enough like it."""
        if self._is_encoding:
            return run()
        name = qualified_name(op._name)
        self._progress.beat(len(self.calls), Phase(Activity.RECORD))
        call = self._encoded_if_new(op, name, args, kwargs)
        dispatched = None if call is None else self._write(call)
        result = run()
        remember(result, name, args, kwargs)
        if call is not None and dispatched is not None:
            self._limit(call, dispatched)
        return result

    def _encoded_if_new(self, op: torch._ops.OpOverload, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """The plain form of a call; ``None`` if one before had the same arguments and values, or if it cannot be checked."""
        self._is_encoding = True
        try:
            with _unobserved():
                # What the text itself registers is not there in the process that is to check it.
                if not is_swept(name) or (op._name not in self._registered and name not in inventory()):
                    self.leave_out(name, "not among the operators that are checked, see --import")
                    return None
                call = encode(name, args, kwargs, device=self.device, source=self._source, limits=TEXT_LIMITS)
        except Unrecordable as reason:
            self.leave_out(name, str(reason))
            return None
        finally:
            self._is_encoding = False
        metadata = json.dumps([name, call.key(), call.storages], sort_keys=True).encode()
        digest = hashlib.sha256(metadata + b"\0" + call.data).digest()
        is_new = digest not in self._digests
        self._digests.add(digest)
        return call if is_new else None

    def _write(self, call: Call) -> DispatchedCall:
        """Write a call into a corpus of its own."""
        folder = self._folder / f"{len(self._digests):06}"
        folder.mkdir()
        corpus.write_file(folder / f"{call.overload}.npz", [call.as_json()], [bytes(call.data)])
        with _unobserved():
            text, is_exact = written(call, self.device)
        dispatched = DispatchedCall(call.overload, str(folder), text if is_exact else "")
        self._progress.checkpoint(dispatched)
        self.calls.append(dispatched)
        return dispatched

    def _limit(self, call: Call, dispatched: DispatchedCall) -> None:
        """Drop a call that has returned, if enough are kept that differ from it only in values."""
        kind = (call.overload, call.key())
        if self._counts[kind] == _SAME_BUT_FOR_VALUES:
            self.calls.remove(dispatched)
            shutil.rmtree(dispatched.folder)
            self.repeated += 1
        else:
            self._counts[kind] += 1

    def leave_out(self, operator: str, reason: str) -> None:
        """Note that an operator was called that cannot be checked."""
        unchecked = UncheckedCall(operator, reason)
        if unchecked not in self.unchecked:
            self._progress.checkpoint(unchecked)
            self.unchecked.append(unchecked)


@contextlib.contextmanager
def _unobserved() -> Iterator[None]:
    """Context in which calls pass neither observer."""
    with torch.no_grad(), torch._C._DisableTorchDispatch(), no_python_dispatcher():
        yield


class _Observer(BackendObserver):
    """Observes backends, and lets higher-order operators through, which raise under other modes."""

    supports_higher_order_operators = True

    def __init__(self, recorder: TextRecorder) -> None:
        super().__init__(recorder)
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if isinstance(func, torch._ops.HigherOrderOperator):
            self._recorder.leave_out(
                f"{func.namespace}.{func._name}", "a higher-order operator, whose inner calls are not all observed"
            )
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)
