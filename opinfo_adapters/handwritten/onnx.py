"""Operators that stand for those of ONNX in an exported graph."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run


@family
def rotary_embedding(device):
    rotary = ops.onnx.RotaryEmbedding.opset23
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        x = torch.randn(2, 3, 4, 8, device=device).to(dtype)  # batch, heads, sequence, head
        hidden = torch.randn(2, 4, 24, device=device).to(dtype)
        cache = torch.randn(2, 4, 4, device=device).to(dtype)
        table = torch.randn(10, 4, device=device).to(dtype)
        positions = torch.arange(8, device=device).view(2, 4)
        for interleaved in (False, True):
            for tensor in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
                yield call(rotary, tensor, cache, cache, interleaved=interleaved)
                yield call(rotary, tensor, table, table, positions, interleaved=interleaved)
                yield call(rotary, tensor, cache[..., :2], cache[..., :2], interleaved=interleaved, rotary_embedding_dim=4)
            yield call(rotary, hidden, cache, cache, interleaved=interleaved, num_heads=3)
            yield call(rotary, hidden, table, table, positions, interleaved=interleaved, num_heads=3)


@family
def attention(device):
    attend = ops.onnx.Attention.opset23
    for dtype in (torch.float32, torch.bfloat16):
        query = torch.randn(2, 4, 3, 8, device=device).to(dtype)
        key = torch.randn(2, 2, 5, 8, device=device).to(dtype)
        mask = torch.ones(3, 5, device=device, dtype=torch.bool).tril()
        for q, k in ((query, key), (query.transpose(1, 2).contiguous().transpose(1, 2), key)):
            yield call(attend, q, k, k)
            yield call(attend, q, k, k, is_causal=True)
            yield call(attend, q, k, k, mask)
            yield call(attend, q, k, k, mask.to(dtype), scale=0.5, softcap=2.0)
            for mode in (1, 2, 3):
                yield call(attend, q, k, k, mask, qk_matmul_output_mode=mode)
            yield call(attend, q, k, k, None, key[:, :, :2], key[:, :, :2])
            yield call(attend, q, k, k, softmax_precision=1)
        flat = torch.randn(2, 3, 32, device=device).to(dtype), torch.randn(2, 5, 16, device=device).to(dtype)
        yield call(attend, flat[0], flat[1], flat[1], q_num_heads=4, kv_num_heads=2)


@family
def symbolic(device):
    nothing = {"attr_keys": [], "attr_types": [], "attr_pos": [], "attr_ints": [], "attr_floats": [], "attr_strs": []}
    nothing |= {"metadata_props_keys": [], "metadata_props_values": []}
    x = torch.ones(2, 3, device=device)
    for dtype in (1, 7, 10):  # ONNX's numbers for float32, int64 and float16
        yield call(ops.onnx_symbolic._symbolic.default, [x, None], "Custom", dtype, shape=[2, 3], **nothing)
        shapes = {"shapes": [[2, 3], [0]]}
        yield call(ops.onnx_symbolic._symbolic_multi_out.default, [x], "Custom", [dtype, 1], **shapes, **nothing)
