"""Small random biLMs, and what their layers should be, computed the slow way."""

import numpy as np
import torch

from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import BOS, EOS, PAD, Vocab

WORDS = ["我", "爱", "北京", "天安门", "，", "Linux", "在", "的"]
CHARACTERS = sorted(set("".join(WORDS)) - {"x"})
NGRAMS = [
    "我爱",
    "爱我",
    "，在",
    "在的",
    "我在",
    "在，在",
    "我爱我",
    "爱我爱",
    "的我爱",
    "天安门",
    "在我",
    "爱，",
]

ENCODERS = {
    "characters": {"units": "char"},
    "n-grams": {"units": "char", "n_ngrams": len(NGRAMS)},
    "table": {},
    "wide table": {"embedding_dim": 5, "tie_softmax": False},
    "char_cnn": {
        "token_encoder": "char_cnn",
        "tie_softmax": False,
        "char_embedding_dim": 3,
        "max_characters_per_token": 6,
    },
    "both": {
        "token_encoder": "both",
        "tie_softmax": False,
        "char_embedding_dim": 3,
        "max_characters_per_token": 6,
        "n_highway": 2,
        "activation": "tanh",
    },
}


def make_bilm(*, seed: int = 0, projection_dim: int = 6, **settings) -> BiLM:
    """A biLM whose every weight is random, biases included: D = 2 * projection."""
    torch.manual_seed(seed)
    defaults = {"units": "word", "hidden_size": 10, "char_filters": ((1, 4), (2, 3), (4, 5))}
    config = BiLMConfig(**{**defaults, "projection_dim": projection_dim, **settings})
    units = sorted(set("".join(WORDS))) if config.units == "char" else WORDS
    characters = CHARACTERS if config.token_encoder != "embedding" else ()
    ngrams = NGRAMS if config.n_ngrams else ()
    bilm = BiLM(config, Vocab(units, characters, ngrams=ngrams, max_ngram_length=config.max_ngram_length))
    with torch.no_grad():
        for name, parameter in bilm.named_parameters():
            if name != "token_encoder.char_cnn.embedding.weight":  # its padding row is zero
                parameter.normal_(std=0.4)
        if bilm.token_encoder.ngram_embedding is not None:
            bilm.token_encoder.ngram_embedding.weight[0] = 0
    return bilm.eval()


