"""What trained components take from the layers: the weights that their mixes have learnt."""

from typing import NamedTuple

import numpy as np
from spacy.language import Language
from thinc.api import Model

MIX = "elmo-scalar-mix"


class LayerWeights(NamedTuple):
    """The mix of one listener: gamma * sum_j weights_j h_j (Peters et al. 2018, equation 1)."""

    component: str
    """Name of the component that has learnt it, with a number where it has several listeners."""
    weights: np.ndarray
    """(L,), their sum is 1."""
    gamma: float


def collect_layer_weights(nlp: Language) -> list[LayerWeights]:
    """Return the mixes of all components of a pipeline, disabled ones included, in their order.

    Several listeners of one component are those of a ConcatOutput: input first, output second.
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
