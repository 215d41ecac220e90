"""Compare tokens, spans and docs by their vectors."""

import numpy as np
from spacy.tokens import Doc, Span, Token

from ...errors import ElmoError
from .output import LayerSpec, get_output, to_span


def similarity(
    a: Token | Span | Doc, b: Token | Span | Doc, layer: LayerSpec = None, *, name: str = "elmo"
) -> float:
    """Return the cosine of the contextual vectors of two tokens, spans or docs.

    They may belong to different docs. Unlike `Token.similarity`, it distinguishes two occurrences of a word.
    The vector of a span is the mean of its tokens' vectors.

    Args:
        a: The first token, span or doc.
        b: The second token, span or doc.
        layer: 0, 1, 2 (or "embedding", "lstm1", "lstm2"); None: the mean of the layers.
        name: Name of the component, if it is not "elmo".

    Returns:
        A number from -1 to 1; 0.0 if one of the vectors is zero (white space).

    Raises:
        ElmoError: A Doc has no vectors of the component, the two have different widths, or one is not
            a token, a span or a Doc.
    """
    x, y = _vector(a, layer, name), _vector(b, layer, name)
    if x.shape != y.shape:
        raise ElmoError(
            f"These vectors cannot be compared: their widths are {len(x)} and {len(y)}, of two models."
        )
    norm = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
    return float(np.clip(np.dot(x, y) / norm, -1.0, 1.0)) if norm else 0.0


def _vector(item: Token | Span | Doc, layer: LayerSpec, name: str) -> np.ndarray:
    output = get_output(to_span(item).doc, name=name)
    if output is None:
        raise ElmoError(
            f'doc._.{name} is missing: process the text with a pipeline that has "{name}", '
            "and remove its vectors only afterwards."
        )
    return output.token_vector(item, layer) if isinstance(item, Token) else output.span_vector(item, layer)