def weights_of(bilm: BiLM) -> dict[str, np.ndarray]:
    """The parameters by name, in float64."""
    return {name: tensor.double().numpy() for name, tensor in bilm.state_dict().items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def embed(bilm: BiLM, sentence: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of a sentence with its boundaries, as each direction reads them: (n + 2, P)."""
    config, weights = bilm.config, weights_of(bilm)
    parts = []
    if config.token_encoder in ("embedding", "both"):
        rows = weights["token_encoder.embedding.weight"][bilm.vocab.ids(sentence)]
        parts.append(rows * bilm.token_encoder.scale)
    if config.token_encoder in ("char_cnn", "both"):
        parts.append(np.stack([spell(bilm, unit) for unit in ["<s>", *sentence, "</s>"]]))
        # A word that looks like a boundary is not one; the boundaries are one character of their own.
        parts[-1][0] = convolve(bilm, [2, 4, 3])
        parts[-1][-1] = convolve(bilm, [2, 5, 3])
    x = np.concatenate(parts, 1)
    if "token_encoder.projection.weight" in weights:
        x = x @ weights["token_encoder.projection.weight"].T + weights["token_encoder.projection.bias"]
    ahead, back = x.copy(), x.copy()
    for row, ngram in enumerate(bilm.vocab.ngrams, 1):
        for i in range(1, len(sentence) + 2 - len(ngram)):
            if sentence[i - 1 : i - 1 + len(ngram)] == list(ngram):
                vector = weights["token_encoder.ngram_embedding.weight"][row]
                ahead[i + len(ngram) - 1, : len(vector)] += vector
                back[i, : len(vector)] += vector
    return ahead, back


def spell(bilm: BiLM, unit: str) -> np.ndarray:
    known = {c: i for i, c in enumerate(bilm.vocab.characters, 6)}
    return convolve(bilm, [2, *(known.get(c, 1) for c in unit[: bilm.config.max_characters_per_token]), 3])


def convolve(bilm: BiLM, ids: list[int]) -> np.ndarray:
    """The char-CNN on one word, window by window. A word shorter than a window is padded with zeros."""
    config, weights = bilm.config, weights_of(bilm)
    vectors = [weights["token_encoder.char_cnn.embedding.weight"][i] for i in ids]
    activation = np.tanh if config.activation == "tanh" else lambda x: np.maximum(x, 0)
    features = []
    for number, (width, _) in enumerate(config.char_filters):
        kernel = weights[
            f"token_encoder.char_cnn.convolutions.{number}.weight"
        ]  # (n, char_embedding_dim, width)
        bias = weights[f"token_encoder.char_cnn.convolutions.{number}.bias"]
        padded = vectors + [np.zeros(config.char_embedding_dim)] * max(0, width - len(vectors))
        windows = [np.stack(padded[i : i + width], 1) for i in range(len(padded) - width + 1)]
        features.append(activation(np.max([(kernel * window).sum((1, 2)) + bias for window in windows], 0)))
    x = np.concatenate(features)
    for number in range(config.n_highway):
        part = {
            key: weights[f"token_encoder.char_cnn.highways.{number}.{key}"]
            for key in ("transform.weight", "transform.bias", "gate.weight", "gate.bias")
        }
        gate = sigmoid(part["gate.weight"] @ x + part["gate.bias"])
        carried = np.maximum(part["transform.weight"] @ x + part["transform.bias"], 0)
        x = gate * carried + (1 - gate) * x
    return x


def read(bilm: BiLM, side: str, x: np.ndarray) -> list[np.ndarray]:
    """One direction's LSTM layers over vectors in its own order (n, P), step by step."""
    config, weights = bilm.config, weights_of(bilm)
    outputs = []
    for depth in range(config.n_layers):
        part = {
            name.rsplit(".", 1)[1]: w
            for name, w in weights.items()
            if name.startswith(f"{side}_lm.layers.{depth}.")
        }
        h, c, states = np.zeros(config.projection_dim), np.zeros(config.hidden_size), []
        for vector in x:
            gates = part["weight_ih_l0"] @ vector + part["weight_hh_l0"] @ h
            gates += part["bias_ih_l0"] + part["bias_hh_l0"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            if config.cell_clip is not None:
                c = np.clip(c, -config.cell_clip, config.cell_clip)
            h = sigmoid(o) * np.tanh(c)
            if "weight_hr_l0" in part:
                h = part["weight_hr_l0"] @ h
            if config.proj_clip is not None:
                h = np.clip(h, -config.proj_clip, config.proj_clip)
            states.append(h)
        y = np.stack(states)
        x = x + y if config.use_skip_connections and depth > 0 else y
        outputs.append(x)
    return outputs


def layers(bilm: BiLM, sentence: list[str], *, boundaries: bool = False) -> np.ndarray:
    """Return the layers that BiLM.encode should compute for one sentence: (L, n, D)."""
    inputs = embed(bilm, sentence)
    ahead = read(bilm, "forward", inputs[0])
    back = [y[::-1] for y in read(bilm, "backward", inputs[1][::-1])]
    out = [np.concatenate(pair, 1) for pair in [inputs, *zip(ahead, back, strict=True)]]
    return np.stack(out) if boundaries else np.stack(out)[:, 1:-1]


def padding_free(bilm: BiLM, sentence: list[str]) -> np.ndarray:
    """Unit ids with their boundaries, as predictions need them."""
    ids = bilm.vocab.ids(sentence)
    assert ids[0] == BOS
    assert ids[-1] == EOS
    assert PAD not in ids
    return ids
