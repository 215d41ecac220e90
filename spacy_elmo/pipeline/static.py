"""The static vectors of a Doc's tokens beside what a consumer mixes of its layers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from spacy.tokens import Doc
from thinc.api import Ops

from ..bilm.model import BiLM


def static_of(bilm: BiLM, doc: Doc) -> np.ndarray:
    """(n_tokens, S) float32, S = 0 for a model without such vectors."""
    return bilm.static([token.text for token in doc])


def beside(
    ops: Ops, mixed: Sequence[Any], static: Sequence[Any], backprop_mix: Callable
) -> tuple[list[Any], Callable]:
    """[mixed; static] of each Doc, (n, D + S), and its backward pass: the static vectors take no gradient."""
    Y = [ops.xp.hstack([y, ops.asarray(s)]) for y, s in zip(mixed, static, strict=True)]

    def backprop(dY: Sequence[Any]) -> list:
        own = [d[:, : y.shape[1]] for d, y in zip(dY, mixed, strict=True)]
        return backprop_mix(own)

    return Y, backprop
