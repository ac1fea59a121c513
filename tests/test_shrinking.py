"""The example of a finding is made smaller as long as it shows the finding, and comes out the same each time."""

from __future__ import annotations

import ctypes
import itertools
import sys

import pytest
import torch

from sweep.calls.codec import encode
from sweep.calls.new_memory import filled
from sweep.calls.printing import arguments, expression
from sweep.execution.check import Checker
from sweep.progress import Activity, Progress
from sweep.shrinking.shrinker import Shrinker
from sweep.trials import Effort, Trials
from tests import planted

aten = torch.ops.aten

on_glibc = pytest.mark.skipif(sys.platform != "linux", reason="only glibc fills new memory")

malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)


def byte_of_new_memory():
    return ctypes.string_at(malloc(4096), 4096)[1024]


def shrunk(op, args, kwargs, shows, *, fill="zeros", attempts=200):
    """The smallest text, and the texts that were evaluated; ``shows`` says of arguments whether they show the finding."""
    name = str(op)
    evaluated = []

    def evaluate(text):
        evaluated.append(text)
        args, kwargs = arguments(text)
        op(*args, **kwargs)  # a call that the kernel refuses is none
        return True if shows(*args, **kwargs) else None

    def checked(text):
        try:
            return evaluate(text)
        except (RuntimeError, IndexError, TypeError):
            return None

    call = encode(name, args, kwargs, device="cpu", source="test")
    found = Shrinker(op, call, fill, "cpu", checked, attempts).smallest()
    text = found[0] if found else expression(call, "cpu", fill)
    return text.removeprefix(f"torch.ops.{name}"), evaluated


def half(*size):
    return torch.zeros(size, dtype=torch.float16)


def always(*args, **kwargs):
    return True


