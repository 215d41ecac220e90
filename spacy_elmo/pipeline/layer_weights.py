"""Collect the layer weights that trained components have learned."""

from typing import NamedTuple

import numpy as np
from spacy.language import Language
from thinc.api import Model

MIX = "elmo-scalar-mix"


class LayerWeights(NamedTuple):
    """The mix of one listener: gamma * sum_j weights_j h_j (Peters et al. 2018, equation 1)."""

    component: str
    """Name of the component, with a number if it has several listeners."""
    weights: np.ndarray
    """(L,), with sum 1."""
    gamma: float


def collect_layer_weights(nlp: Language) -> list[LayerWeights]:
    """Return the mixes of all components of a pipeline, in order, including disabled ones.

    A component with several listeners uses ConcatOutput: the first is at the input, the second at the output.
    """
    found = []
    for name, component in nlp.components:
        model = getattr(component, "model", None)
        if not isinstance(model, Model):
            continue
        mixes = [node for node in model.walk(order="dfs_pre") if node.name == MIX and node.has_param("w")]
        for number, node in enumerate(mixes, 1):
            w = np.asarray(node.ops.to_numpy(node.get_param("w")), dtype=np.float64)
            weights = np.exp(w - w.max())
            gamma = float(node.ops.to_numpy(node.get_param("gamma"))[0])
            label = name if len(mixes) == 1 else f"{name} {number}"
            found.append(LayerWeights(label, weights / weights.sum(), gamma))
    return found
