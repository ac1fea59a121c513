"""Names the function that answered: from a trace of a prediction, from what it raised, or from the dispatch table.

Runs in a child.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from types import CodeType, TracebackType
from typing import Any

import torch
from torch._C import DispatchKey
from torch._higher_order_ops.auto_functionalize import can_auto_functionalize, do_auto_functionalize
from torch._prims_common.wrappers import out_wrapper
from torch._subclasses.fake_tensor import FakeTensorMode, UnsupportedOperatorException
from torch.utils._pytree import tree_leaves

from sweep.causes.answer import Attributed, Function, Role
from sweep.causes.native_functions import cpp_function
from sweep.causes.tracer import HANDLERS, INTERPRETER, Node, Trace, answers, place_of
from sweep.crossref.common.protocol import Arguments
from sweep.operators.facts import Origin
from sweep.operators.functional_form import functional_of, is_generated_out
from sweep.operators.inventory import backend_keys, kernels, kind_of, qualified_name
from sweep.operators.origins import prediction_of, registrations_of
from sweep.operators.overload import OverloadKind

#: The file of torchgen that writes out= kernels which call the functional form and copy, and kernels that functionalize.
_TORCHGEN = "torchgen/gen_functionalization_type.py"

#: The file of torchgen that writes what calls the meta functions of structured kernels, whose names follow, and meta kernels of
#: in-place overloads that have none, which return their argument.
_REGISTER = "torchgen/dest/register_dispatch_key.py"
_STRUCTURED_META = re.compile(r"at::meta::structured_\w+::meta$")

#: The file of torchgen that says what tags mean.
_TAGS = "torchgen/packaged/ATen/native/tags.yaml"

#: Folder of the files that torchgen has written, which register kernels that have nothing in common.
_BUILD = "build/"

#: The dispatch keys under which a kernel may answer for fake tensors.
_META_KEYS = ("Meta", "CompositeExplicitAutogradNonFunctional", "CompositeExplicitAutograd")

#: The file of what functionalizes operators that have no kernel for it.
_FUNCTIONALIZE_FALLBACK = "aten/src/ATen/FunctionalizeFallbackKernel.cpp"
_FUNCTIONALIZE = "Functionalize"

#: What only checks what its caller gives it: a folder, and names.
_CHECKING, _CHECKS = "torch/_prims_common/", ("check", "_check", "_broadcast_shapes")

#: A line of the C++ stack in the message of an error of torch: number and function.
_CPP_LINE = re.compile(r"^#\d+ (?P<name>.+) from \S+$", re.MULTILINE)

#: C++ functions that answer for an operator, and those that carry a call to it.
_CPP_ANSWERS = re.compile(r"^at::(?!(_ops|detail|redispatch|Tensor|TensorBase|TensorRef|ThreadLocalState|RecordFunction)\b)")
_CPP_BOUNDARY = re.compile(r"^at::_ops::(?P<op>\w+)::")

#: The folder of fake tensors themselves.
_SUBCLASSES = "torch/_subclasses/"

#: What fake tensors do where there is no kernel to ask.
_FALLBACK = "run_fallback_kernel"


def python_function(code: CodeType) -> Function:
    """A Python function."""
    return Function(place_of(code), code.co_firstlineno, code.co_qualname, Role.PYTHON)


def unwrapped(function: Callable[..., Any]) -> CodeType | None:
    """The code of a Python function without its wrappers; ``None`` if it is none."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    return getattr(function, "__code__", None)


