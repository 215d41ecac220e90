"""The library of the native kernel: where there is none that fits, torch takes its place."""

import numpy as np
import pytest
import torch
from modeling.helpers import make_bilm

from spacy_elmo.inference.backends import available_backends
from spacy_elmo.kernels import binding
from spacy_elmo.kernels.precision import resolve_compute_dtype

BACKENDS = available_backends()
SENTENCE = ["我", "爱", "北京", "天安门", "？未知", "，", "Linux"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("FOLDER", binding.FOLDER / "nothing"), ("ABI_VERSION", binding.ABI_VERSION + 1)],
    ids=["not built", "built for another version"],
)
def test_without_the_native_kernel_torch_does_the_same(monkeypatch, name, value):
    bilm = make_bilm()
    before = bilm.encode([SENTENCE])[0]
    for kept in (binding.load_library, binding.supported_targets):
        kept.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(binding, name, value)
        assert available_backends() == ["torch"]
        np.testing.assert_allclose(make_bilm().encode([SENTENCE])[0], before, atol=1e-5)
        by_precision = [make_bilm().encode([SENTENCE], precision=p)[0] for p in ("f32", "int16")]
        np.testing.assert_array_equal(*by_precision)
        assert resolve_compute_dtype("int16", torch.device("cpu")) == torch.float32
    for kept in (binding.load_library, binding.supported_targets):
        kept.cache_clear()
    assert available_backends() == BACKENDS
