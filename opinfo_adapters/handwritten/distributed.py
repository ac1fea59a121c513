"""Collectives in a group of one process: their effect on sizes, strides and memory does not depend on the number of processes.

The group refuses ``monitored_barrier_``: only gloo has it, which is not used (see ``sweep.operators.process_group``).
"""

import torch

from opinfo_adapters.handwritten import Family, call, ops
from sweep.operators import process_group
from sweep.operators.required_state import CONTEXT_ID

family = Family(__name__)
run = family.run


def tasks(device):
    return family.tasks(device) if torch.distributed.is_available() else []


def _tensors(device):
    for dtype in (torch.float32, torch.int64, torch.bfloat16):
        yield torch.ones(4, 3, device=device, dtype=dtype)
    yield torch.ones(3, 4, device=device).t()
    yield torch.ones(0, 3, device=device)


@family
def functional(device):
    c10d = ops._c10d_functional
    process_group.ensure_for("c10d.")
    name = torch.distributed.group.WORLD.group_name
    for x in _tensors(device):
        yield call(c10d.all_gather_into_tensor.default, x, 1, name)
        yield call(c10d.all_gather_into_tensor_coalesced.default, [x, x.clone()], 1, name)
        yield call(c10d.all_gather_into_tensor_out.default, x, 1, name, out=torch.empty_like(x))
        yield call(c10d.all_to_all_single.default, x, [x.shape[0]], [x.shape[0]], name)
        yield call(c10d.broadcast.default, x, 0, name)
        yield call(c10d.broadcast_.default, x.clone(), 0, name)
        for reduction in ("sum", "max"):
            yield call(c10d.all_reduce.default, x, reduction, name)
            yield call(c10d.all_reduce_.default, x.clone(), reduction, name)
            yield call(c10d.all_reduce_coalesced.default, [x, x.clone()], reduction, name)
            yield call(c10d.all_reduce_coalesced_.default, [x.clone(), x.clone()], reduction, name)
            yield call(c10d.reduce_scatter_tensor.default, x, reduction, 1, name)
            yield call(c10d.reduce_scatter_tensor_coalesced.default, [x, x.clone()], reduction, 1, name)
            yield call(c10d.reduce_scatter_tensor_out.default, x, reduction, 1, name, out=torch.empty_like(x))
        yield call(c10d.wait_tensor.default, x)
        yield call(c10d.isend.default, x, 0, 0, name)
        yield call(c10d.irecv.default, x.clone(), 0, 0, name)
        yield call(c10d.batch_p2p_ops.default, ["isend", "irecv"], [0, 0], [0, 0], [x, x.clone()], name)
        autograd = ops._c10d_functional_autograd
        yield call(autograd.all_gather_into_tensor.default, x, 1, name)
        yield call(autograd.all_to_all_single.default, x, [x.shape[0]], [x.shape[0]], name)
        yield call(autograd.reduce_scatter_tensor.default, x, "sum", 1, name)
        yield call(ops._dtensor.shard_dim_alltoall.default, x, 0, 1, name)


@family
def functional_by_ranks(device):
    """The older functional collectives, which name a group by its tag and ranks."""
    c10d = ops.c10d_functional
    process_group.ensure_for("c10d.")
    name, group = torch.distributed.group.WORLD.group_name, ("", [0], 1)
    for x in _tensors(device):
        yield call(c10d.all_gather_into_tensor.default, x, *group)
        yield call(c10d.all_gather_into_tensor_coalesced.default, [x, x.clone()], *group)
        yield call(c10d.all_to_all_single.default, x, [x.shape[0]], [x.shape[0]], *group)
        yield call(c10d.all_to_all_single.default, x, None, None, *group)
        yield call(c10d.broadcast.default, x, 0, *group)
        for reduction in ("sum", "max"):
            yield call(c10d.all_reduce.default, x, reduction, *group)
            yield call(c10d.all_reduce_coalesced.default, [x, x.clone()], reduction, *group)
            yield call(c10d.reduce_scatter_tensor.default, x, reduction, *group)
            yield call(c10d.reduce_scatter_tensor_coalesced.default, [x, x.clone()], reduction, *group)
        yield call(c10d.wait_tensor.default, x)
        yield call(c10d.isend.default, x, 0, 0, name)
        yield call(c10d.irecv.default, x.clone(), 0, 0, name)
        yield call(c10d.batch_p2p_ops.default, ["isend", "irecv"], [0, 0], [0, 0], [x, x.clone()], name)


@family
def context_parallel(device):
    process_group.ensure_for("c10d.")
    name = torch.distributed.group.WORLD.group_name
    for x in (torch.randn(2, 3, 4, device=device), torch.randn(4, 3, 2, device=device).transpose(0, 2)):
        for dim in (0, 1, 2):
            yield call(ops.cplib.flex_cp_allgather.default, x, x[:, :, :2], dim, name)
            yield call(ops.cplib.flex_cp_allgather_backward.default, x, x[:, :, :2], dim, name)


