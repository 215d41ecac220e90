"""A private biLM with its own mix, for a standalone component."""

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..annotations.static_vectors import compute_static_vectors
from .bilm import BiLMShim, get_bilm_shim
from .residual_widths import set_residual_widths
from .scalar_mix import MixInputs
from .shared_outputs import SharedOutputs

PRIVATE = "spacy-elmo.ElmoTok2Vec.v1"


OUTPUT = "spacy-elmo.ConcatOutput.v1"
WITH_TWO = (OUTPUT, "spacy-elmo.BothEnds.v1")  # architectures with an elmo that shares its tok2vec's biLM


NAME = "elmo-tok2vec"


def ElmoTok2Vec(
    bilm: Model[Any, Any] | None,
    mix: Model[Any, Any],
    *,
    use_static_vectors: bool = False,
    width: int | None = None,
) -> Model[Any, Any]:
    """Create the layer List[Doc] -> List[Floats2d (n_tokens, D)]: a biLM and a trainable scalar mix.

    Args:
        bilm: The biLM; None: `share_bilm_layer` will provide one.
        mix: The scalar mix.
        use_static_vectors: Concatenate the model's static vectors: the output has width D + S.
        width: Width of the output; None: set when the weights are read.
    """
    layers = [mix] if bilm is None else [bilm, mix]
    return Model(
        NAME,
        forward,
        init=init,
        layers=layers,
        dims={"nO": width},
        attrs={"use_static_vectors": use_static_vectors},
    )


def forward(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Return the mixed layers of the docs, and the backprop function of the mix."""
    bilm, mix = _parts(model)
    shim = get_bilm_shim(bilm)
    if not shim.frozen:
        return _forward_and_fine_tune(model, docs, is_train)
    shared = shim.shared_outputs
    layers = bilm.predict(docs) if shared is None else shared.get_or_compute(docs, bilm.predict)
    X = layers
    if model.attrs["use_static_vectors"]:
        X = MixInputs(layers, [compute_static_vectors(get_bilm_shim(bilm).bilm, doc) for doc in docs])
    Y, backprop_mix = mix(X, is_train)

    def backprop(dY: list[Floats2d]) -> list[Any]:
        backprop_mix(dY)
        return []  # the biLM is frozen

    return Y, backprop


def _forward_and_fine_tune(
    model: Model[Any, Any], docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[..., Any]]:
    """Compute the same with a gradient of the biLM. Two readers of one biLM run it once each."""
    bilm, mix = _parts(model)
    layers, backprop_bilm = bilm(docs, is_train)
    static = None
    if model.attrs["use_static_vectors"]:
        static = [compute_static_vectors(get_bilm_shim(bilm).bilm, doc) for doc in docs]
    Y, backprop_mix = mix(layers if static is None else MixInputs(layers, static), is_train)

    def backprop(dY: list[Floats2d]) -> list[Any]:
        backprop_bilm(backprop_mix(dY))
        return []  # a Doc has no gradient

    return Y, backprop


def init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    """Load the biLM and initialize the mix with its sizes."""
    bilm, mix = _parts(model)
    bilm.initialize()
    config = get_bilm_shim(bilm).bilm.config
    mix.set_dim("nL", get_bilm_shim(bilm).bilm.n_layers)
    if mix.has_dim("nI") is None:
        mix.set_dim("nI", config.width)
    if not get_bilm_shim(bilm).frozen:
        if "input_gradient" not in mix.attrs:
            raise ValueError(
                f'"{mix.name}" computes no gradient of the layers, so it cannot fine-tune a biLM: set '
                "frozen = true in its [bilm]."
            )
        mix.attrs["input_gradient"] = True
    mix.initialize()
    width = config.width + config.static_width * model.attrs["use_static_vectors"]
    if mix.has_dim("nO"):
        width = mix.get_dim("nO")
    if model.has_dim("nO") and model.get_dim("nO") != width:
        raise ValueError(f"{PRIVATE} has width = {model.get_dim('nO')}, but its model has {width}: set that.")
    if not model.has_dim("nO"):
        model.set_dim("nO", width)
        consumer = _find_initialized_model()
        if consumer is not None and consumer.maybe_get_ref("tok2vec") is model:
            set_residual_widths(consumer, width)


def _find_initialized_model() -> Model[Any, Any] | None:
    """Return the outermost model that is being initialized, from the stack of calls; None if there is none.

    Only spaCy's entity linker needs it, for its residual layer, and only if the setting `width` is not given.
    Nothing else leads from a layer to the model that contains it: thinc's layers do not know their parents,
    and spaCy builds the residual layer itself and passes the component's model to no hook of this layer. The
    width of the model at the setting's `path` cannot be set when the component is built, because a saved
    pipeline may have been trained with a model of another width, and thinc loads no sizes over others.
    """
    found = None
    initialize = getattr(Model.initialize, "__code__", None)  # none if thinc compiles it
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is initialize:
            found = frame.f_locals.get("self")
        frame = frame.f_back
    return found


def _parts(model: Model[Any, Any]) -> list[Model[Any, Any]]:
    if len(model.layers) == 1:
        raise ValueError(
            f"{PRIVATE} has no biLM: give one in [bilm]. Only the elmo of a {' or a '.join(WITH_TWO)} "
            "may omit it, because it uses the biLM of the tok2vec next to it."
        )
    return model.layers


def share_bilm_layer(elmo: Model[Any, Any], tok2vec: Model[Any, Any]) -> None:
    """Give an ElmoTok2Vec without a biLM the layer of the one in `tok2vec`. Other layers are not changed.

    Both then share one layer, which is saved once and runs once per batch.
    """
    if elmo.name != NAME or len(elmo.layers) > 1:
        return
    bilms = [node for node in tok2vec.walk() if any(isinstance(shim, BiLMShim) for shim in node.shims)]
    if len(bilms) != 1:
        raise ValueError(
            f"{PRIVATE} without [bilm] uses the biLM of the tok2vec next to it, which has "
            f"{len(bilms) or 'none'}: give a [bilm]."
        )
    elmo.layers.insert(0, bilms[0])
    get_bilm_shim(bilms[0]).shared_outputs = SharedOutputs()
