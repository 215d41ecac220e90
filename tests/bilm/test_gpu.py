"""What a GPU computes: the layers of the CPU, in both precisions. The last test takes its path on the CPU."""

import numpy as np
import pytest
import torch

from spacy_elmo.bilm.runtime import collate

from .helpers import ENCODERS, WORDS, layers, make_bilm

SENTENCES = [["我", "爱", "北京", "天安门", "？未知", "，", "Linux"] * 4, [], ["我"], WORDS]
MODELS = sorted({*ENCODERS} - {"joined"})
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


@gpu
@pytest.mark.parametrize("name", MODELS)
def test_f32_on_a_gpu(name):
    bilm = make_bilm(**ENCODERS[name])
    expected = bilm.encode(SENTENCES)
    for found, want in zip(bilm.to("cuda").encode(SENTENCES), expected, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-4)


@gpu
@pytest.mark.parametrize("name", MODELS)
def test_bf16_on_a_gpu(name):
    bilm = make_bilm(**ENCODERS[name])
    expected = bilm.encode(SENTENCES)
    for found, want in zip(bilm.to("cuda").encode(SENTENCES, precision="bf16"), expected, strict=True):
        assert found.dtype == np.float32
        assert found.size == 0 or cosines(found, want).min() >= 0.9995


@pytest.mark.parametrize("name", MODELS)
def test_products_in_bf16_where_the_network_itself_computes(name):
    bilm = make_bilm(**ENCODERS[name])
    sentences = [sentence for sentence in SENTENCES if sentence]
    with torch.inference_mode():
        found = bilm(collate(bilm, sentences), dtype=torch.bfloat16)
    assert found.dtype == torch.float32
    for row, sentence in zip(found.unbind(1), sentences, strict=True):
        own = row[:, 1 : 1 + len(sentence)].numpy()
        assert cosines(own, layers(bilm, sentence)).min() >= 0.9995
        assert np.abs(own[1:] - layers(bilm, sentence)[1:]).max() > 0
