"""Establishing the state of the process that an overload requires, around all that is done with it.

Recording, real calls and predictions run under it alike, since it is no argument of a call. Leaving it restores what was there;
process groups and distributed autograd stay, and nothing else depends on them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from sweep.operators import process_group
from sweep.operators.requirements import Requirement, engines_for, requirement_of

#: Positions in TorchDynamo's table of objects under :attr:`Requirement.STREAM_AND_EVENT`.
STREAM, EVENT = 0, 1

#: Id of the context under :attr:`Requirement.DISTRIBUTED_AUTOGRAD`: the first of a process whose id is 0.
CONTEXT_ID = 0


def required_state(overload: str, device: str) -> AbstractContextManager[None]:
    """Context in which an overload has the state that it requires, as far as this torch can provide it.

    Args:
        overload: qualified name.
        device: the device under test.
    """
    requirement = requirement_of(overload)
    return nullcontext() if requirement is None else _CONTEXTS[requirement](overload, device)


def no_gradients(overload: str) -> AbstractContextManager[object]:
    """Context in which the calls of an overload do not build a graph for gradients, unless it requires gradient mode."""
    return nullcontext() if requirement_of(overload) is Requirement.GRADIENT_MODE else torch.no_grad()


@contextmanager
def quantized_engine(accepted: Sequence[str]) -> Iterator[None]:
    """Context in which the quantized engine is one of those accepted: the active one if it is among them, else the first.

    An engine that this torch is built without is not activated, and the kernel refuses the call.
    """
    before = torch.backends.quantized.engine
    if before not in accepted and accepted[0] in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = accepted[0]
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


@contextmanager
def _process_group(overload: str, device: str) -> Iterator[None]:
    process_group.ensure_for(overload)
    yield


def _engine_of(overload: str, device: str) -> AbstractContextManager[None]:
    return quantized_engine(engines_for(overload))


@contextmanager
def _gradient_mode(overload: str, device: str) -> Iterator[None]:
    with torch.enable_grad():
        yield


@contextmanager
def _inference_mode(overload: str, device: str) -> Iterator[None]:
    with torch.inference_mode():
        yield


@contextmanager
def _stream_and_event(overload: str, device: str) -> Iterator[None]:
    from torch._dynamo import graph_bytecode_inputs

    try:
        objects: tuple[object, ...] = torch.Stream(device=device), torch.Event(device=device)
    except RuntimeError:  # of a backend without streams: the table stays empty, and the operators say so
        objects = ()
    graph_bytecode_inputs.store_user_object_weakrefs(*objects)  # weak references: the objects are kept alive here
    try:
        yield
    finally:
        graph_bytecode_inputs.reset_user_object_tracking()


@contextmanager
def _distributed_autograd(overload: str, device: str) -> Iterator[None]:
    from torch.distributed import autograd

    if autograd.is_available():
        _new_context()
    yield


@functools.cache
def _new_context() -> None:
    """Begin the first context of distributed autograd in this process, as ``torch.distributed.rpc`` does for a worker."""
    from torch.distributed import autograd

    autograd._init(0)
    autograd._new_context()


_CONTEXTS: dict[Requirement, Callable[[str, str], AbstractContextManager[None]]] = {
    Requirement.PROCESS_GROUP: _process_group,
    Requirement.QUANTIZED_ENGINE: _engine_of,
    Requirement.GRADIENT_MODE: _gradient_mode,
    Requirement.INFERENCE_MODE: _inference_mode,
    Requirement.STREAM_AND_EVENT: _stream_and_event,
    Requirement.DISTRIBUTED_AUTOGRAD: _distributed_autograd,
}
