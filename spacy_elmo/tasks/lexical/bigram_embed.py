"""Embeddings of pairs of neighbouring tokens, learned with the task."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from spacy.attrs import NORM
from spacy.tokens import Doc
from thinc.api import HashEmbed, Model, chain, list2ragged, ragged2list, with_array
from thinc.types import Floats2d, Ints2d

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd and without pattern, so that (a, b) and (b, a) differ
SEED = 21  # of the hash: fixed, so that a config alone tells which rows a bigram has
END = np.uint64(0)  # the token after the last one


def BigramEmbed(width: int, rows: int) -> Model[list[Doc], list[Floats2d]]:
    """Create the layer List[Doc] -> List[Floats2d (n_tokens, width)]: each token with the next one.

    Args:
        width: Width of the output.
        rows: Rows of the hash table; each bigram has the sum of four (thinc's HashEmbed).
    """
    embed: Model[Any, Any] = HashEmbed(width, rows, seed=SEED, column=0)
    model: Model[Any, Any] = chain(
        Model("elmo-bigrams", extract),
        cast(Any, list2ragged()),
        with_array(cast(Any, embed)),
        cast(Any, ragged2list()),
    )
    model.set_dim("nO", width)
    return model


def extract(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[Ints2d], Callable[..., Any]]:
    """Return the key of each bigram, (n_tokens, 1) uint64 of each Doc, from the norms of its two tokens."""
    ops: Any = model.ops
    return [ops.asarray(bigram_keys(doc)) for doc in docs], lambda d_keys: []


def bigram_keys(doc: Doc) -> np.ndarray:
    """Return (n_tokens, 1) uint64 keys; that of the last token is of the token alone."""
    norms = doc.to_array(NORM).astype(np.uint64).reshape(-1)
    following = np.append(norms[1:], END)[: len(norms)]
    with np.errstate(over="ignore"):
        return (norms * MULTIPLIER ^ following)[:, None]
