"""The script of one finding as text, its file name, and the body of an issue report that has it in it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from sweep.errors import ReproError
from sweep.expect.known import KnownFinding
from sweep.isolation import instruction_sets
from sweep.repro.preparation import preparation
from sweep.repro.recipe import NoRecipe, Recipe, recipe_of

_TEMPLATES = Path(__file__).parent / "templates"

#: What stands between the parts of a script.
SEPARATOR = "\n\n\n"

#: How an overload begins -> the module of torch that registers it, if ``import torch`` does not (torch 2.13).
_MODULES = {
    "_torch_testing.": "torch.testing._internal.custom_op_db",
    "ao.": "torch._functorch._activation_offloading.offload_ops",
    "bucketing.": "torch._inductor.fx_passes.bucketing",
    "cplib.": "torch.distributed.tensor.experimental._context_parallel._cp_custom_ops",
    "device_mesh.": "torch.distributed._ops.device_mesh",
    "pippy.": "torch.distributed.pipelining._IR",
    "prims.inductor_": "torch._inductor.inductor_prims",
    "prims._inductor_": "torch._inductor.inductor_prims",
    "prims._tensor_version": "torch._dynamo.tensor_version_op",
    "quantized_decomposed.": "torch.ao.quantization.fx._decomposed",
    "testlib.": "torch.testing._internal.hop_db",
    "torch_attn.": "torch.nn.attention.varlen",
    "torch_nn.": "torch.nn.modules.linear_cross_entropy",
    **dict.fromkeys(
        ("_dtensor.", "_inductor_test.", "flex_lib.", "fsdp.", "onnx.", "onnx_symbolic.", "streams.", "symm_mem."),
        "torch._dynamo._trace_wrapped_higher_order_op",
    ),
    **dict.fromkeys(
        ("_c10d_functional.", "_c10d_functional_autograd.", "c10d_functional."),
        "torch.distributed._functional_collectives",
    ),
}

_EXCEPTHOOK = """


def failed(*error):
    \"\"\"Ends the process with 2: what this script itself raises says nothing about the two sides.\"\"\"
    sys.__excepthook__(*error)
    sys.stderr.flush()
    os._exit(2)


sys.excepthook = failed
"""

_COMMENT = "  # with the recorded values: "


def script_of(overload: str, finding: KnownFinding, head: str, cause: str = "") -> str:
    """The script of a finding.

    Args:
        overload: qualified name.
        finding: the finding; its example is the call that the script makes.
        head: the line of the expect file that says which torch, device and instruction sets wrote it.
        cause: the function that answers for the wrong side; empty if nothing is known of it.

    Raises:
        ReproError: no script can be written; the message is one line.
    """
    return SEPARATOR.join(parts_of(overload, finding, head, cause)) + "\n"


def parts_of(overload: str, finding: KnownFinding, head: str, cause: str = "") -> list[str]:
    """The parts of a script, most of which many scripts share; :data:`SEPARATOR` stands between them.

    Args:
        overload: as in :func:`script_of`.
        finding: likewise.
        head: likewise.
        cause: likewise.

    Raises:
        ReproError: as :func:`script_of` does.
    """
    call = f"torch.ops.{overload}("
    arguments = arguments_of(overload, finding)
    if arguments is None or arguments == "...":
        raise ReproError(f"{overload}, {finding.title}: no script can be written: its arguments cannot be printed")
    try:
        recipe = recipe_of(finding)
    except NoRecipe as reason:
        raise ReproError(f"{overload}, {finding.title}: no script can be written: {reason}") from None
    parts = [
        _docstring(overload, finding, head, cause, is_exact=finding.example == f"{call}{arguments})"),
        _preparation(overload, recipe),
        _arguments(overload, arguments),
        *_body(recipe),
    ]
    return [part.strip("\n") for part in parts]


def arguments_of(overload: str, finding: KnownFinding) -> str | None:
    """The arguments of a finding's example as text; ``None`` if it is no call of the overload."""
    example = finding.example.partition(_COMMENT)[0]
    call = f"torch.ops.{overload}("
    if not example.startswith(call) or not example.endswith(")"):
        return None
    return example.removeprefix(call).removesuffix(")")


