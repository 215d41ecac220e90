"""The static vectors of a Doc's tokens."""

import numpy as np
from spacy.tokens import Doc

from ..bilm.model import BiLM


def static_of(bilm: BiLM, doc: Doc, orths: np.ndarray | None = None) -> np.ndarray:
    """(n_tokens, S) float32, S = 0 for a model without such vectors. orths: `doc.to_array("ORTH")`."""
    # Hashes of the tokens' strings: to have the strings themselves takes longer.
    orths = doc.to_array("ORTH") if orths is None else orths
    return bilm.static(orths.tolist(), spelled=doc.vocab.strings.__getitem__)
