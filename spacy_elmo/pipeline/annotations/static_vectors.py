"""Compute the static vectors of a Doc's tokens."""

import numpy as np
from spacy.tokens import Doc

from ...inference.bilm import BiLM


def compute_static_vectors(bilm: BiLM, doc: Doc, orths: np.ndarray | None = None) -> np.ndarray:
    """Return static vectors (n_tokens, S) float32, S = 0 for a model without.

    orths: `doc.to_array("ORTH")`.
    """
    # Hashes of the tokens' strings are faster to get than the strings.
    orths = doc.to_array("ORTH") if orths is None else orths
    return bilm.static_vectors_of(orths.tolist(), to_string=doc.vocab.strings.__getitem__)
