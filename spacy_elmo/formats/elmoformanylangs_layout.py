"""Map the weights of ELMoForManyLangs to our parameters.

The gates are in torch's order i, f, candidate, o. The highway's gate passes the input, ours the transform.
BOW and EOW are swapped: ELMoForManyLangs spells a word as <eow>, characters, <bow>.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..modeling.config import BiLMConfig
from .gate_layout import pad_columns, pad_gates
from .tensor_mapping import Shape, TensorMapping, map_one

# Special tokens, in the order of ours.
WORD_MARKS = ("<pad>", "<oov>", "<bos>", "<eos>")
CHAR_MARKS = ("<pad>", "<oov>", "<eow>", "<bow>", "<bos>", "<eos>")

CHAR_CNN = "token_encoder.char_cnn"


class Lexicon:
    """Forms of a lexicon, and the rows of their vectors.

    rows: rows of the special tokens in our order, then those of `forms`.
    """

    def __init__(self, index: Mapping[str, int], marks: Sequence[str]):
        self.forms = [form for form in index if form not in marks]
        self.rows = [index[form] for form in (*marks, *self.forms)]
        self.size = max(index.values()) + 1


def embedder_entries(
    config: BiLMConfig, embedder: Mapping[str, int], words: Lexicon | None, characters: Lexicon | None
) -> list[TensorMapping]:
    """Return the mappings of token_embedder.pkl. embedder: its architecture, for the widths."""
    entries, width = [], 0
    if words is not None:
        entries.append(
            _table("word_emb_layer", words, embedder["word_dim"], "token_encoder.embedding.weight")
        )
        width += embedder["word_dim"]
    if characters is not None:
        entries.append(
            _table("char_emb_layer", characters, config.char_embedding_dim, f"{CHAR_CNN}.embedding.weight")
        )
        for i, (w, n) in enumerate(config.char_filters):
            shapes: dict[str, Shape] = {"weight": (n, config.char_embedding_dim, w), "bias": (n,)}
            for part, shape in shapes.items():
                entries.append(
                    map_one(f"convolutions.{i}.{part}", shape, f"{CHAR_CNN}.convolutions.{i}.{part}")
                )
        f = sum(n for _, n in config.char_filters)
        for i in range(config.n_highway):
            shapes = {"weight": (2 * f, f), "bias": (2 * f,)}
            for part, shape in shapes.items():
                names = tuple(f"{CHAR_CNN}.highways.{i}.{half}.{part}" for half in ("transform", "gate"))
                entries.append(TensorMapping(f"highways._layers.{i}.{part}", shape, names, _read_highway))
        width += f
    p = config.projection_dim
    entries.append(map_one("projection.weight", (p, width), "token_encoder.projection.weight"))
    entries.append(map_one("projection.bias", (p,), "token_encoder.projection.bias"))
    return entries


def fold_projection(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with the word table projected: a table of width P needs no projection after it."""
    out = dict(tensors)
    weight, bias = out.pop("token_encoder.projection.weight"), out.pop("token_encoder.projection.bias")
    out["token_encoder.embedding.weight"] = torch.nn.functional.linear(
        out["token_encoder.embedding.weight"], weight, bias
    )
    return out


def encoder_entries(config: BiLMConfig, cells: int) -> list[TensorMapping]:
    """Return the mappings of encoder.pkl.

    cells: number in the file; ours may be larger (padded_hidden_size).
    """
    return _joined_entries(config) if config.stacked_bidirectional else _elmo_entries(config, cells)


def _elmo_entries(config: BiLMConfig, cells: int) -> list[TensorMapping]:
    p, hidden = config.projection_dim, config.hidden_size

    def widen(t: Tensor) -> Tensor:
        return pad_gates(t, hidden)

    def read_bias(t: Tensor) -> Sequence[Tensor]:
        return widen(t), torch.zeros(4 * hidden)

    entries = []
    for side in ("forward", "backward"):
        for i in range(config.n_layers):
            theirs, ours = f"{side}_layer_{i}", f"{side}_lm.layers.{i}"
            biases = f"{ours}.bias_ih_l0", f"{ours}.bias_hh_l0"
            entries += [
                map_one(f"{theirs}.input_linearity.weight", (4 * cells, p), f"{ours}.weight_ih_l0", widen),
                map_one(f"{theirs}.state_linearity.weight", (4 * cells, p), f"{ours}.weight_hh_l0", widen),
                TensorMapping(f"{theirs}.state_linearity.bias", (4 * cells,), biases, read_bias),
                map_one(
                    f"{theirs}.state_projection.weight",
                    (p, cells),
                    f"{ours}.weight_hr_l0",
                    lambda t: pad_columns(t, hidden),
                ),
            ]
    return entries


def _joined_entries(config: BiLMConfig) -> list[TensorMapping]:
    p, h, entries = config.projection_dim, config.hidden_size, []
    for i in range(config.n_layers):
        shapes: dict[str, Shape] = {"weight_ih": (4 * h, 2 * h if i else p), "weight_hh": (4 * h, h)}
        shapes |= {"bias_ih": (4 * h,), "bias_hh": (4 * h,)}
        for end in (f"_l{i}", f"_l{i}_reverse"):
            for part, shape in shapes.items():
                entries.append(map_one(f"encoder.{part}{end}", shape, f"stacked_bilstm.lstm.{part}{end}"))
    entries.append(map_one("projection.weight", (p, h), "stacked_bilstm.projection.weight"))
    entries.append(map_one("projection.bias", (p,), "stacked_bilstm.projection.bias"))
    return entries


def _table(name: str, lexicon: Lexicon, width: int, target: str) -> TensorMapping:
    return map_one(f"{name}.embedding.weight", (lexicon.size, width), target, lambda t: t[lexicon.rows])


def _read_highway(t: Tensor) -> Sequence[Tensor]:
    transform, gate = t.chunk(2)
    return transform, -gate
