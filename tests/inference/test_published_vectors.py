"""The LSTMs against the outputs that were published with bilm-tf: clips, gate order, boundaries, reversal.

The token embeddings are computed here, by that format's own rules, and become rows of a word table.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import BOS, EOS, SPECIALS, Vocab

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "bilm_tf"

h5py = pytest.importorskip("h5py", reason="reads the published weights")
pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason="the published data are not beside this checkout"
)


def embeddings(weights, words: list[str]) -> np.ndarray:
    """Words, or the boundaries "<S>" and "</S>", through the published char-CNN: (n, 16) float64."""
    ids = np.full((len(words), 50), 260)
    for row, word in zip(ids, words, strict=True):
        inner = {"<S>": [256], "</S>": [257]}.get(word, list(word.encode("utf8")[:48]))
        row[: len(inner) + 2] = [258, *inner, 259]
    x = np.asarray(weights["char_embed"], dtype=np.float64)[ids]  # (n, 50, 4)
    pooled = []
    for i in range(5):
        w = np.asarray(weights[f"CNN/W_cnn_{i}"], dtype=np.float64)[0]  # (width, 4, filters)
        windows = np.lib.stride_tricks.sliding_window_view(x, len(w), axis=1)  # (n, positions, 4, width)
        pooled.append(np.einsum("npcw,wcf->npf", windows, w).max(1) + weights[f"CNN/b_cnn_{i}"][:])
    y = np.maximum(np.concatenate(pooled, 1), 0)
    for i in range(2):
        layer = weights[f"CNN_high_{i}"]
        carry = 1 / (1 + np.exp(-(y @ layer["W_carry"][:] + layer["b_carry"][:])))
        y = carry * np.maximum(y @ layer["W_transform"][:] + layer["b_transform"][:], 0) + (1 - carry) * y
    return y @ weights["CNN_proj/W_proj"][:] + weights["CNN_proj/b_proj"][:]


def published_bilm(weights, words: list[str]) -> BiLM:
    """The published weights in our network. Theirs: columns i, candidate, f, o, and a forget bias 1 less."""
    clips = {"cell_clip": 3.0, "proj_clip": 3.0}
    config = BiLMConfig(
        units="word",
        projection_dim=16,
        hidden_size=64,
        use_skip_connections=False,
        tie_softmax=False,
        fold_fullwidth=False,
        **clips,
    )
    bilm = BiLM(config, Vocab(words, fold_fullwidth=False)).eval()
    table = np.zeros((len(bilm.vocab), 16))
    table[[BOS, EOS]] = embeddings(weights, ["<S>", "</S>"])
    table[len(SPECIALS) :] = embeddings(weights, words)
    state = bilm.state_dict()
    state["token_encoder.embedding.weight"] = torch.tensor(table)
    for d, direction in enumerate(("forward_lm", "backward_lm")):
        for layer in range(2):
            cell = weights[f"RNN_{d}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"]
            i, j, f, o = np.split(np.concatenate([cell["W_0"][:], cell["B"][:][None]]), 4, axis=1)
            f[-1] += 1.0
            gates = torch.tensor(np.concatenate([i, f, j, o], axis=1).T)  # (256, 16 + 16 + 1)
            name = f"{direction}.layers.{layer}"
            state[f"{name}.weight_ih_l0"], state[f"{name}.weight_hh_l0"] = gates[:, :16], gates[:, 16:32]
            state[f"{name}.bias_ih_l0"] = gates[:, 32]
            state[f"{name}.weight_hr_l0"] = torch.tensor(cell["W_P_0"][:].T)
    bilm.load_state_dict(state)
    return bilm


def test_top_layer_equals_the_published_one():
    lists = json.loads((FIXTURES / "lm_embeddings_sentences.json").read_text(encoding="utf8"))
    sentences = [sentences[0].split() for sentences in lists]  # the first of each keeps no state
    words = sorted({word for sentence in sentences for word in sentence})
    with h5py.File(FIXTURES / "lm_weights.hdf5") as weights:
        bilm = published_bilm(weights, words)
    for k, layers in enumerate(bilm.encode(sentences)):
        with h5py.File(FIXTURES / f"lm_embeddings_{k}.hdf5") as expected:
            wanted = np.concatenate(expected["0"][:], axis=-1)  # (n, 32)
        np.testing.assert_allclose(layers[2], wanted, atol=1e-6, rtol=1e-5)