CASES = {
    "sizes, dimensions and dtype": (aten.abs.default, [half(4, 5)], {}, always, "(torch.zeros((), dtype=torch.float32))"),
    "a dimension that has to be there": (
        *(aten.abs.default, [half(4, 5, 6)], {}),
        lambda x: x.dim() == 2 and x.shape[1] >= 2,
        "(torch.zeros((1, 2), dtype=torch.float32))",
    ),
    "sizes that go together": (
        *(aten.mm.default, [half(3, 4), half(4, 5)], {}),
        always,
        "(torch.zeros((1, 1), dtype=torch.float32), torch.zeros((1, 1), dtype=torch.float32))",
    ),
    "sizes that are passed": (
        *(aten.expand.default, [half(3, 1), [3, 4]], {}),
        lambda x, size: len(size) == 2 and size[1] > 1,
        "(torch.zeros((), dtype=torch.float32), [1, 4])",
    ),
    "a dimension by its number": (
        *(aten.sum.dim_IntList, [half(2, 3, 4), [2]], {}),
        lambda x, dim: x.dim() == 2 and dim == [1],
        "(torch.zeros((1, 1), dtype=torch.float32), [1])",
    ),
    "lists of tensors": (
        *(aten._foreach_add.List, [[half(2), half(3), half(4)], [half(2), half(3), half(4)]], {}),
        lambda left, right: len(left) >= 2,
        "([torch.zeros((), dtype=torch.float32), torch.zeros((), dtype=torch.float32)],"
        " [torch.zeros((), dtype=torch.float32), torch.zeros((), dtype=torch.float32)])",
    ),
    "a memory format": (
        *(aten.abs.default, [half(3, 4).t()], {}),
        lambda x: not x.is_contiguous(),
        "(torch.zeros((4,), dtype=torch.float32).as_strided((2, 2), (1, 2)))",
    ),
    "a memory format that does not matter": (
        *(aten.abs.default, [half(9)[1:].view(2, 4)[:, ::2]], {}),
        lambda x: x.dim() == 2,
        "(torch.zeros((1, 1), dtype=torch.float32))",
    ),
    "memory that is shared": (
        *(aten.add.out, [BASE := half(6), torch.ones(6)], {"out": BASE[:]}),
        lambda x, y, out: x.untyped_storage()._cdata == out.untyped_storage()._cdata,
        "((s0 := torch.zeros((6,), dtype=torch.float16)).as_strided((), ()), torch.zeros((), dtype=torch.float32),"
        " out=s0.as_strided((), ()))",
    ),
    "options": (
        *(aten.sum.dim_IntList, [half(2), [0], True], {"dtype": torch.float64}),
        lambda x, dim, keepdim=False, *, dtype=None: keepdim,
        "(torch.zeros((), dtype=torch.float32), [0], True)",
    ),
    "an option between others": (
        *(aten.max_pool2d.default, [half(1, 2, 2), [2, 2], [1, 1], [1, 1], [1, 1], True], {}),
        lambda x, kernel, stride=(), padding=(0, 0), dilation=(1, 1), ceil=False: ceil,
        "(torch.zeros((1, 1, 1), dtype=torch.float32), [2, 2], [], [0, 0], [1, 1], True)",
    ),
    "a dtype that matters": (
        *(aten.abs.default, [half(2)], {}),
        lambda x: x.dtype == torch.float16,
        "(torch.zeros((), dtype=torch.float16))",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_call_is_made_smaller_in_every_respect_that_does_not_matter(name):
    op, args, kwargs, shows, expected = CASES[name]
    assert shrunk(op, args, kwargs, shows)[0] == expected


@pytest.mark.parametrize(
    ("args", "shows", "expected"),
    [
        ([torch.tensor([0.25, 3.75]), 2.25], lambda x, y: x[-1] > 3, "(torch.tensor([0.0, 4.0], dtype=torch.float32), 2.0)"),
        ([torch.tensor([2.5, 3.5]), 1], lambda x, y: x.any(), "(torch.ones((), dtype=torch.float32), 1)"),
        ([torch.tensor([0.5, 3.5]), 1], lambda x, y: True, "(torch.zeros((), dtype=torch.float32), 1)"),
    ],
)
def test_recorded_values_are_made_simpler(args, shows, expected):
    assert shrunk(aten.add.Scalar, args, {}, shows, fill="exact")[0] == expected


def test_a_call_that_stops_showing_it_with_any_change_stays_as_it_is():
    op, args = aten.abs.default, [half(2, 3)]
    text, evaluated = shrunk(op, args, {}, lambda x: x.shape == (2, 3) and x.dtype == torch.float16)
    assert text == "(torch.zeros((2, 3), dtype=torch.float16))"
    assert len(evaluated) == len(set(evaluated))


def test_no_tensor_is_emptied_and_an_empty_one_stays_empty():
    _, evaluated = shrunk(aten.cat.default, [[half(0, 3), half(2, 3)]], {}, always)
    assert all(not x.numel() or x.shape[0] for text in evaluated for x in arguments(text)[0][0])
    assert shrunk(aten.abs.default, [half(0, 3)], {}, lambda x: not x.numel())[0] == "(torch.zeros((0,), dtype=torch.float32))"


@pytest.mark.parametrize("attempts", [0, 1, 5])
def test_the_number_of_evaluations_is_limited(attempts):
    _, evaluated = shrunk(aten.abs.default, [half(5, 6, 7)], {}, lambda x: False, attempts=attempts)
    assert len(evaluated) == attempts


def test_the_search_takes_the_same_steps_each_time():
    op, args, kwargs, shows, _ = CASES["lists of tensors"]
    assert shrunk(op, args, kwargs, shows) == shrunk(op, args, kwargs, shows)


# --- in the check of an overload -----------------------------------------------------------------------------------------

TITLE = "fake: output 0 strides[0]"


def transposing():
    """Returns a contiguous result where its fake returns one in the memory format of the argument."""
    real = torch.ops.aten.clone.default
    return planted.define(
        "transposing", "(Tensor x) -> Tensor", lambda x: real(x, memory_format=torch.contiguous_format), torch.empty_like
    )


def check(*tensors, op=None, crossrefs=("fake",), effort=Effort.SHRUNK, **trials):
    """The findings of one call for each tensor, and the numbers of the texts that were evaluated."""
    op = op or transposing()
    beats = []
    progress = Progress(beat=lambda at, phase: beats.append(at) if phase.activity is Activity.EXAMPLE else None)
    calls = [planted.call(op, tensor) for tensor in tensors]
    result = Checker(op, calls, "cpu", crossrefs, trials=Trials(effort, **trials), progress=progress).run()
    return result.findings, beats


def example(text):
    return f"torch.ops.sweep_planted.transposing.default({text})"


SMALLEST = example("torch.zeros((4,), dtype=torch.float32).as_strided((2, 2), (1, 2))")


def test_the_example_of_a_finding_is_made_smaller_and_shows_its_own_sides():
    [finding], _ = check(half(4, 5).t())
    assert finding.title == TITLE
    assert finding.example == SMALLEST
    assert (finding.predicted, finding.actual) == ("float32 (2, 2) strides (1, 2)", "float32 (2, 2) strides (2, 1)")


def test_an_example_that_still_shows_the_finding_is_kept():
    kept = example("torch.zeros((6,), dtype=torch.float64).as_strided((3, 2), (1, 3))")
    [finding], evaluated = check(half(4, 5).t(), examples={TITLE: kept})
    assert (finding.example, evaluated) == (kept, [0])
    assert finding.predicted == "float64 (3, 2) strides (1, 3)"


@pytest.mark.parametrize("text", ["torch.zeros((3, 2), dtype=torch.float64)", "torch.zeros((3, 2)", "unknown"])
def test_an_example_that_no_longer_shows_the_finding_is_replaced(text):
    [finding], _ = check(half(4, 5).t(), examples={TITLE: example(text)})
    assert finding.example == SMALLEST


def test_a_run_with_the_examples_of_another_one_has_the_same_findings():
    tensors = [half(4, 5).t(), torch.zeros(1, 2, 3).transpose(1, 2)]
    first, _ = check(*tensors)
    second, evaluated = check(*tensors, examples={finding.title: finding.example for finding in first})
    assert first == second
    assert len(evaluated) == len(first) > 1


def test_a_deadly_evaluation_is_not_repeated():
    [finding], evaluated = check(half(4, 5).t(), deadly=frozenset({0, 2}))
    assert evaluated[:2] == [1, 3]
    assert finding.title == TITLE


def test_a_deadly_text_is_evaluated_for_no_other_finding():
    """Each of the two findings is tried with zeros and then with ones."""
    _, evaluated = check(half(4, 5).t(), crossrefs=["fake", "functionalize"], effort=Effort.TRIED, deadly=frozenset({0}))
    assert evaluated == [1, 3]


def test_a_call_that_is_refused_in_other_words_is_no_example():
    def real(x):
        if x.dim() < 2:
            raise RuntimeError("expects a matrix")
        raise RuntimeError(f"expects a vector rather than {x.dim()} dimensions")

    op = planted.define("refusing", "(Tensor x) -> Tensor", real, torch.empty_like)
    [finding] = [f for f in check(half(2, 3, 4), op=op, crossrefs=["validation"])[0] if f.crossref == "validation"]
    assert finding.example == "torch.ops.sweep_planted.refusing.default(torch.zeros((1, 1), dtype=torch.float32))"


def count_from(smallest):
    """Returns a contiguous result, with another value every time if the argument has fewer elements."""
    count, real = itertools.count(1), torch.ops.aten.clone.default

    def kernel(x):
        new = real(x, memory_format=torch.contiguous_format)
        return new.add_(next(count)) if x.numel() < smallest else new

    return planted.define(f"counting_{smallest}", "(Tensor x) -> Tensor", kernel, torch.empty_like)


@pytest.mark.parametrize(("smallest", "size"), [(6, 6), (20, 20), (21, 20)])
def test_a_smaller_call_answers_the_same_every_time(smallest, size):
    """A call that is led out of its tensors does not; one that is recorded may, and then stays as it is."""
    [finding] = [f for f in check(half(4, 5).t(), op=count_from(smallest))[0] if f.title == TITLE]
    [tensor], _ = arguments(finding.example)
    assert tensor.numel() == size


@on_glibc
def test_a_smaller_call_does_not_depend_on_new_memory():
    real = torch.ops.aten.clone.default

    def kernel(x):
        new = real(x, memory_format=torch.contiguous_format)
        return new.add_(byte_of_new_memory()) if x.numel() < 6 else new

    op = planted.define("reading_new_memory", "(Tensor x) -> Tensor", kernel, torch.empty_like)
    [finding] = [f for f in check(half(4, 5).t(), op=op)[0] if f.title == TITLE]
    [tensor], _ = arguments(finding.example)
    assert tensor.numel() == 6


@on_glibc
def test_every_evaluation_sees_the_same_new_memory():
    """The kernel shows the finding the first time, and later unless new memory holds zeros."""
    real, count = torch.ops.aten.clone.default, itertools.count()

    def kernel(x):
        is_silent = next(count) and not byte_of_new_memory()
        return real(x, memory_format=torch.preserve_format if is_silent else torch.contiguous_format)

    op = planted.define("silent_on_zeros", "(Tensor x) -> Tensor", kernel, torch.empty_like)
    with filled(0):
        [finding] = [f for f in check(half(4, 5).t(), op=op)[0] if f.title == TITLE]
    [tensor], _ = arguments(finding.example)
    assert tensor.numel() == 4


@on_glibc
def test_new_memory_holds_what_the_innermost_context_says():
    with filled(1):
        with filled(2):
            assert byte_of_new_memory() == 2
        assert byte_of_new_memory() == 1
