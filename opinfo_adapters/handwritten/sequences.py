"""Sequences of different lengths: packing and padding; and padding in a mode that is passed as a number."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten

#: Lengths of the sequences of a batch, longest first, and the number of sequences at each step.
_BATCHES = (((4, 2, 1), (3, 2, 1, 1)), ((3, 3), (2, 2, 2)), ((1,), (1,)))


@family
def packing(device):
    for dtype in (torch.float32, torch.int64):
        for lengths, _ in _BATCHES:
            padded = torch.arange(6 * len(lengths) * 2, device=device).to(dtype).view(6, len(lengths), 2)
            for source in (padded[: lengths[0]], padded[: lengths[0], :, 0], padded):
                yield call(aten._pack_padded_sequence.default, source, torch.tensor(lengths), False)
                yield call(aten._pack_padded_sequence.default, source.transpose(0, 1), torch.tensor(lengths), True)


@family
def unpacking(device):
    for dtype in (torch.float32, torch.int64):
        for lengths, batch_sizes in _BATCHES:
            packed, steps = torch.arange(sum(lengths) * 2, device=device).to(dtype).view(-1, 2), torch.tensor(batch_sizes)
            for data in (packed, packed[:, 0], packed[:, :0]):
                yield call(aten._pad_packed_sequence.default, data, steps, False, 0.0, -1)
                yield call(aten._pad_packed_sequence.default, data, steps, True, 1, 6)
            if dtype.is_floating_point:
                for batch_first, size in ((False, (6, len(lengths), 2)), (True, (len(lengths), lengths[0], 2))):
                    yield call(aten._pack_padded_sequence_backward.default, packed, size, steps, batch_first)


@family
def pad_sequence(device):
    for dtype in (torch.bool, torch.float32, torch.complex64):
        ones = torch.ones(4, 3, dtype=dtype, device=device)
        for sequences in ([ones[:2], ones, ones[:1]], [ones[:, 0], ones[:0, 0]], [ones[:2].t()], [ones[:0], ones[:0]]):
            yield call(aten.pad_sequence.default, sequences)
            yield call(aten.pad_sequence.default, sequences, True, 2.0, "left")


@family
def pad_by_number(device):
    reflect, replicate, circular, constant = 0, 1, 2, 3
    for dtype in (torch.float32, torch.complex128):
        tensor = torch.randn(2, 3, 4, 5, 3, device=device).to(dtype)
        for source, pad in (
            (tensor[0, 0, 0], (1, 2)),
            (tensor[0], (1, 1, 0, 2)),
            (tensor, (1, 0, 2, 1, 1, 1)),
            (tensor[0, 0].mT, (1, 1)),
        ):
            for mode in (reflect, replicate, circular, constant):
                yield call(aten._pad_enum.default, source, pad, mode)
            yield call(aten._pad_enum.default, source, pad, constant, 2.5)
        yield call(aten._pad_enum.default, tensor, (-1, 1), constant, 0.0)
        yield call(aten._pad_enum.default, tensor[:0, 0, 0], (2, 2), circular)
