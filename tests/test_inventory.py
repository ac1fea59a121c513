"""The inventory: every overload that torch registers, the same whatever a process has loaded before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.whole_runs import ROOT

#: Imports everything in torch, as far as that is possible here, and prints what the dispatcher knows then.
EVERYTHING = """
import importlib, json, pkgutil, sys, warnings
from pathlib import Path
import torch
warnings.simplefilter("ignore")

def modules(folder, prefix):
    for module in pkgutil.iter_modules([str(folder)], prefix):
        yield module.name
        if module.ispkg:
            yield from modules(folder / module.name.rpartition(".")[2], module.name + ".")

for name in modules(Path(torch.__file__).parent, "torch."):
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except BaseException:  # an optional package that is not installed, a script that ends the process, ...
            pass
registered = torch._C._dispatch_get_all_op_names()
from sweep.operators.inventory import qualified_name
json.dump(sorted(map(qualified_name, registered)), sys.stdout)
"""

#: Prints the inventory of a process that has imported something first.
INVENTORY = """
import json, sys
from sweep.operators.inventory import inventory
{first}
json.dump(list(inventory()), sys.stdout)
"""


def printed(code, folder):
    """The JSON that a new process prints, which works in a folder: some modules of torch write files when they are imported."""
    line = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(line, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def inventory(tmp_path_factory):
    return printed(INVENTORY.format(first=""), tmp_path_factory.mktemp("inventory"))


def test_it_has_every_overload_that_any_module_of_torch_registers(inventory, tmp_path):
    assert set(printed(EVERYTHING, tmp_path)) - set(inventory) == set()


@pytest.mark.parametrize("first", ["import torch._dynamo", "import torch.testing._internal.hop_db, tests.library"])
def test_it_is_the_same_whatever_was_loaded_before(inventory, first, tmp_path):
    assert printed(INVENTORY.format(first=first), tmp_path) == inventory


def test_it_has_what_modules_of_torch_register_late(inventory):
    assert {"fsdp.copy_.default", "onnx.RotaryEmbedding.opset23", "testlib.mutating_custom_op.default"} <= set(inventory)