@family
def sharding(device):
    """What FSDP and the bucketing of collectives do before and after they communicate."""
    fsdp, bucketing = ops.fsdp, ops.bucketing
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        parts = [torch.arange(6, device=device).to(dtype), torch.arange(4, device=device).to(dtype)]
        for rank in (0, 1):
            yield call(fsdp.all_gather_copy_in.default, parts, torch.zeros(20, device=device, dtype=dtype), [6, 4], 10, rank)
        gathered = torch.arange(20, device=device).to(dtype).view(2, 10)
        outs = [torch.zeros(2, n, device=device, dtype=dtype) for n in (6, 4)]
        yield call(fsdp.split_with_sizes_copy.default, gathered, [6, 4], 1, out=outs)
        yield call(
            fsdp.split_with_sizes_copy.default,
            gathered.t(),
            [6, 4],
            out=[torch.zeros(n, 2, device=device, dtype=dtype) for n in (6, 4)],
        )
        for tensors in (parts, [torch.ones(4, 3, device=device, dtype=dtype), torch.ones(2, 5, device=device, dtype=dtype)]):
            numel = sum(tensor.numel() for tensor in tensors)
            yield call(fsdp.chunk_cat.default, tensors, 0, 2, out=torch.zeros(2, numel // 2, device=device, dtype=dtype))
            yield call(bucketing._pre_bucket_reduce_scatter.default, tensors, 2)
    parts = [torch.arange(6.0, device=device), torch.ones(2, 4, device=device)]
    dtypes = [value for _, value in sorted(vars(torch).items()) if isinstance(value, torch.dtype)]  # named by their positions
    for rank, groups in ((0, None), (1, None), (1, [0, -1, 1])):
        for kind, bucket in ((torch.float32, torch.float32), (torch.float32, torch.uint8), (torch.bfloat16, torch.bfloat16)):
            positions = [dtypes.index(kind)] * len(parts)
            yield call(bucketing._pre_bucket_all_gather.default, parts, 2, bucket, positions, rank, groups)


@family
def collectives(device):
    c10d = ops.c10d
    group, reduce = process_group.boxed(), process_group.reduce_op()
    for x in _tensors(device):
        y = x.clone()
        yield call(c10d.allreduce_.default, [y], group, reduce, None)
        yield call(c10d.allreduce_.default, [y], group, reduce, None, False)
        yield call(c10d.allreduce_coalesced_.default, [y, x.clone()], group, reduce)
        yield call(c10d.reduce_.default, [y], group, reduce, 0, 0)
        yield call(c10d.reduce_scatter_.default, [y], [[x]], group, reduce)
        yield call(c10d._reduce_scatter_base_.default, y, x, group, reduce)
        yield call(c10d.reduce_scatter_tensor_coalesced_.default, [y], [x], group, reduce)
        yield call(c10d.allgather_.default, [[y]], [x], group)
        yield call(c10d._allgather_base_.default, y, x, group)
        yield call(c10d.allgather_coalesced_.default, [[y]], [x], group)
        yield call(c10d.allgather_into_tensor_coalesced_.default, [y], [x], group)
        yield call(c10d.alltoall_.default, [y], [x], group)
        yield call(c10d.alltoall_base_.default, y, x, group, [], [])
        yield call(c10d.broadcast_.default, [y], group, 0, 0)
        yield call(c10d.gather_.default, [[y]], [x], group, 0)
        yield call(c10d.scatter_.default, [y], [[x]], group, 0)
        yield call(c10d.barrier.default, y, group, [])
        yield call(c10d.send.default, [x], group, 0, 0)
        yield call(c10d.recv_.default, [y], group, 0, 0)
        yield call(c10d.recv_any_source_.default, [y], group, 0)
        yield call(c10d.check_for_nan.default, torch.ones(3, device=device))


@family.alone
def barriers(device):
    yield call(ops.c10d.monitored_barrier_.default, torch.ones(3, device=device), process_group.boxed(), [], 1000, True)


@family.alone
def symmetric_memory(device):
    process_group.ensure_for("symm_mem.")
    yield call(ops.symm_mem._rendezvous.default, torch.ones(3, device=device), torch.distributed.group.WORLD.group_name)


@family.alone
def device_meshes(device):
    mesh = process_group.mesh(torch.device(device).type)
    for dimension in (0, 1):
        yield call(ops.device_mesh._get_submesh.default, mesh, [dimension])
        yield call(ops._dtensor.mesh_get_process_group.default, mesh, dimension)
    yield call(ops.device_mesh._get_submesh.default, mesh, [0, 1])
    yield call(ops.device_mesh._get_flattened_submesh.default, mesh, [0, 1])
    for sizes in ((1,), (1, 1)):
        ranks = torch.zeros(1, *sizes, dtype=torch.int64, device=device)
        for dimension in range(len(sizes)):
            yield call(ops.device_mesh._runtime_compute_coordinate_on_dim.default, ranks, dimension)


@family.alone
def distributed_autograd(device):
    yield call(ops.aten.get_gradients.default, CONTEXT_ID)
