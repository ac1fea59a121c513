"""The table of argument types, and what makes two calls the same: signature and key always agree."""

from __future__ import annotations

import itertools

import pytest
import torch

from sweep.calls import corpus
from sweep.calls.codec import build, encode, signature
from sweep.calls.printing import arguments, expression
from sweep.calls.values import TABLE, ArgumentType, features, tensor_positions

NAME = "aten.test.default"


def recorded(*args, **kwargs):
    return encode(NAME, args, kwargs, device="cpu", source="test")


class QSchemeArgument(ArgumentType):
    """A new argument type in one entry."""

    tag = "qscheme"

    def matches(self, kind):
        return kind is torch.qscheme

    def encode(self, value, encoder):
        return self.tag, str(value).removeprefix("torch.")

    def decode(self, data, decoder):
        return getattr(torch, data)

    def print(self, data, printer):
        return f"torch.{data}"


@pytest.fixture
def qscheme():
    entry = QSchemeArgument()
    TABLE.register(entry)
    yield
    TABLE.unregister(entry)


def test_an_argument_type_is_one_entry(qscheme, tmp_path):
    affine, symmetric = torch.per_tensor_affine, torch.per_channel_symmetric
    call = recorded(torch.zeros(2), [affine], scheme=symmetric)
    size = corpus.write_file(tmp_path / f"{NAME}.npz", [call.as_json()], [bytes(call.data)])
    assert size
    [loaded] = corpus.load(tmp_path, NAME)
    (_, schemes), kwargs = build(loaded, "cpu")
    assert (schemes, kwargs) == ([affine], {"scheme": symmetric})
    printed = expression(loaded, "cpu", "zeros")
    assert "[torch.per_tensor_affine], scheme=torch.per_channel_symmetric" in printed
    assert arguments(printed)[1] == {"scheme": symmetric}
    assert signature((affine,), {}) != signature((symmetric,), {})
    assert recorded(affine).key() != recorded(symmetric).key()
    assert features(recorded(affine)) == {(0, "qscheme", "")}


def test_an_argument_type_that_is_not_in_the_table_is_refused():
    with pytest.raises(Exception, match="argument of type qscheme"):
        recorded(torch.per_tensor_affine)


@pytest.mark.parametrize("entry", [e for e in TABLE.entries if e.tag], ids=lambda e: e.tag)
def test_no_two_entries_share_a_tag(entry):
    assert TABLE.by_tag[entry.tag] is entry


# --- identity ------------------------------------------------------------------------------------------------------------


def different_calls():
    """Arguments of calls that are all different."""
    t = torch.zeros(4)
    sparse = torch.eye(2).to_sparse()
    quantized = torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8)
    storage = torch.zeros(4).untyped_storage()
    return [
        (1,), (True,), (1.0,), (1j,), ("1",), (None,), ([1],), ((1,),), ([True],), ([[1]],), ([],), ((),),
        (float("nan"),), (-0.0,), (0.0,), (complex(0.0, -0.0),), (0j,), (torch.float32,), ("float32",), (torch.strided,),
        (torch.device("cpu"),), (torch.Generator(),), ("cpu",),
        (t,), (t[:],  t), (t, t), (t, t[2:]), (t, torch.zeros(4)), (t[:2],), (t[1:3],), (torch.zeros(4, dtype=torch.int32),),
        (sparse, sparse), (sparse, sparse.detach()), (sparse, sparse.clone()),
        (quantized,), (quantized, quantized), (quantized, quantized.clone()),
        (torch.zeros(0).untyped_storage(),), (storage,), (storage, storage), (torch.zeros(8).untyped_storage(),),
        (t, t.untyped_storage()), (t, torch.zeros(4).untyped_storage()), (t[:2], t.untyped_storage()),
    ]  # fmt: skip


def test_different_calls_have_different_signatures_keys_and_ids():
    for one, other in itertools.combinations(different_calls(), 2):
        assert signature(one, {}) != signature(other, {}), (one, other)
        assert recorded(*one).key() != recorded(*other).key(), (one, other)
        assert recorded(*one).as_json()["id"] != recorded(*other).as_json()["id"]


def test_equal_calls_have_equal_signatures_and_keys():
    for one, other in zip(different_calls(), different_calls(), strict=True):
        assert signature(one, {}) == signature(other, {}), one
        assert recorded(*one).key() == recorded(*other).key(), one


def test_the_same_tensor_twice_is_not_the_same_as_two_views_of_it():
    t = torch.zeros(4)
    assert signature((t, t), {}) != signature((t, t[:]), {})
    assert recorded(t, t).key() != recorded(t, t[:]).key()


def test_the_size_of_a_storage_counts_where_it_is_an_argument():
    short, long = torch.zeros(4), torch.zeros(9)
    assert signature((short[:2],), {}) == signature((long[:2],), {})
    assert recorded(short[:2]).key() == recorded(long[:2]).key()
    assert signature((short.untyped_storage(),), {}) != signature((long.untyped_storage(),), {})
    assert recorded(short.untyped_storage()).key() != recorded(long.untyped_storage()).key()


def test_the_key_of_a_call_without_storage_arguments_is_args_kwargs_and_tensors():
    assert recorded(2, [True], scale=0.5).key() == '[[2,[true]],{"scale":{"float":"0.5"}},[]]'


def test_order_of_keyword_arguments_does_not_count():
    one, other = {"a": 1, "b": torch.zeros(2)}, {"b": torch.zeros(2), "a": 1}
    assert signature((), one) == signature((), other)
    assert recorded(**one).key() == recorded(**other).key()


CORPUS = {
    "aten.add.Tensor": [(t := torch.zeros(3), t), (t, t[:]), (t, torch.zeros(3)), (t, torch.ones(3)), (t, 1), (t, True)],
    "aten.set_.source_Storage": [(torch.zeros(2), torch.zeros(n).untyped_storage()) for n in (0, 2, 5, 5)],
    "aten.cat.default": [([t, t],), ([t, t[:]],), ((t, t),), ([t, t[1:]],), ([t, t, t], 0), ([t, t, t], 0)],
    "aten.mm.default": [(x, y) for x in (torch.eye(2), torch.eye(2).to_sparse()) for y in (x, x.mT, x.clone(), x.clone())],
    "aten.clone.default": [(torch.nested.as_nested_tensor([torch.zeros(n)]),) for n in (2, 2, 3)],
}  # fmt: skip


def test_over_a_corpus_signatures_and_keys_induce_the_same_partition(tmp_path):
    for name, calls in CORPUS.items():
        encoded = [encode(name, args, {}, device="cpu", source="") for args in calls]
        corpus.write_file(tmp_path / f"{name}.npz", [c.as_json() for c in encoded], [bytes(c.data) for c in encoded])
        loaded = corpus.load(tmp_path, name)
        keys = [call.key() for call in loaded]
        signatures = []
        for call in loaded:
            args, kwargs = build(call, "cpu")
            signatures.append(signature(args, kwargs))
            assert encode(name, args, kwargs, device="cpu", source="").key() == call.key()
        assert [signature(args, {}) for args in calls] == signatures
        assert 1 < len(set(keys)) < len(keys)
        assert len(set(zip(keys, signatures, strict=True))) == len(set(keys)) == len(set(signatures))


def test_tensors_are_found_in_every_container():
    t, u = torch.zeros(1), torch.zeros(2)
    call = recorded([t, (u, t)], u)
    assert [position for data in call.args for position in tensor_positions(data)] == [0, 1, 0, 1]
