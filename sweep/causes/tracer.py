"""Traces a prediction: which operators reach a fake mode inside it, which Python functions they enter, and where it raises.

Runs in a child.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._traceback import CapturedTraceback

from sweep.crossref.common.comparison import Outcome

#: The folder that holds ``torch``.
_SITE = Path(torch.__file__).parent.parent

#: Installed packages that no library of custom operators is: what torch uses, and this harness.
_PACKAGES = (
    *(f"{_SITE}/{library}/" for library in ("_distutils_hack", "mpmath", "numpy", "setuptools", "sympy")),
    *(f"{Path(__file__).parents[2]}/{package}/" for package in ("opinfo_adapters", "sweep")),
)

#: Where Python's own files lie. What is installed may lie in a folder there.
_PYTHON = f"{sysconfig.get_paths()['stdlib']}/"

#: Files and folders of torch whose functions answer for operators. What carries a call to them lies elsewhere.
_ANSWERING = (
    "torch/_decomp/decompositions",
    "torch/_dynamo/tensor_version_op.py",
    "torch/_functorch/_activation_offloading/",
    "torch/_higher_order_ops/",
    "torch/_inductor/decomposition.py",
    "torch/_inductor/fx_passes/",
    "torch/_inductor/inductor_prims.py",
    "torch/_library/fake_profile.py",
    "torch/_meta_registrations.py",
    "torch/_prims/",
    "torch/_prims_common/__init__.py",
    "torch/_refs/",
    "torch/_subclasses/fake_impls.py",
    "torch/ao/",
    "torch/distributed/",
    "torch/functional.py",
    "torch/nn/attention/",
    "torch/nn/modules/",
    "torch/onnx/",
    "torch/testing/_internal/",
)

#: The file of ``out_wrapper``, whose other functions only carry calls.
_WRAPPERS = "torch/_prims_common/wrappers.py"

#: Functions that carry calls to what answers, in files of those that do.
_CARRYING = ("_make_prim.<locals>", "dispatch_to_op_implementations_dict", "type_casts.<locals>.inner")

#: Functions that others have in common: one may raise, but answers for no operator by itself.
_COMMON = "torch/_prims_common/"

#: The file of the handlers of fake tensors, and the names of their first parameter. Its other functions ask about operators.
HANDLERS, _MODES = "torch/_subclasses/fake_impls.py", [("fake_mode",), ("mode",)]

#: What ``out_wrapper`` does to an out= tensor.
OUT_HANDLING = ("_maybe_resize_out", "_resize_output_check", "_safe_copy_out")

#: How the names of the functions of Python's interpreter begin that run a Python function.
INTERPRETER = "_PyEval"


@dataclass
class Node:
    """An operator that reached a fake mode; the root is the whole prediction.

    Attributes:
        op: the operator; ``None`` for the root.
        children: the operators that reached it from inside.
        functions: the outermost Python functions that answered for it, in order; a handler that declined is left out.
        handles_out: whether ``out_wrapper`` handled out= tensors.
    """

    op: Any = None
    children: list[Node] = field(default_factory=list)
    functions: list[CodeType] = field(default_factory=list)
    handles_out: bool = False


@dataclass
class Trace:
    """What happened in a prediction.

    Attributes:
        root: the operators that reached a fake mode.
        outcome: what was predicted; ``None`` if it raised.
        error: what it raised.
        raising: the innermost operator in a fake mode that raised; ``None`` if there is none.
        guard: names of the C++ functions below the guard on an unbacked size that raised, innermost first.
    """

    root: Node = field(default_factory=Node)
    outcome: Outcome | None = None
    error: BaseException | None = None
    raising: Any = None
    guard: tuple[str, ...] = ()


def place_of(code: CodeType) -> str:
    """The file of some code, from the folder that holds ``torch`` if it lies in it."""
    path = Path(code.co_filename)
    return str(path.relative_to(_SITE)) if path.is_relative_to(_SITE) else path.name


@functools.cache
def answers(code: CodeType) -> bool:
    """Whether code is a function that may answer for an operator, rather than one that carries calls to it.

    Outside of torch that is every function that is not Python's, of an installed library, or of this harness.
    """
    path = code.co_filename
    if path.startswith("<"):
        return False
    place = place_of(code)
    if place.startswith("torch/"):
        if code.co_qualname.startswith(_CARRYING) or (place == HANDLERS and code.co_varnames[:1] not in _MODES):
            return False
        return place.startswith(_ANSWERING) or (place == _WRAPPERS and code.co_name in OUT_HANDLING)
    is_of_python = path.startswith(_PYTHON) and not path.startswith(f"{_SITE}/")
    return not is_of_python and not path.startswith(_PACKAGES)


def trace(predict: Callable[[], Outcome]) -> Trace:
    """Makes a prediction and says what happened in it.

    Args:
        predict: makes it with fake modes whose cache is off.
    """
    tracer = _Tracer()
    with tracer.watching():
        try:
            tracer.trace.outcome = predict()
        except BaseException as error:  # whatever it raises is what is asked about
            tracer.trace.error = error
    return tracer.trace


class _Tracer:
    """Watches one prediction."""

    def __init__(self) -> None:
        self.trace = Trace()
        self._stack: list[Node | FrameType] = [self.trace.root]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context of the prediction. Modes and shape environments are watched in their classes, since a call may make its own."""
        dispatch, evaluate = FakeTensorMode._dispatch_impl, ShapeEnv.evaluate_expr

        def dispatched(mode: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            return self._dispatched(dispatch, mode, func, args, kwargs)

        def evaluated(*args: Any, **kwargs: Any) -> Any:
            try:
                return evaluate(*args, **kwargs)
            except BaseException:
                self.trace.guard = self.trace.guard or _cpp_stack()
                raise

        with (
            mock.patch.object(FakeTensorMode, "_dispatch_impl", dispatched),
            mock.patch.object(ShapeEnv, "evaluate_expr", evaluated),
        ):
            sys.setprofile(self._profile)
            try:
                yield
            finally:
                sys.setprofile(None)

    def _dispatched(self, dispatch: Callable[..., Any], mode: Any, func: Any, args: Any, kwargs: Any) -> Any:
        node = Node(func)
        parent = next(entry for entry in reversed(self._stack) if isinstance(entry, Node))
        parent.children.append(node)
        depth = len(self._stack)
        self._stack.append(node)
        try:
            return dispatch(mode, func, *args, **kwargs)
        except BaseException:
            self.trace.raising = self.trace.raising or func
            raise
        finally:
            del self._stack[depth:]

    def _profile(self, frame: FrameType, event: str, value: Any) -> None:
        if event == "call" and answers(frame.f_code):
            top = self._stack[-1]
            if frame.f_code.co_name in OUT_HANDLING:
                next(entry for entry in reversed(self._stack) if isinstance(entry, Node)).handles_out = True
            elif isinstance(top, Node) and not place_of(frame.f_code).startswith(_COMMON):
                top.functions.append(frame.f_code)
                self._stack.append(frame)
        elif event == "return" and self._stack[-1] is frame:
            self._stack.pop()
            top = self._stack[-1]
            if value is NotImplemented and isinstance(top, Node):
                top.functions.pop()


def _cpp_stack() -> tuple[str, ...]:
    """The names of the C++ functions that called into Python where a guard raises, innermost first."""
    summary = CapturedTraceback.extract(cpp=True).summary()
    frames = [f for f in reversed(summary) if not f.filename.endswith(".py") and not f.filename.startswith("<")]
    in_python = next((at for at, f in enumerate(frames) if f.name.startswith(INTERPRETER)), len(frames))
    return tuple(f.name for f in frames[in_python:])
