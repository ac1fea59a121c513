"""Window functions: every length class, periodic or not, with and without a dtype and parameters."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

_PLAIN = (ops.aten.bartlett_window, ops.aten.blackman_window, ops.aten.hann_window)
_LENGTHS = (0, 1, 2, 7, 8)


@family
def plain(device):
    for window in _PLAIN:
        for length in _LENGTHS:
            yield call(window.default, length, device=device)
            yield call(window.default, length, device=device, dtype=torch.float64)
            for periodic in (True, False):
                yield call(window.periodic, length, periodic, device=device)


@family
def hamming(device):
    window = ops.aten.hamming_window
    for length in _LENGTHS:
        yield call(window.default, length, device=device)
        yield call(window.periodic, length, False, device=device, dtype=torch.float64)
        yield call(window.periodic_alpha, length, False, 0.5, device=device)
        yield call(window.periodic_alpha_beta, length, True, 0.5, 0.4, device=device)


@family
def kaiser(device):
    window = ops.aten.kaiser_window
    for length in _LENGTHS:
        yield call(window.default, length, device=device)
        yield call(window.periodic, length, False, device=device, dtype=torch.float64)
        yield call(window.beta, length, True, 8.6, device=device)