def kernel_of(op: torch._ops.OpOverload, role: Role = Role.KERNEL, keys: Sequence[str] = ()) -> Function:
    """A kernel, that of the functional form of its overload if it has one.

    That is the C++ function where its name is known, or else what is registered for the overload. What a library registers in one
    C++ file for a dispatch key has one name.

    Args:
        op: the overload.
        role: what the kernel is to the finding.
        keys: the dispatch keys under which it is looked for; what a real call runs also under those that a call on the CPU can
            reach.
    """
    named = functional_of(op) or op
    for each in (named, op):
        name = cpp_function(each, (*keys, *(kernels(each, "cpu") if role is Role.KERNEL else ())), registrations_of(each))
        if name:
            return Function("", 0, name, Role.CPP)
    registered = registrations_of(named)
    own = kernels(named, "cpu") if role is Role.KERNEL else ()
    key = next((key for key in (*keys, *own) if key in registered), "")
    path, _, line = registered.get(key, "").rpartition(":")
    number, _, function = line.partition(" ")
    if function:
        return Function(path, int(number), function, Role.PYTHON)
    if path.endswith(".cpp") and not path.startswith(_BUILD):
        return Function(path, 0, f"{named.namespace} {key} kernels", Role.REGISTERED)
    return Function(path, 0, qualified_name(named._name), role)


def keys_of(arguments: Arguments) -> tuple[str, ...]:
    """The dispatch keys that the tensors of a call have, those first that take precedence."""
    tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    possible = dict.fromkeys(key for tensor in tensors for key in reversed(backend_keys(tensor.device.type)))  # dense ones last
    return tuple(key for key in possible if any(_has_key(tensor, key) for tensor in tensors))


def _has_key(tensor: torch.Tensor, key: str) -> bool:
    parsed = getattr(DispatchKey, key, None)  # not every backend has every key
    return parsed is not None and torch._C._dispatch_keys(tensor).has(parsed)


def missing() -> Function:
    """What fake tensors do for an operator without any kernel that they could ask: run the real one, or refuse."""
    code = FakeTensorMode._dispatch_impl.__code__
    return Function(place_of(code), code.co_firstlineno, code.co_qualname, Role.MISSING)


def generated_out() -> Function:
    """What writes those kernels."""
    return Function(_TORCHGEN, 0, "gen_composite_out_kernel", Role.GENERATED)


def functionalization_of(op: torch._ops.OpOverload) -> Function:
    """What functionalizes an operator: a generated kernel or another one, ``auto_functionalized``, or the fallback."""
    place = registrations_of(op).get(_FUNCTIONALIZE, "")
    if "RegisterFunctionalization" in place:
        is_view = kind_of(op) is OverloadKind.VIEW or torch.Tag.inplace_view in op.tags
        name = "emit_view_functionalization_body" if is_view else "emit_inplace_functionalization_body"
        return Function(_TORCHGEN, 0, name, Role.GENERATED)
    if torch._C._dispatch_has_kernel_for_dispatch_key(op._name, _FUNCTIONALIZE):
        return kernel_of(op, Role.FUNCTIONALIZATION, (_FUNCTIONALIZE,))
    if op._schema.is_mutable and can_auto_functionalize(op):
        return python_function(do_auto_functionalize.__code__)
    return Function(_FUNCTIONALIZE_FALLBACK, 0, "functionalizeFallback", Role.CPP)


def of_out_handling(op: torch._ops.OpOverload, node: Node) -> Function | None:
    """What resizes and writes the out= tensors of an overload; ``None`` if that is the overload's own kernel."""
    if node.handles_out:
        return python_function(out_wrapper.__code__)
    return generated_out() if is_generated_out(op) else None


def of_node(op: torch._ops.OpOverload, node: Node, *, symbolic: bool) -> Function:
    """The function that answered for an operator.

    Args:
        op: the operator.
        node: the operator in the fake mode, or the whole prediction of one that is decomposed before it reaches the mode.
        symbolic: whether sizes are symbolic.
    """
    if node.op is None and not node.functions:
        return kernel_of(op, Role.COMPOSITE_KERNEL, ("CompositeImplicitAutograd",))
    origin = prediction_of(op, symbolic=symbolic).origin
    # A kernel in C++ may call operators that have a meta function in Python.
    is_cpp = node.op is not None and origin is Origin.CPP_META and not _is_in_python(op)
    if node.functions and (not is_cpp or place_of(node.functions[-1]) == HANDLERS):
        return python_function(node.functions[-1])
    if is_generated_out(op):
        return generated_out()
    match origin:
        case Origin.REAL_KERNEL | Origin.NONE:
            return missing()
        case Origin.CPP_COMPOSITE:
            return kernel_of(op, Role.COMPOSITE_KERNEL, ("CompositeImplicitAutograd",))
        case Origin.TRIVIAL:
            code = torch._library.utils.generate_trivial_fake_impl.__code__
            return python_function(code)
        case _:
            return _generated_meta(op) or kernel_of(op, Role.META_KERNEL, _META_KEYS)


