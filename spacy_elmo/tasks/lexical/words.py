"""Make a Doc of words from a Doc of smaller tokens, with text, annotations and ELMo's vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from spacy.attrs import IDX, LENGTH, SPACY
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, SpanGroup
from thinc.api import get_current_ops

from ...pipeline.annotations.doc_tensor import may_set_tensor, set_tensor
from ...pipeline.annotations.doc_vectors import drop_vectors, find_vectors, vector_names, write_vectors
from ...pipeline.annotations.output import mean_layer
from ...pipeline.annotations.static_vectors import compute_static_vectors
from ...pipeline.layers.bilm import get_bilm_shim

Spans = list[tuple[int, int]]


def merge_tokens(doc: Doc, spans: Spans, upstream: Sequence[TrainablePipe] = ()) -> Doc:
    """Return a new Doc of the same text whose tokens are the given spans of the old ones, in order.

    The spans cover all old tokens. Custom attributes, hooks, categories, groups of spans and the context of
    `nlp.pipe(as_tuples=True)` are kept; annotations of tokens are not. ELMo's layers become those of the
    words (see pipeline.annotations.alignment). upstream: components "elmo" that compute the static vectors of
    the words; words whose layers another component has set have none.
    """
    text = doc.text
    places = doc.to_array([IDX, LENGTH, SPACY]).reshape(-1, 3).astype(np.int64)
    ends = (places[:, 0] + places[:, 1]).tolist()
    starts, spaces = places[:, 0].tolist(), places[:, 2].astype(bool).tolist()
    words = [text[starts[first] : ends[last - 1]] for first, last in spans]
    merged = Doc(doc.vocab, words=words, spaces=[spaces[last - 1] for _, last in spans])
    merged.user_data.update(doc.user_data)
    # Copies: pipeline.annotations.doc_vectors tells a Doc from its parts by the dict itself.
    merged.user_hooks = dict(doc.user_hooks)
    merged.user_token_hooks = dict(doc.user_token_hooks)
    merged.user_span_hooks = dict(doc.user_span_hooks)
    merged.cats = dict(doc.cats)
    merged._context = doc._context
    for key, group in doc.spans.items():
        merged.spans[key] = _moved_group(group, merged)
    for name in vector_names(doc):
        drop_vectors(merged, name)
        vectors = find_vectors(doc, name)
        if vectors is not None and len(vectors.orths) == len(doc):
            _write(
                merged, name, word_layers(vectors.layers, spans), static_vectors_of(merged, name, upstream)
            )
    return merged


def _moved_group(group: SpanGroup, merged: Doc) -> SpanGroup:
    """Return a group of spans for a Doc of words. Spans without a place in it are lost."""
    moved = [
        merged.char_span(s.start_char, s.end_char, s.label_, s.kb_id_, alignment_mode="expand", span_id=s.id_)
        for s in group
    ]
    spans = [span for span in moved if span is not None]
    kept = [i for i, span in enumerate(moved) if span is not None]
    attrs = {name: _values_of(value, kept, len(group)) for name, value in group.attrs.items()}
    return SpanGroup(merged, name=group.name, attrs=attrs, spans=spans)


def _values_of(value: Any, kept: Sequence[int], n_spans: int) -> Any:
    """Return an attribute of a group for the spans that are kept, if it has one value for each span."""
    if isinstance(value, np.ndarray) and value.shape[:1] == (n_spans,):
        return value[list(kept)]
    if isinstance(value, list | tuple) and len(value) == n_spans:
        values = [value[i] for i in kept]
        return values if isinstance(value, list) else tuple(values)
    return value


def _write(doc: Doc, name: str, layers: np.ndarray, static: np.ndarray | None) -> None:
    may_set = may_set_tensor(doc, [name])
    write_vectors(doc, name, layers, static)
    if may_set:
        set_tensor(doc, mean_layer(layers), get_current_ops(), name)


def static_vectors_of(doc: Doc, name: str, upstream: Sequence[TrainablePipe]) -> np.ndarray | None:
    """Compute the static vectors (n, S) of a Doc's tokens with the component `name` of `upstream`.

    Return None if no component in `upstream` has that name.
    """
    for component in upstream:
        if component.name == name:
            return compute_static_vectors(get_bilm_shim(component.model).bilm, doc)
    return None


def word_layers(layers: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Pool (L, n_tokens, D) of tokens to (L, n_words, D) of words.

    A word has the forward state of its last token, the backward state of its first token, and the mean of the
    embeddings (layer 0). White space in a word has zeros as embedding; words contain none inside.
    """
    starts = np.array([start for start, _ in spans], dtype=np.int64)
    ends = np.array([end for _, end in spans], dtype=np.int64)
    half = layers.shape[2] // 2
    out = np.concatenate([layers[:, ends - 1, :half], layers[:, starts, half:]], axis=2)
    if len(spans):
        sums = np.add.reduceat(layers[0], starts, axis=0)  # the spans follow one another
        out[0] = sums / (ends - starts)[:, None]
    return out
