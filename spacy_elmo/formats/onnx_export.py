"""Export a biLM as one ONNX file, for programs without Python or torch."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..atomic_io import PathLike, check_parents, write_atomic
from ..errors import FormatError, OutputError
from ..inference.bilm import BiLM
from ..modeling.vocab import SPECIALS
from . import onnx_layers as layers_of
from .onnx_graph import GraphBuilder

if TYPE_CHECKING:
    import onnx

LARGEST = 2**31 - 2**20  # bytes of weights: the limit of protocol buffers, minus room for the rest


def save_onnx(bilm: BiLM, path: PathLike) -> None:
    """Write a biLM as an ONNX file whose output is what `bilm.encode(sentences)` gives, in float32.

    Inputs, with B sentences of T units and without boundaries:
        unit_ids       (B, T) int64, of models with a table of units: `vocab.ids(sentence)[1:-1]`
        character_ids  (B, T, C) int64, of models with a char-CNN: `vocab.character_ids(sentence, C - 2)`
        lengths        (B,) int64, units of each sentence; ids after its end are not read
    Output:
        layers         (L, B, T, D) float32, 0 after a sentence's end
    The file's metadata has the units and the characters, in the order of their ids.

    Raises a FormatError where the package onnx is missing or the model is above 2 GB, an OutputError where
    `path` exists.
    """
    target = Path(path)
    if target.exists() or target.is_symlink():
        raise OutputError(f"Cannot write an ONNX file to {target}: it already exists; name a new file.")
    check_parents(target, "an ONNX file")
    with torch.no_grad():
        model = build(bilm)
    write_atomic(target, model.SerializeToString())


def build(bilm: BiLM) -> "onnx.ModelProto":
    """Build the model that save_onnx writes."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise FormatError(
            "Writing ONNX files needs the package onnx: pip install 'spacy-elmo[onnx]'."
        ) from error
    size = sum(4 * p.numel() for p in bilm.parameters())
    if size > LARGEST:
        raise FormatError(
            f"The weights take {size:,} bytes, but an ONNX file holds at most 2 GB: export a smaller model."
        )
    config, graph = bilm.config, GraphBuilder()
    n_characters = config.max_characters_per_token + 2
    inputs: dict[str, list[str | int]] = {}
    if config.token_encoder != "char_cnn":
        inputs["unit_ids"] = ["sentences", "units"]
    if config.token_encoder != "embedding":
        inputs["character_ids"] = ["sentences", "units", n_characters]
    places = layers_of.positions(graph, next(iter(inputs)), "lengths")
    ahead, back = _token_encoder(graph, bilm, places)
    layers = [graph.add("Concat", ahead, back, axis=2)]
    if config.stacked_bidirectional:
        layers.append(layers_of.stacked_bilstm(graph, ahead, bilm.stacked_bilstm, places.lengths))
    else:
        turned = layers_of.reverse_padded(graph, back, places.lengths)
        forwards = layers_of.lstm_stack(graph, ahead, bilm.forward_lm, "forward")
        backwards = layers_of.lstm_stack(graph, turned, bilm.backward_lm, "backward")
        for one, other in zip(forwards, backwards, strict=True):
            other = layers_of.reverse_padded(graph, other, places.lengths)
            layers.append(graph.add("Concat", one, other, axis=2))
    _output(graph, layers, places)
    shape = [bilm.n_layers, "sentences", "units", bilm.width]
    return graph.model({**inputs, "lengths": ["sentences"]}, {"layers": shape}, _metadata(bilm))


def _token_encoder(graph: GraphBuilder, bilm: BiLM, places: layers_of.Positions) -> tuple[str, str]:
    """Add the token encoder; return the input of each direction, (B, T, P) twice.

    See modeling.token_encoder.
    """
    config, encoder = bilm.config, bilm.token_encoder
    parts = []
    if encoder.embedding is not None:
        ids = layers_of.with_boundaries(graph, "unit_ids", places)
        table = graph.weight(encoder.embedding.weight * encoder.scale, "embedding.weight")
        parts.append(graph.add("Gather", table, ids))
    if encoder.char_cnn is not None:
        n_characters = config.max_characters_per_token + 2
        spelled = layers_of.characters_with_boundaries(graph, "character_ids", n_characters, places)
        parts.append(layers_of.char_cnn(graph, encoder.char_cnn, spelled, n_characters))
    x = parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=2)
    if isinstance(encoder.projection, torch.nn.Linear):
        x = layers_of.linear(graph, x, encoder.projection, "projection")
    if encoder.ngram_embedding is None:
        return x, x
    rows = layers_of.ngram_rows(graph, ids, bilm.vocab)
    return layers_of.add_ngram_embeddings(graph, x, encoder.ngram_embedding.weight, rows)


def _output(graph: GraphBuilder, layers: list[str], places: layers_of.Positions) -> None:
    """Stack the layers, drop the boundaries, and clear positions after a sentence: (L, B, T - 2, D)."""
    first = graph.constant([0])
    stacked = graph.add("Concat", *(graph.add("Unsqueeze", x, first) for x in layers), axis=0)
    inside = graph.add("Unsqueeze", places.inside, graph.constant([0, 3]))
    cleared = graph.add("Where", inside, stacked, graph.constant(0, np.float32))
    begin, end, axis = graph.constant([1]), graph.constant([-1]), graph.constant([2])
    graph.rename(graph.add("Slice", cleared, begin, end, axis), "layers")


def _metadata(bilm: BiLM) -> dict[str, str]:
    """Return what a program needs to convert text to ids, and the origin of the model."""
    config, vocab = bilm.config, bilm.vocab
    values = {
        "specials": list(SPECIALS),
        "units": vocab.units,
        "characters": vocab.characters,
        "config": config.to_dict(),
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
