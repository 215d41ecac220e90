"""A Doc of words from a Doc of smaller tokens: text, annotations and ELMo's vectors go along."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc

from ...pipeline.annotations.doc_vectors import drop_vectors, find_vectors, vector_names, write_vectors
from ...pipeline.annotations.output import mean_layer
from ...pipeline.annotations.static_vectors import compute_static_vectors
from ...pipeline.layers.bilm import BiLMShim

Spans = list[tuple[int, int]]


def merge_tokens(doc: Doc, spans: Spans) -> Doc:
    """A new Doc of the same text, whose tokens are the given spans of the old ones, in order, all of them.

    Custom attributes, hooks, categories, groups of spans and the context of `nlp.pipe(as_tuples=True)` go
    along; annotations of tokens do not. ELMo's layers are those of the words (see
    pipeline.annotations.alignment); static vectors of tokens are dropped.
    """
    merged = Doc(
        doc.vocab,
        words=[doc[start:end].text for start, end in spans],
        spaces=[bool(doc[end - 1].whitespace_) for _, end in spans],
    )
    merged.user_data.update(doc.user_data)
    merged.user_hooks = doc.user_hooks
    merged.user_token_hooks = doc.user_token_hooks
    merged.user_span_hooks = doc.user_span_hooks
    merged.cats = dict(doc.cats)
    merged._context = doc._context
    for key, group in doc.spans.items():
        moved = [
            merged.char_span(s.start_char, s.end_char, s.label_, s.kb_id_, alignment_mode="expand")
            for s in group
        ]
        merged.spans[key] = [span for span in moved if span is not None]
    for name in vector_names(doc):
        _move_vectors(doc, merged, spans, name)
    return merged


def set_static_vectors(doc: Doc, nlp: Language | None) -> None:
    """Set the static vectors of a Doc's tokens, those of each component of `nlp` whose layers it has."""
    for name in vector_names(doc):
        if nlp is None or name not in nlp.component_names:
            continue
        vectors = find_vectors(doc, name)
        model = cast(TrainablePipe, nlp.get_pipe(name)).model
        for shim in model.shims:
            if isinstance(shim, BiLMShim) and vectors is not None:
                write_vectors(doc, name, vectors.layers, compute_static_vectors(shim.bilm, doc))


def _move_vectors(doc: Doc, merged: Doc, spans: Spans, name: str) -> None:
    vectors = find_vectors(doc, name)
    drop_vectors(merged, name)
    if vectors is None or len(vectors.orths) != len(doc):
        return
    moved = word_layers(vectors.layers, spans)
    write_vectors(merged, name, moved)
    if doc.tensor.shape == vectors.layers.shape[1:]:
        merged.tensor = mean_layer(moved)


def word_layers(layers: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Pool (L, n_tokens, D) of tokens to (L, n_words, D) of words.

    A word has the forward state of its last token, the backward state of its first, and of layer 0, the
    embedding, the mean.

    White space within a word has zeros for its embedding; words have none within.
    """
    starts = np.array([start for start, _ in spans], dtype=np.int64)
    ends = np.array([end for _, end in spans], dtype=np.int64)
    half = layers.shape[2] // 2
    out = np.concatenate([layers[:, ends - 1, :half], layers[:, starts, half:]], axis=2)
    if len(spans):
        sums = np.add.reduceat(layers[0], starts, axis=0)  # the spans follow one another
        out[0] = sums / (ends - starts)[:, None]
    return out
