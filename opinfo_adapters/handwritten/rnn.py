"""Recurrent layers and cells, on padded batches and packed sequences."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten
_FEATURES, _HIDDEN, _BATCH = 5, 4, 3
_DTYPES = (torch.float32, torch.float64)


def _weights(gates, biases, directions, options):
    """Weights of one layer, as ``torch.nn`` orders them."""
    sizes = [(gates * _HIDDEN, _FEATURES), (gates * _HIDDEN, _HIDDEN)]
    if biases:
        sizes += [(gates * _HIDDEN,)] * 2
    return [torch.randn(size, **options) for _ in range(directions) for size in sizes]


@family
def layers(device):
    for name, gates in (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)):
        packet = getattr(aten, name)
        for dtype, biases, directions in itertools.product(_DTYPES, (True, False), (1, 2)):
            options = {"dtype": dtype, "device": device}
            weights = _weights(gates, biases, directions, options)
            state = torch.zeros(directions, _BATCH, _HIDDEN, **options)
            states = [state, state.clone()] if name == "lstm" else state
            for batch_first in (True, False):
                size = (_BATCH, 7, _FEATURES) if batch_first else (7, _BATCH, _FEATURES)
                last = (biases, 1, 0.0, False, directions == 2, batch_first)
                yield call(packet.input, torch.randn(size, **options), states, weights, *last)
            data, sizes = torch.randn(7, _FEATURES, **options), torch.tensor([3, 2, 2])
            yield call(packet.data, data, sizes, states, weights, biases, 1, 0.0, False, directions == 2)


@family
def onednn_layers(device):
    if torch.device(device).type != "cpu" or not torch.backends.mkldnn.is_available():
        return
    x, state = torch.randn(7, _BATCH, _FEATURES), torch.zeros(_BATCH, _HIDDEN)
    weights = _weights(4, True, 1, {})
    lstm = 2  # number of the LSTM among oneDNN's kinds of cells
    for reverse, train in itertools.product((False, True), repeat=2):
        options = (lstm, _HIDDEN, 1, True)
        made = yield call(aten.mkldnn_rnn_layer.default, x, *weights, state, state, reverse, [], *options, False, False, train)
        if made is None:
            continue
        output, hidden, cell, workspace = made
        grads = torch.ones_like(output), torch.zeros_like(hidden), torch.zeros_like(cell)
        given = (x, *weights, state, state, output, hidden, cell, *grads, reverse)
        yield call(aten.mkldnn_rnn_layer_backward.default, *given, *options, True, False, [], False, workspace)


@family
def cells(device):
    for dtype, biases in itertools.product(_DTYPES, (True, False)):
        options = {"dtype": dtype, "device": device}
        x, state = torch.randn(_BATCH, _FEATURES, **options), torch.zeros(_BATCH, _HIDDEN, **options)
        for name, gates in (("lstm_cell", 4), ("gru_cell", 3), ("rnn_tanh_cell", 1), ("rnn_relu_cell", 1)):
            states = [state, state] if name == "lstm_cell" else state
            yield call(getattr(aten, name).default, x, states, *_weights(gates, biases, 1, options))
        gates = torch.randn(_BATCH, 3 * _HIDDEN, **options)
        bias = torch.zeros(3 * _HIDDEN, **options) if biases else None
        yield call(aten._thnn_differentiable_gru_cell_backward.default, state, gates, gates, state, bias, bias)
        gates = torch.randn(_BATCH, 4 * _HIDDEN, **options)
        bias = torch.zeros(4 * _HIDDEN, **options) if biases else None
        yield call(aten._thnn_differentiable_lstm_cell_backward.default, state, state, gates, gates, bias, bias, state, state)


@family.alone
def onednn_layers_into_tensors(device):
    if torch.device(device).type != "cpu" or not torch.backends.mkldnn.is_available():
        return
    lstm = 2
    x, state = torch.randn(7, _BATCH, _FEATURES), torch.zeros(_BATCH, _HIDDEN)
    weights = _weights(4, True, 1, {})
    for reverse, train in itertools.product((False, True), repeat=2):
        arguments = (x, *weights, state, state, reverse, [], lstm, _HIDDEN, 1, True, False, False, train)
        results = aten.mkldnn_rnn_layer.default(*arguments)
        outs = {f"out{at}": torch.empty_like(result) for at, result in enumerate(results)}
        yield call(aten.mkldnn_rnn_layer.out, *arguments, **outs)


@family.alone
def fused_backward(device):
    """What the gradient of a fused cell consists of; only accelerators have the kernel that it calls."""
    state, gates = torch.zeros(_BATCH, _HIDDEN, device=device), torch.randn(_BATCH, 4 * _HIDDEN, device=device)
    with torch.no_grad():
        yield call(aten._thnn_fused_lstm_cell_backward.default, state, state, state, state, gates, True)
