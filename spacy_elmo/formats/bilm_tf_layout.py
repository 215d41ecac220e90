"""Map the weights of bilm-tf and AllenNLP to our parameters.

Facts about bilm-tf (Peters et al. 2018): a word is BOW, its UTF-8 bytes, EOW, and padding that takes part in
the convolutions. The gates are in the order i, candidate, f, o, and 1 is added to the forget gate.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..modeling.config import BiLMConfig
from ..modeling.vocab import CHAR_SPECIALS, N_BYTES
from .gate_layout import forget_bias_ones, pad_columns, pad_gates, swap_middle_gates
from .tensor_mapping import TensorMapping, map_one

# Rows of bilm-tf's character table in our order: padding, (no unknown), BOW, EOW, both boundaries, bytes.
BYTE_ROWS = [260, 258, 259, 256, 257, *range(N_BYTES)]
N_ROWS = N_BYTES + 5

CHAR_CNN, PROJECTION = "token_encoder.char_cnn", "CNN_proj/W_proj"


def lstm_entries(config: BiLMConfig, cells: int, *, projected: bool) -> list[TensorMapping]:
    """Return the mappings of both directions.

    cells: number in the file; ours may be larger (padded_hidden_size).
    """
    width, hidden = config.projection_dim, config.hidden_size
    entries = []
    for d, side in enumerate(("forward", "backward")):
        for layer in range(config.n_layers):
            theirs = f"RNN_{d}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            ours = f"{side}_lm.layers.{layer}"

            def read_kernel(t: Tensor) -> Sequence[Tensor]:
                inputs, states = pad_gates(swap_middle_gates(t.t()), hidden).split(width, 1)
                return inputs, states

            def write_kernel(w_ih: Tensor, w_hh: Tensor) -> Tensor:
                return swap_middle_gates(torch.cat([w_ih, w_hh], 1)).t()

            # The 1 of the forget gate is kept in the second bias, so that reading and writing is exact.
            def read_bias(t: Tensor) -> Sequence[Tensor]:
                return pad_gates(swap_middle_gates(t), hidden), forget_bias_ones(hidden)

            def write_bias(b_ih: Tensor, b_hh: Tensor) -> Tensor:
                return swap_middle_gates(b_ih + (b_hh - forget_bias_ones(hidden)))

            kernel, bias = (
                tuple(f"{ours}.{part}_{x}_l0" for x in ("ih", "hh")) for part in ("weight", "bias")
            )
            entries.append(
                TensorMapping(f"{theirs}/W_0", (2 * width, 4 * cells), kernel, read_kernel, write_kernel)
            )
            entries.append(TensorMapping(f"{theirs}/B", (4 * cells,), bias, read_bias, write_bias))
            if projected:
                entries.append(
                    map_one(
                        f"{theirs}/W_P_0",
                        (cells, width),
                        f"{ours}.weight_hr_l0",
                        lambda t: pad_columns(t.t(), hidden),
                        Tensor.t,
                    )
                )
    return entries


def char_cnn_entries(config: BiLMConfig, *, n_rows: int = N_ROWS) -> list[TensorMapping]:
    """Return the mappings of the char-CNN.

    n_rows: rows of the stored character table, see read_characters.
    """
    shape = (n_rows, config.char_embedding_dim)
    entries = [
        map_one("char_embed", shape, f"{CHAR_CNN}.embedding.weight", read_characters, write_characters)
    ]
    for i, (w, n) in enumerate(config.char_filters):
        name, kernel = f"{CHAR_CNN}.convolutions.{i}", (1, w, config.char_embedding_dim, n)
        entries.append(map_one(f"CNN/W_cnn_{i}", kernel, f"{name}.weight", _read_kernel, _write_kernel))
        entries.append(map_one(f"CNN/b_cnn_{i}", (n,), f"{name}.bias"))
    f = n_filters(config)
    for i in range(config.n_highway):
        for theirs, ours in (("carry", "gate"), ("transform", "transform")):
            name = f"{CHAR_CNN}.highways.{i}.{ours}"
            entries.append(map_one(f"CNN_high_{i}/W_{theirs}", (f, f), f"{name}.weight", Tensor.t, Tensor.t))
            entries.append(map_one(f"CNN_high_{i}/b_{theirs}", (f,), f"{name}.bias"))
    return entries


def projection_entries(config: BiLMConfig) -> list[TensorMapping]:
    """Return the mappings of the projection from the filters to P.

    bilm-tf omits it if both widths are equal.
    """
    f, width = n_filters(config), config.projection_dim
    return [
        map_one(PROJECTION, (f, width), "token_encoder.projection.weight", Tensor.t, Tensor.t),
        map_one("CNN_proj/b_proj", (width,), "token_encoder.projection.bias"),
    ]


def embedding_entry(config: BiLMConfig, rows: Sequence[int], n_words: int) -> TensorMapping:
    """Return the mapping of the word table. rows: row in the file of each of our rows but padding.

    n_words: rows of the file's table.
    """

    def read(t: Tensor) -> Tensor:
        return torch.cat([t.new_zeros(1, t.shape[1]), t[list(rows)]])

    def write(t: Tensor) -> Tensor:
        return t[1:][torch.tensor(rows).argsort()]

    return map_one(
        "embedding", (n_words, config.projection_dim), "token_encoder.embedding.weight", read, write
    )


def read_characters(t: Tensor) -> Tensor:
    """Reorder a character table (261, d) to ours (262, d).

    A table of 262 rows has a row of zeros first (from inference) or an unused one last.
    """
    if len(t) > N_ROWS:
        t = t[:N_ROWS] if t[0].any() else t[1:]
    padding, *marks = t[BYTE_ROWS].split([1, len(BYTE_ROWS) - 1])
    return torch.cat([padding, t.new_zeros(1, t.shape[1]), *marks])


def write_characters(t: Tensor) -> Tensor:
    """Invert read_characters."""
    assert len(t) == len(CHAR_SPECIALS) + N_BYTES
    out = t.new_empty(N_ROWS, t.shape[1])
    out[BYTE_ROWS] = torch.cat([t[:1], t[2:]])
    return out


def _read_kernel(t: Tensor) -> Tensor:
    return t[0].permute(2, 1, 0)  # (1, width, d, n) to (n, d, width)


def _write_kernel(t: Tensor) -> Tensor:
    return t.permute(2, 1, 0)[None]


def n_filters(config: BiLMConfig) -> int:
    """Return F, the width after the convolutions."""
    return sum(n for _, n in config.char_filters)
