"""The Sobol engine, as ``torch.quasirandom.SobolEngine`` runs it: initialize, scramble, draw and skip points. CPU only."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten

_DIMENSIONS = (1, 3, 40)
_BITS = torch.quasirandom.SobolEngine.MAXBIT


@family
def sobol(device):
    if torch.device(device).type != "cpu":
        return
    for dimension in _DIMENSIONS:
        empty = torch.zeros(dimension, _BITS, dtype=torch.int64)
        state = yield call(aten._sobol_engine_initialize_state_.default, empty, dimension)
        triangular = torch.randint(2, (dimension, _BITS, _BITS)).tril()
        yield call(aten._sobol_engine_scramble_.default, state.clone(), triangular, dimension)
        point = torch.zeros(dimension, dtype=torch.int64)
        for skipped in (0, 1, 6):
            yield call(aten._sobol_engine_ff_.default, point.clone(), skipped, state, dimension, 0)
        yield call(aten._sobol_engine_ff_.default, point.clone(), 2, state, dimension, 5)
        for dtype in (None, torch.float32, torch.float64):
            yield call(aten._sobol_engine_draw.default, point.clone(), 5, state, dimension, 0, dtype)
        yield call(aten._sobol_engine_draw.default, point.clone(), 0, state, dimension, 7, torch.float32)
