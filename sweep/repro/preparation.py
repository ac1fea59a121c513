"""What a script does before its call: the state of the process that the overload requires, as Python."""

from __future__ import annotations

from sweep.operators.requirements import Requirement, engines_for, requirement_of

_PROCESS_GROUP = """
from torch.testing._internal.distributed.fake_pg import FakeStore

torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=1)
"""

_INFERENCE_MODE = """
INFERENCE_MODE = torch.inference_mode()  # to its end
INFERENCE_MODE.__enter__()
"""

_STREAM_AND_EVENT = """
from torch._dynamo import graph_bytecode_inputs

OBJECTS = torch.Stream(device="cpu"), torch.Event(device="cpu")  # which the operator refers to by index
graph_bytecode_inputs.store_user_object_weakrefs(*OBJECTS)
"""

_DISTRIBUTED_AUTOGRAD = """
import torch.distributed.autograd

torch.distributed.autograd._init(0)
torch.distributed.autograd._new_context()
"""

_TEXTS = {
    Requirement.PROCESS_GROUP: _PROCESS_GROUP,
    Requirement.GRADIENT_MODE: "",  # a process begins with it
    Requirement.INFERENCE_MODE: _INFERENCE_MODE,
    Requirement.STREAM_AND_EVENT: _STREAM_AND_EVENT,
    Requirement.DISTRIBUTED_AUTOGRAD: _DISTRIBUTED_AUTOGRAD,
}


def preparation(overload: str) -> str:
    """Statements that establish what an overload requires; empty for nearly all."""
    requirement = requirement_of(overload)
    if requirement is None:
        return ""
    if requirement is Requirement.QUANTIZED_ENGINE:
        return f'\ntorch.backends.quantized.engine = "{engines_for(overload)[0]}"\n'
    return _TEXTS[requirement]
