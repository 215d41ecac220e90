"""Which type of products is taken."""

import numpy as np
import pytest
import torch
from modeling.helpers import make_bilm

from spacy_elmo.errors import ElmoError
from spacy_elmo.kernels.binding import call, supported_targets
from spacy_elmo.kernels.precision import has_native_bf16, resolve_compute_dtype

CPU = torch.device("cpu")
SENTENCE = ["我", "爱", "北京", "天安门", "？未知", "，", "Linux"]
PRECISIONS = ("f32", "bf16", "int16")
KERNEL = pytest.mark.skipif(not supported_targets(), reason="the native kernel was not built")


def test_a_precision_that_is_not_known():
    expected = 'precision = "half" is not known: use "auto", "f32", "bf16" or "int16"'
    with pytest.raises(ElmoError, match=expected):
        make_bilm().encode([SENTENCE], precision="half")


def test_auto_is_one_of_them():
    bilm = make_bilm(projection_dim=64, hidden_size=64)
    f32, bf16, int16 = found = [bilm.encode([SENTENCE], precision=p)[0] for p in PRECISIONS]
    auto = bilm.encode([SENTENCE], precision="auto")[0]
    assert any(np.array_equal(auto, each) for each in found)
    assert not np.array_equal(f32, bf16)
    assert np.array_equal(f32, int16) == (not supported_targets())


def test_auto_takes_bf16_only_where_the_processor_has_it():
    assert has_native_bf16(CPU) or resolve_compute_dtype("auto", CPU) != torch.bfloat16


@KERNEL
def test_auto_is_what_the_best_instruction_set_is_fastest_at():
    best = min(supported_targets().values())
    fastest = (torch.float32, torch.bfloat16, torch.int16)[call("elmo_fastest_compute_type", best)]
    assert resolve_compute_dtype("auto", CPU) == fastest


@KERNEL
@pytest.mark.skipif(not has_native_bf16(CPU), reason="the processor has no bf16")
def test_where_there_are_tiles_bf16_is_the_fastest():
    sets = supported_targets()
    assert "amx" not in sets or call("elmo_fastest_compute_type", sets["amx"]) == 1
    names = sets.keys() & {"avx512vnni", "avx2"}
    assert {call("elmo_fastest_compute_type", sets[name]) for name in names} <= {2}