def _generated_meta(op: torch._ops.OpOverload) -> Function | None:
    """What writes the kernel that answers for fake tensors, if that only calls another overload or returns its argument."""
    if torch.Tag.generated in op.tags:
        in_place = getattr(getattr(torch.ops.aten, f"{op._schema.name.partition('::')[2]}_", None), op._overloadname, None)
        if in_place is None:
            return Function(_TORCHGEN, 0, "gen_composite_functional_kernel", Role.GENERATED)
        op = in_place  # which the kernel calls on a copy
        code = unwrapped(op.py_kernels[DispatchKey.Meta]) if DispatchKey.Meta in op.py_kernels else None
        if code is not None:
            return python_function(code)
    registered = registrations_of(op)
    is_own = kind_of(op) is OverloadKind.IN_PLACE and registered.get("Meta", "").startswith(_BUILD)
    if is_own and not cpp_function(op, ("Meta",), registered):
        return Function(_REGISTER, 0, "RegisterDispatchKey.gen_unstructured", Role.GENERATED)
    return None


def _is_in_python(op: torch._ops.OpOverload) -> bool:
    """Whether a library has registered the kernel that answers for fake tensors from Python."""
    registered = registrations_of(op)
    return next((registered[key] for key in _META_KEYS if key in registered), "").rpartition(":")[0].endswith(".py")


def by_generator(attributed: Attributed) -> Attributed:
    """Who answers if what raises with symbolic sizes is the meta function of a structured kernel: what generates its callers.

    They give every such function sizes as integers, and take sizes as integers from it.
    """
    function = attributed.function
    if function.role is not Role.CPP or not _STRUCTURED_META.match(function.name):
        return attributed
    generator = Function(_REGISTER, 0, "StructuredRegisterDispatchKey", Role.GENERATED)
    return Attributed(generator, f"{attributed.inside} {function.name}".lstrip())


def of_schema(op: torch._ops.OpOverload, attributed: Attributed, *, alike: Container[str]) -> Attributed:
    """Who answers for a difference between a call and the schema.

    Args:
        op: the overload.
        attributed: the kernel.
        alike: the overloads that differ from their schemas.
    """
    functional = functional_of(op)
    if torch.Tag.maybe_aliasing_or_mutating in op.tags and not attributed.inside:
        return Attributed(Function(_TAGS, 0, torch.Tag.maybe_aliasing_or_mutating.name, Role.TAG))
    if is_generated_out(op) and (functional is None or qualified_name(functional._name) not in alike):
        return Attributed(generated_out())
    function = attributed.function
    if function.role is Role.REGISTERED:
        return replace(attributed, function=replace(function, name=f"schemas of {function.name}"))
    return attributed


