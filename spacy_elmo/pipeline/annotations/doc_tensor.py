"""Set `doc.tensor` to the mean of the layers, so that `token.vector` and `doc.vector` are contextual."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from spacy.tokens import Doc
from thinc.api import Ops, to_numpy

from .doc_vectors import Vectors, find_vectors
from .output import mean_layer

# The name of the component that set a Doc's tensor, and the tensor.
_written: WeakKeyDictionary[Doc, tuple[str, ref[np.ndarray]]] = WeakKeyDictionary()


def may_set_tensor(doc: Doc, names: Sequence[str]) -> bool:
    """Return whether `doc.tensor` is empty or was set by a component with one of these names.

    Call this before new vectors are set: the old ones identify the component's tensor, even after a
    retokenization, where spaCy drops rows and inserts zeros, and on a copy of the Doc.
    """
    tensor = doc.tensor
    if tensor is None or tensor.size == 0:
        return True
    name, written = _written.get(doc, ("", None))
    if written is not None and written() is tensor:
        return name in names
    return any(vectors is not None and _is_mean(tensor, vectors) for vectors in _known(doc, names))


def set_tensor(doc: Doc, mean: np.ndarray, ops: Ops, name: str) -> None:
    """Set `doc.tensor` to the mean of the layers, (n_tokens, D), and update `doc.vector`."""
    renewed = doc.tensor is not None and doc.tensor.size > 0
    tensor: Any = ops.asarray(mean)  # type: ignore[arg-type]
    doc.tensor = tensor
    if isinstance(tensor, np.ndarray):
        _written[doc] = name, ref(tensor)
    if doc.vocab.vectors.size:
        return  # spaCy computes doc.vector from the word vectors
    if not len(doc):
        doc.vector = ops.xp.zeros((mean.shape[1],), dtype="f")  # spaCy's own would have the width 0
    elif renewed:
        doc.vector = None  # type: ignore[assignment]  # spaCy caches that of the old tensor
        doc.vector_norm = None  # type: ignore[assignment]


def _known(doc: Doc, names: Sequence[str]) -> list[Vectors | None]:
    return [find_vectors(doc, name) for name in names]


def _is_mean(tensor: np.ndarray, vectors: Vectors) -> bool:
    """Return whether each row of a tensor is zero or the mean of the layers of some token."""
    rows = to_numpy(tensor)
    if rows.ndim != 2 or rows.shape[1] != vectors.layers.shape[2]:
        return False
    mean = mean_layer(vectors.layers)
    if rows.shape == mean.shape and np.allclose(rows, mean, atol=1e-5):
        return True
    known = {row.tobytes() for row in mean}
    return all(row.tobytes() in known or not row.any() for row in rows)
