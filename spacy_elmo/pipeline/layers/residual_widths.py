"""Set the widths of residual layers on top of ELMo."""

from typing import Any

from thinc.api import Model


def set_residual_widths(model: Model[Any, Any], width: int) -> None:
    """Set the widths of a model's residual layers that have no weights yet.

    spaCy's entity linker makes them as wide as its tok2vec, if that knows its width when the model is built.
    ELMo as the whole of a tok2vec knows it later, and an initialization would infer the width of the
    entities' vectors instead.
    """
    inner = [node.layers[0] for node in model.walk() if node.name.startswith("residual")]
    for layer in (layer for each in inner for layer in each.walk()):
        if layer.has_dim("nI") is not False and layer.has_dim("nO") is not False and not layer.has_param("W"):
            layer.set_dim("nO", width, force=True)
            layer.set_dim("nI", width, force=True)
