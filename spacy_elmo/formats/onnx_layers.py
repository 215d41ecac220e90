"""Add the parts of a biLM as ONNX operators. Shapes: B sentences, T units with both boundaries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from ..modeling.bidirectional import StackedBiLSTM
from ..modeling.lstm import LSTMStack
from ..modeling.token_encoder import CharCNN
from ..modeling.vocab import BOS, CHAR_PAD, EOS, PAD, SPECIALS, Vocab, special_character_ids
from .onnx_graph import GraphBuilder

LAST = np.iinfo(np.int64).max  # no n-gram has this key, see modeling.ngram_index


@dataclass(frozen=True)
class Positions:
    """Names of the values that tell units from boundaries and padding.

    Attributes:
        inside: (B, T) bool, the units.
        begin: (B, T) bool, BOS.
        end: (B, T) bool, EOS.
        lengths: (B,) int64, boundaries included.
    """

    inside: str
    begin: str
    end: str
    lengths: str


def positions(graph: GraphBuilder, ids: str, lengths: str) -> Positions:
    """Derive the positions from an input of ids (B, T - 2, ...) and the lengths (B,) without boundaries."""
    size = graph.add("Shape", ids, start=1, end=2)
    padded = graph.add("Add", size, graph.constant([2]))
    axis = graph.constant([0])
    steps = graph.add("Range", graph.constant(0), graph.add("Squeeze", padded, axis), graph.constant(1))
    ends = graph.add("Add", graph.add("Unsqueeze", lengths, graph.constant([1])), graph.constant(1))  # (B, 1)
    begin = graph.add("Equal", steps, graph.constant(0))
    before = graph.add("Less", steps, ends)
    return Positions(
        inside=graph.add("And", before, graph.add("Not", begin)),
        begin=graph.add("And", before, begin),
        end=graph.add("Equal", steps, ends),
        lengths=graph.add("Add", lengths, graph.constant(2)),
    )


def with_boundaries(graph: GraphBuilder, unit_ids: str, places: Positions) -> str:
    """Put BOS before the units and EOS after them: (B, T - 2) -> (B, T)."""
    padded = graph.add("Pad", unit_ids, graph.constant([0, 1, 0, 1]))
    ids = graph.add("Where", places.inside, padded, graph.constant(PAD))
    ids = graph.add("Where", places.end, graph.constant(EOS), ids)
    return graph.add("Where", places.begin, graph.constant(BOS), ids)


def characters_with_boundaries(graph: GraphBuilder, ids: str, width: int, places: Positions) -> str:
    """Spell the boundaries and the padding: (B, T - 2, C) -> (B, T, C). width: C."""
    special = special_character_ids(width - 2)
    last = graph.constant([-1])
    masks = [graph.add("Unsqueeze", mask, last) for mask in (places.inside, places.end, places.begin)]
    padded = graph.add("Pad", ids, graph.constant([0, 1, 0, 0, 1, 0]))
    ids = graph.add("Where", masks[0], padded, graph.constant(special[PAD]))
    ids = graph.add("Where", masks[1], graph.constant(special[EOS]), ids)
    return graph.add("Where", masks[2], graph.constant(special[BOS]), ids)


def ngram_rows(graph: GraphBuilder, ids: str, vocab: Vocab) -> list[str]:
    """Add the lookup of n-grams that end at each unit: (B, T) rows for each length from 2, 0 for none.

    The key of an n-gram is the number whose digits are the ids of its units (modeling.ngram_index). A binary
    search finds it, with the same number of steps for every key.
    """
    numbers = {unit: i for i, unit in enumerate(vocab.units, len(SPECIALS))}
    found: list[dict[int, int]] = [{} for _ in range(2, vocab.max_ngram_length + 1)]
    for row, ngram in enumerate(vocab.ngrams, 1):
        key = 0
        for unit in ngram:
            key = key * len(vocab) + numbers[unit]
        found[len(ngram) - 2][key] = row
    rows, keys = [], ids
    for n, table in enumerate(found, 2):
        shifted = graph.add("Pad", keys, graph.constant([0, 1, 0, -1]))
        keys = graph.add("Add", graph.add("Mul", shifted, graph.constant(len(vocab))), ids)
        rows.append(_search(graph, keys, table, f"ngrams_{n}"))
    return rows


def _search(graph: GraphBuilder, keys: str, table: dict[int, int], name: str) -> str:
    """Look up integers in a sorted table of keys and rows; 0 for keys that it lacks."""
    steps = [1 << k for k in reversed(range(len(table).bit_length()))]
    known = np.full(1 << len(steps), LAST, dtype=np.int64)
    its_row = np.zeros_like(known)
    known[: len(table)] = sorted(table)
    its_row[: len(table)] = [table[key] for key in sorted(table)]
    # previous[i] is the key before index i, with which a step of the search compares.
    previous = graph.weight(np.concatenate([known[:1], known[:-1]]), f"{name}.previous")
    place = graph.add("Mul", keys, graph.constant(0))
    for step in steps:
        further = graph.add("Add", place, graph.constant(step))
        smaller = graph.add("Less", graph.add("Gather", previous, further), keys)
        place = graph.add("Where", smaller, further, place)
    same = graph.add("Equal", graph.add("Gather", graph.weight(known, f"{name}.keys"), place), keys)
    row = graph.add("Gather", graph.weight(its_row, f"{name}.rows"), place)
    return graph.add("Where", same, row, graph.constant(0))


def add_ngram_embeddings(graph: GraphBuilder, x: str, table: Tensor, rows: Sequence[str]) -> tuple[str, str]:
    """Add embeddings of n-grams that end at a unit (forward direction) or begin there (backward).

    x: (B, T, P); table: (rows, W), W <= P; rows: (B, T) for each length from 2. Returns two (B, T, P).
    """
    width, weight = table.shape[1], graph.weight(table, "ngrams.weight")
    axis, split, end = graph.constant([2]), graph.constant([width]), graph.constant([LAST])
    rest = graph.add("Slice", x, split, end, axis)
    ahead = back = graph.add("Slice", x, graph.constant([0]), split, axis)
    for k, row in enumerate(rows, 1):  # of k + 1 units, so they begin k units before they end
        vectors = graph.add("Gather", weight, row)
        ahead = graph.add("Add", ahead, vectors)
        longer = graph.add("Pad", vectors, graph.constant([0, 0, 0, 0, k, 0]))
        # A Pad by -k rows fails in onnxruntime 1.20 to 1.23 if a sentence has fewer than k units.
        moved = graph.add("Slice", longer, graph.constant([k]), end, graph.constant([1]))
        back = graph.add("Add", back, moved)
    return graph.add("Concat", ahead, rest, axis=2), graph.add("Concat", back, rest, axis=2)


def char_cnn(graph: GraphBuilder, network: CharCNN, characters: str, width: int) -> str:
    """Compute vectors of units from their characters: (B, T, C) -> (B, T, F). See modeling.token_encoder."""
    flat = graph.add("Reshape", characters, graph.constant([-1, width]))  # (N, C)
    table = graph.weight(network.embedding.weight, "char_cnn.embedding")
    x = graph.add("Transpose", graph.add("Gather", table, flat), perm=[0, 2, 1])  # (N, embedding_dim, C)
    is_character = graph.add("Not", graph.add("Equal", flat, graph.constant(CHAR_PAD)))
    is_character = graph.add("Cast", is_character, to=7)  # int64
    n_characters = graph.add("ReduceSum", is_character, graph.constant([1]), keepdims=1)  # (N, 1)
    activation = "Relu" if network.activation is F.relu else "Tanh"
    pooled = []
    for i, (convolution, (size, _)) in enumerate(zip(network.convolutions, network.filters, strict=True)):
        y = graph.add("Conv", x, *_affine(graph, convolution, f"char_cnn.convolution_{i}"))
        if not network.reads_padding:
            last = graph.add("Sub", n_characters, graph.constant(size))
            last = graph.add("Max", last, graph.constant(0))
            inside = graph.add("LessOrEqual", graph.constant(np.arange(width - size + 1)), last)
            inside = graph.add("Unsqueeze", inside, graph.constant([1]))
            y = graph.add("Where", inside, y, graph.constant(-np.inf, np.float32))
        y = graph.add("ReduceMax", y, graph.constant([2]), keepdims=0)
        pooled.append(graph.add(activation, y))
    out = graph.add("Concat", *pooled, axis=1)
    for i, highway in enumerate(network.highways):
        name, parts = f"char_cnn.highway_{i}", dict(highway.named_children())
        gate = graph.add("Sigmoid", linear(graph, out, parts["gate"], f"{name}.gate"))
        new = graph.add("Relu", linear(graph, out, parts["transform"], f"{name}.transform"))
        kept = graph.add("Mul", graph.add("Sub", graph.constant(1, np.float32), gate), out)
        out = graph.add("Add", graph.add("Mul", gate, new), kept)
    shape = graph.add("Shape", characters, start=0, end=2)
    shape = graph.add("Concat", shape, graph.constant([network.width]), axis=0)
    return graph.add("Reshape", out, shape)


def linear(graph: GraphBuilder, x: str, layer: nn.Module, name: str) -> str:
    """Apply a linear layer to the last axis."""
    weight, bias = _affine(graph, layer, name, transposed=True)
    return graph.add("Add", graph.add("MatMul", x, weight), bias)


def lstm_stack(graph: GraphBuilder, x: str, network: LSTMStack, name: str) -> list[str]:
    """Add the LSTM layers of one direction: (B, T, P) -> (B, T, P) for each layer."""
    outputs = []
    for depth, layer in enumerate(network.layers):
        weights = dict(layer.named_parameters())
        clips = network.cell_clip, network.proj_clip
        y = lstm(graph, x, weights, f"{name}.layer_{depth}", clips=clips)
        x = graph.add("Add", x, y) if network.skip and depth else y
        outputs.append(x)
    return outputs


def stacked_bilstm(graph: GraphBuilder, x: str, network: StackedBiLSTM, lengths: str) -> str:
    """Add LSTM layers that read both directions of the layer below: (B, T, P) -> (B, T, 2P)."""
    weights = dict(network.lstm.named_parameters())
    halves: list[str] = []
    for depth in range(network.lstm.num_layers):
        halves = []
        for side, end in (("forward", ""), ("backward", "_reverse")):
            # Rename the parameters to those of a layer with one direction.
            wanted = f"_l{depth}{end}"
            own: Mapping[str, Tensor] = {
                f"{k.removesuffix(wanted)}_l0": w for k, w in weights.items() if k.endswith(wanted)
            }
            read = reverse_padded(graph, x, lengths) if end else x
            y = lstm(graph, read, own, f"{side}.layer_{depth}")
            halves.append(reverse_padded(graph, y, lengths) if end else y)
        x = graph.add("Concat", *halves, axis=2)
    projected = [linear(graph, half, network.projection, "projection_of_states") for half in halves]
    return graph.add("Concat", *projected, axis=2)


def lstm(
    graph: GraphBuilder,
    x: str,
    weights: Mapping[str, Tensor],
    name: str,
    clips: tuple[float | None, float | None] = (None, None),
) -> str:
    """Add one LSTM layer with projection and clips, which ONNX's LSTM lacks, as a Scan over the steps.

    x: (B, T, P). weights: parameters of an nn.LSTM of one layer, by name. clips: of the cell and of the
    output, see modeling.lstm. Returns (B, T, P), or (B, T, H) without a projection.
    """
    recurrent = graph.weight(weights["weight_hh_l0"].T, f"{name}.recurrent")
    projection = weights.get("weight_hr_l0")
    projected = None if projection is None else graph.weight(projection.T, f"{name}.projection")
    n_gates, width = weights["weight_hh_l0"].shape
    gates = graph.add("MatMul", x, graph.weight(weights["weight_ih_l0"].T, f"{name}.input"))
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    gates = graph.add("Add", gates, graph.weight(bias, f"{name}.bias"))

    def step(states: Sequence[str], current: str) -> tuple[Sequence[str], str]:
        h, c = states
        total = graph.add("Add", current, graph.add("MatMul", h, recurrent))
        i, f, g, o = graph.add_many("Split", [total], 4, axis=1, num_outputs=4)
        kept = graph.add("Mul", graph.add("Sigmoid", f), c)
        new = graph.add("Mul", graph.add("Sigmoid", i), graph.add("Tanh", g))
        c = _clip(graph, graph.add("Add", kept, new), clips[0])
        h = graph.add("Mul", graph.add("Sigmoid", o), graph.add("Tanh", c))
        h = h if projected is None else graph.add("MatMul", h, projected)
        h = _clip(graph, h, clips[1])
        return [h, c], h

    batch = graph.add("Shape", x, start=0, end=1)
    zeros = [
        graph.add("Expand", graph.constant(0, np.float32), graph.add("Concat", batch, size, axis=0))
        for size in (graph.constant([width]), graph.constant([n_gates // 4]))
    ]
    states = list(zip(zeros, (width, n_gates // 4), strict=True))
    return graph.scan(step, states, (gates, n_gates))


def reverse_padded(graph: GraphBuilder, x: str, lengths: str) -> str:
    """Reverse each sentence within its own length: (B, T, ...)."""
    return graph.add("ReverseSequence", x, lengths, batch_axis=0, time_axis=1)


def _clip(graph: GraphBuilder, x: str, limit: float | None) -> str:
    if limit is None:
        return x
    return graph.add("Clip", x, graph.constant(-limit, np.float32), graph.constant(limit, np.float32))


def _affine(graph: GraphBuilder, layer: nn.Module, name: str, *, transposed: bool = False) -> list[str]:
    """Add the weight and the bias of a layer."""
    weight, bias = (dict(layer.named_parameters())[key] for key in ("weight", "bias"))
    return [
        graph.weight(weight.T if transposed else weight, f"{name}.weight"),
        graph.weight(bias, f"{name}.bias"),
    ]