def of_error(op: torch._ops.OpOverload, trace: Trace, *, symbolic: bool) -> Function:
    """The function that raised in a prediction.

    With static sizes that is not what only checks its arguments, but what calls it. With symbolic sizes, how it checks is what is
    wrong.
    """
    error = trace.error
    assert error is not None
    if isinstance(error, UnsupportedOperatorException):
        return missing()
    codes = traceback_codes(error)
    if any(code.co_name == _FALLBACK for code in codes):
        return missing()
    python = [code for code in codes if answers(code)]
    in_cpp = cpp_functions(trace, codes)
    if in_cpp and len(set(in_cpp)) == 1 and is_generated_out(trace.raising or op) and in_cpp[0].endswith(("out", "out_symint")):
        return generated_out()
    if symbolic and in_cpp:
        return Function("", 0, in_cpp[0], Role.CPP)
    checked = [code for code in python if not _only_checks(code)]
    chosen = python if symbolic else checked or python
    if chosen:
        return python_function(chosen[-1])
    if in_cpp:
        return Function("", 0, in_cpp[-1], Role.CPP)
    if place_of(codes[-1]).startswith(_SUBCLASSES):
        return python_function(codes[-1])
    raising = trace.raising
    if raising is not None:
        return of_node(raising, Node(raising), symbolic=symbolic)
    own = [code for code in codes if place_of(code).startswith(_SUBCLASSES)]
    return python_function(own[-1]) if own else kernel_of(op, Role.COMPOSITE_KERNEL, ("CompositeImplicitAutograd",))


def of_functionalization_error(op: torch._ops.OpOverload, trace: Trace) -> Function:
    """The function that raised where an operator was functionalized, or else what functionalizes it."""
    assert trace.error is not None
    codes = traceback_codes(trace.error)
    python = [code for code in codes if answers(code)]
    if python:
        return python_function(python[-1])
    in_cpp = cpp_functions(trace, codes)
    return Function("", 0, in_cpp[-1], Role.CPP) if in_cpp else functionalization_of(op)


def python_function_of_error(error: BaseException) -> Function | None:
    """The innermost Python function that raised, rather than one that only checks its arguments; ``None`` if there is none."""
    python = [code for code in traceback_codes(error) if answers(code)]
    checked = [code for code in python if not _only_checks(code)]
    chosen = checked or python
    return python_function(chosen[-1]) if chosen else None


def _only_checks(code: CodeType) -> bool:
    return place_of(code).startswith(_CHECKING) or code.co_name.startswith(_CHECKS)


def of_real_error(op: torch._ops.OpOverload, error: BaseException) -> Function:
    """The function that raised in a real call."""
    python = [code for code in traceback_codes(error) if answers(code)]
    if python:
        return python_function(python[-1])
    names = _cpp_of_message(error)
    return Function("", 0, names[-1], Role.CPP) if names else kernel_of(op)


def cpp_functions(trace: Trace, codes: Sequence[CodeType]) -> list[str]:
    """The C++ functions of the innermost operator that raised in C++, innermost first; empty if Python raised."""
    assert trace.error is not None
    if not trace.guard:
        return _cpp_of_message(trace.error)
    guards = [at for at, code in enumerate(codes) if place_of(code) == "torch/fx/experimental/sym_node.py"]
    before = [place_of(code) for code in codes[: guards[0]]] if guards else []
    # C++ that asks for the sizes of a tensor comes by way of the fake tensor's own handler.
    is_in_python = before[-1:] == ["torch/__init__.py"] and before[-2] != "torch/_subclasses/fake_tensor.py"
    return [] if is_in_python else _segment(trace.guard, skip_interpreter=True)


def _cpp_of_message(error: BaseException) -> list[str]:
    return _segment([match["name"] for match in _CPP_LINE.finditer(str(error))], skip_interpreter=False)


def _segment(names: Sequence[str], *, skip_interpreter: bool) -> list[str]:
    """The names of the functions of the innermost operator, up to where the interpreter or another operator calls it."""
    segment: list[str] = []
    for name in names:
        if name.startswith(INTERPRETER):
            if segment or not skip_interpreter:
                break
            continue
        if _CPP_BOUNDARY.match(name):
            break
        short = name.replace("(anonymous namespace)", "{}").partition("(")[0].replace("{}", "(anonymous namespace)")
        if _CPP_ANSWERS.match(short):
            segment.append(short)
    return segment


def traceback_codes(error: BaseException) -> list[CodeType]:
    """The code of the frames that an error went through, innermost last."""
    codes: list[CodeType] = []
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        codes.append(traceback.tb_frame.f_code)
        traceback = traceback.tb_next
    return codes
