"""Whatever torch's own crossrefs flag, ours flag: the seed's ``enable_crossref_functionalize`` and ``CrossRefFakeMode``."""

from __future__ import annotations

import pytest
import torch

from tests.upstream import flagged_by_crossref_fake_mode, flagged_by_seed, flagged_by_us, opinfos

#: A few dozen OpInfos, among them every one that torch 2.13's crossrefs flag on CPU.
NAMES = """
    abs add addmm bmm cat clone conj cumsum diag_embed div einsum expand fft.fft2 fft.rfft flip gather index_add index_select
    linalg.eigh linalg.inv linalg.solve linalg.svd logsumexp masked_fill matmul max_pool2d_with_indices_backward mul
    nn.functional.avg_pool2d nn.functional.conv2d nn.functional.embedding_bag nn.functional.interpolate nn.functional.max_unpool2d
    nn.functional.max_unpool3d nn.functional.pixel_shuffle nn.functional.unfold permute repeat reshape roll scatter sort split
    sub sum svd_lowrank t to_sparse transpose tril unfold unique unsafe_split var where
""".split()


@pytest.fixture(scope="module")
def ours() -> dict[str, set[str]]:
    return flagged_by_us(opinfos(NAMES), torch.float32)


def test_the_names_are_opinfos():
    assert {op.name for op in opinfos(NAMES)} == set(NAMES)


def test_all_that_the_seed_flags_is_flagged(ours):
    seed = flagged_by_seed(opinfos(NAMES), torch.float32)
    assert seed, "the seed flags nothing, so this test would prove nothing"
    assert seed <= ours["functionalize"]


def test_all_that_crossref_fake_mode_flags_is_flagged(ours):
    upstream = flagged_by_crossref_fake_mode(opinfos(NAMES), torch.float32)
    assert upstream, "CrossRefFakeMode flags nothing, so this test would prove nothing"
    assert upstream <= ours["fake"]