def file_name(overload: str, number: int, finding: KnownFinding) -> str:
    """The name of the file of a script, without any character that a shell takes for its own."""
    words = re.sub(r"[^\w.=-]+", "-", finding.title).strip("-")
    return f"{overload}-{number}-{words}.py"


def issue_of(overload: str, finding: KnownFinding, head: str, script: str, cause: str = "") -> str:
    """The body of an issue report in Markdown: what differs, the script, the torch and the CPU.

    Args:
        overload: qualified name.
        finding: the finding.
        head: as in :func:`script_of`.
        script: its script.
        cause: as in :func:`script_of`.
    """
    sides = "\n".join(f"{label}: {text}" for label, text in finding.sides)
    answered = f"The function that answers for the wrong side: `{cause}`.\n\n" if cause else ""
    calls = f"{finding.calls} of {finding.total} calls{f', {finding.extent}' if finding.extent else ''}"
    return (
        f"### `{overload}`: {finding.title}\n\n"
        f"It shows in {calls}. The smallest of them:\n\n```python\n{finding.example}\n```\n\n"
        f"```\n{sides}\n```\n\n{answered}"
        f"This script prints both sides and exits with 1 while they disagree:\n\n```python\n{script}```\n\n"
        f"### Versions\n\n{head}\n\nCPU of this machine: {_cpu()}\n"
    )


def _cpu() -> str:
    """The CPU's name as the system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return instruction_sets.architecture()
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else instruction_sets.architecture()


def _docstring(overload: str, finding: KnownFinding, head: str, cause: str, *, is_exact: bool) -> str:
    lines = [f"{overload}: {finding.title}", "", f"Seen with {head}:", ""]
    lines += [f"    {label}: {text}" for label, text in finding.sides] or ["    (no more is known)"]
    if cause:
        lines += ["", f"Answered by: {cause}"]
    if finding.ends_process:
        lines += ["", f"THIS SCRIPT DOES NOT END BY ITSELF: {finding.what}."]
    if not is_exact:
        lines += ["", "The recorded values are too many to print; these are others, and need not show it."]
    lines += ["", "Prints both sides; exits with 1 if they disagree, with 0 if they agree, with 2 if it fails itself."]
    text = "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}\n"""'


def _preparation(overload: str, recipe: Recipe) -> str:
    """Imports and settings; the instruction sets come first, since kernels are chosen when torch is imported."""
    pinned = "\n".join(
        f'os.environ.setdefault("{name}", "{value}")' for name, value in instruction_sets.baseline().variables.items()
    )
    module = next((module for prefix, module in _MODULES.items() if overload.startswith(prefix)), None)
    lines = [
        "import os",
        "import sys",
        "",
        "# The instruction sets that the finding was made with: kernels are chosen by them when torch is imported.",
        pinned,
        "",
        "import torch",
        *recipe.imports,
        *([f"import {module}  # registers the operator"] if module else []),
    ]
    return "\n".join([*lines, preparation(overload)]) + _EXCEPTHOOK


def _arguments(overload: str, text: str) -> str:
    return (
        f"OP = torch.ops.{overload}\n\n\n"
        f'def arguments():\n    """New arguments of the call: positional ones, and those by keyword."""\n'
        f"    return collected({text})\n\n\n"
        "def collected(*args, **kwargs):\n    return list(args), kwargs\n"
    )


def _body(recipe: Recipe) -> Sequence[str]:
    """The settings and the templates; what needs a function of a template stands before the last one."""
    *parts, last = (_template(name) for name in recipe.templates)
    settings = "\n".join(f"{name} = {value}" for name, value in recipe.settings.items())
    late = "\n".join(f"{name} = {value}" for name, value in recipe.late.items())
    head, _, tail = last.rpartition("\n\n\n")  # the functions of the last template, and the statements behind them
    return [part for part in (settings, *parts, head, late, tail) if part]


@functools.cache
def _template(name: str) -> str:
    return (_TEMPLATES / f"{name}.py.txt").read_text()
