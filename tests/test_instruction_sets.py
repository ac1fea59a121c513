"""Pinned instruction sets: a child computes the same bits whatever the CPU has; without pinning it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sweep.isolation.instruction_sets import pinned_environment
from tests.cpuid_mask import PROFILES, CannotMaskError, masked_environment
from tests.whole_runs import ROOT

#: What ATen, MKL (BLAS, LAPACK, FFT, vector mathematics), oneDNN, FBGEMM and the quantized engine compute, as one digest each.
SCRIPT = """
import hashlib, json, torch
from sweep.execution import settings

torch.set_num_threads(1)
settings.apply("cpu", 0)
torch.manual_seed(0)
x, y = torch.randn(33, 65), torch.randn(65, 33)
image, weight = torch.randn(1, 8, 17, 17), torch.randn(8, 8, 3, 3)
quantized = torch.quantize_per_tensor(torch.rand(5, 64), 0.02, 3, torch.quint8)
packed = torch.ops.quantized.linear_prepack(torch.quantize_per_tensor(torch.randn(16, 64), 0.03, 0, torch.qint8), None)
filters = torch.quantize_per_tensor(weight, 0.03, 0, torch.qint8)
convolution = torch.ops.quantized.conv2d_prepack(filters, None, [1, 1], [0, 0], [1, 1], 1)
results = {
    "aten": [x.exp().sum(1), x.softmax(1), x.to(torch.bfloat16).sum()],
    "blas": [x @ y, (x.double() @ y.double())],
    "lapack": [*torch.linalg.qr(x), torch.linalg.svdvals(x)],
    "fft": [torch.view_as_real(torch.fft.fft(x))],
    "onednn": [torch.conv2d(image, weight), torch.conv2d(image.bfloat16(), weight.bfloat16())],
    "fbgemm": [torch.ops.quantized.linear(quantized, packed, 0.1, 5).int_repr()],
    "quantized engine": [torch.ops.quantized.conv2d_dynamic(image, convolution)],
}
digests = {
    name: hashlib.sha256(b"".join(t.reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors)).hexdigest()
    for name, tensors in results.items()
}
print(json.dumps({"capability": torch.backends.cpu.get_cpu_capability(), "digests": digests}))
"""


def computed(*, native, **variables):
    """The capability and the digests of a process with these variables."""
    environment = {**os.environ, **pinned_environment(native), **variables}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Profile -> the variables of a process that sees such a CPU."""
    folder = tmp_path_factory.mktemp("cpuid_mask")
    try:
        return {profile: masked_environment(folder, profile) for profile in PROFILES}
    except CannotMaskError as reason:
        pytest.skip(f"no other CPU can be emulated here: {reason}")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_pinned_process_computes_the_same_bits_on_another_cpu(masks, profile):
    here, there = computed(native=False), computed(native=False, **masks[profile])
    assert here == there
    assert here["capability"] == "AVX2"


def test_the_mask_changes_what_a_process_that_is_not_pinned_computes(masks):
    here, there = computed(native=True), computed(native=True, **masks["haswell"])
    if here["capability"] == "AVX2":
        pytest.skip("this CPU has no more than the emulated one")
    assert there["capability"] == "AVX2"
    assert here["digests"]["aten"] != there["digests"]["aten"]
