"""Build the registered architectures: the biLM, the listener, their combinations, the private biLM.

The functions are registered as entry points (setup.cfg); importing this module registers nothing.
"""

from pathlib import Path

from spacy.tokens import Doc
from thinc.api import Model, concatenate
from thinc.types import Floats2d, Floats3d

from ..kernels.precision import Precision
from .layers.bilm import BiLMLayer
from .layers.elmo_tok2vec import ElmoTok2Vec, share_bilm_layer
from .layers.fused_maxout import FusedMaxout
from .layers.listener import ElmoListener
from .layers.scalar_mix import ScalarMix
from .layers.window_encoder import MaxoutWindowEncoder
from .layers.with_minibatches import with_minibatches
from .replace_listeners import ListenerReplacer


def build_bilm_v1(
    path: str | Path | None = None,
    precision: Precision = "auto",
    frozen: bool = True,
    learn_rate_factor: float = 0.1,
) -> Model[list[Doc], list[Floats3d]]:
    """Build spacy-elmo.BiLM.v1, the frozen biLM of the component "elmo".

    Shapes: List[Doc] -> List[Floats3d (L, n_tokens, D)].

    Args:
        path: A model folder; None: the Chinese model that ships inside the package. The weights are read at
            first use.
        precision: Type of the products: "f32"; "bf16", faster if the processor supports it; "int16", faster
            on most other processors (with both, vectors differ from f32 by a cosine distance below 0.0005);
            "auto": the fastest on this machine.
        frozen: False: fine-tune the weights with the task, in f32. It needs a biLM of the task's own, the
            `bilm` of spacy-elmo.ElmoTok2Vec.v1, and takes several times as long in training.
        learn_rate_factor: Factor of [training.optimizer] learn_rate for weights that are fine-tuned.

    Raises:
        ValueError: learn_rate_factor is not above 0.
        ModelFolderError: The path exists but is not a model folder. A missing path raises it at first use,
            because a saved pipeline brings its own weights.
    """
    if learn_rate_factor <= 0.0:
        raise ValueError(f"learn_rate_factor = {learn_rate_factor} trains nothing: give a number above 0.")
    model = BiLMLayer(path, precision, 0.0 if frozen else learn_rate_factor)
    replacer = ListenerReplacer()
    model.attrs["replace_listener_cfg"] = replacer.config
    model.attrs["replace_listener"] = replacer.model
    return model


def build_elmo_listener_v1(
    upstream: str = "*",
    mix_dropout: float = 0.5,
    weight_penalty: float = 0.001,
    layer_norm: bool = False,
    use_static_vectors: bool = False,
    l2: float | None = None,
    static: bool | None = None,
    fixed_gamma: float | None = None,
    fixed_weights: list[float] | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Build spacy-elmo.ElmoListener.v1, a scalar mix of the layers of the component "elmo".

    The mix is gamma * sum_j softmax(w)_j h_j, where w and gamma are learned with the consumer (Peters et al.
    2018, equation 1). Shapes: List[Doc] -> List[Floats2d (n_tokens, D)], or D + S with static vectors. The
    width is inferred.

    Args:
        upstream: Name of the component; "*": the nearest one before the consumer.
        mix_dropout: Dropout rate of the mixed vectors in training. [training] dropout does not change it.
        weight_penalty: Factor of the penalty ||w||^2 per token, added to the summed loss; it pulls the mix
            towards the plain average. Components that average their loss over a batch (textcat) need a value
            smaller by the number of tokens of a batch. In addition, spaCy's default optimizer decays all
            weights, w and gamma too; Adam's L2 = 0.0 turns that off.
        layer_norm: Normalise the layers before the weighting (section 3.2), so that they start with equal
            influence regardless of their scale.
        use_static_vectors: Concatenate the static vectors of the tokens (doc._.elmo.static_vectors), without
            dropout, if the model has any.
        l2: Name of weight_penalty in pipelines of format version 1.
        static: Name of use_static_vectors in pipelines of format version 1.
        fixed_gamma: A gamma that is not trained; None: it is trained, from 1.
        fixed_weights: Weights of the layers that are not trained, in place of softmax(w): [1, 0, 0] is layer
            0 alone, [1, 1, 1] the plain average. None: w is trained.
    """
    penalty = weight_penalty if l2 is None else l2
    mix = ScalarMix(
        mix_dropout=mix_dropout,
        weight_penalty=penalty,
        layer_norm=layer_norm,
        fixed_gamma=fixed_gamma,
        fixed_weights=fixed_weights,
    )
    wanted = use_static_vectors if static is None else static
    return ElmoListener(mix, upstream=upstream, use_static_vectors=wanted)


def build_concat_embed_v1(
    embed: Model[list[Doc], list[Floats2d]], elmo: Model[list[Doc], list[Floats2d]], width: int
) -> Model[list[Doc], list[Floats2d]]:
    """Build spacy-elmo.ConcatEmbed.v1: Maxout([embed; elmo]), for the `embed` slot of spacy.Tok2Vec.v2.

    The Maxout has three pieces and layer normalisation, as spaCy's own embeddings have. Gamma and the Maxout
    learn the balance of both parts. Shapes: List[Doc] -> List[Floats2d (n_tokens, width)].

    Args:
        embed: The component's own embedding, e.g. spacy.MultiHashEmbed.v2.
        elmo: A listener or a private biLM.
        width: Width of the output, equal to that of the encoder after it.
    """
    return with_minibatches(FusedMaxout(embed, elmo, width=width), width)


def build_concat_output_v1(
    tok2vec: Model[list[Doc], list[Floats2d]], elmo: Model[list[Doc], list[Floats2d]], width: int = 256
) -> Model[list[Doc], list[Floats2d]]:
    """Build spacy-elmo.ConcatOutput.v1: [tok2vec; Maxout(elmo)], with ELMo again at the output.

    Peters et al. 2018, section 5.2, use ELMo at the output as well as at the input. With 500 sentences, this
    raises the accuracy of a tagger by another 1.2 points (docs/training-components.md). The Maxout has three
    pieces and layer normalisation. Shapes: List[Doc] -> List[Floats2d (n_tokens, nO of tok2vec + width)].

    Args:
        tok2vec: The component's tok2vec, e.g. a spacy.Tok2Vec.v2 whose `embed` is a ConcatEmbed. Its nO must
            be known.
        elmo: A listener or a private biLM, with its own mix. A private biLM without [bilm] shares that of the
            tok2vec.
        width: Width of the Maxout.
    """
    share_bilm_layer(elmo, tok2vec)
    model: Model[list[Doc], list[Floats2d]] = concatenate(
        tok2vec, with_minibatches(FusedMaxout(elmo, width=width), width)
    )
    model.set_dim("nO", tok2vec.get_dim("nO") + width)
    return model


def build_maxout_window_encoder_v1(
    width: int, window_size: int, maxout_pieces: int, depth: int, precision: Precision = "auto"
) -> Model[list[Floats2d], list[Floats2d]]:
    """Build spacy-elmo.MaxoutWindowEncoder.v1, spaCy's window encoder, faster in prediction on a CPU.

    For the `encode` slot of spacy.Tok2Vec.v2. Parameters, training and saved weights are those of
    spacy.MaxoutWindowEncoder.v2; predictions differ by rounding. Data: List[Floats2d (n_tokens, width)] ->
    List[Floats2d (n_tokens, width)].

    Args:
        width: Width of input and output.
        window_size: Number of tokens on each side that a layer reads.
        maxout_pieces: Pieces of the Maxouts. With 3 the native kernel predicts.
        depth: Number of layers.
        precision: Precision of the products in the native kernel, as in build_bilm_v1.
    """
    return MaxoutWindowEncoder(width, window_size, maxout_pieces, depth, precision)


def build_elmo_tok2vec_v1(
    bilm: Model[list[Doc], list[Floats3d]] | None = None,
    mix_dropout: float = 0.5,
    weight_penalty: float = 0.001,
    layer_norm: bool = False,
    use_static_vectors: bool = False,
    width: int | None = None,
    l2: float | None = None,
    static: bool | None = None,
    fixed_gamma: float | None = None,
    fixed_weights: list[float] | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Build spacy-elmo.ElmoTok2Vec.v1, a private biLM with its mix, for a standalone component.

    `nlp.replace_listeners` puts it in the place of a listener. Shapes: List[Doc] -> List[Floats2d (n_tokens,
    D)], or D + S with static vectors.

    Args:
        bilm: A spacy-elmo.BiLM.v1, frozen by default. None only in the elmo of a ConcatOutput, whose tok2vec
            has one.
        mix_dropout: See build_elmo_listener_v1.
        weight_penalty: See build_elmo_listener_v1.
        layer_norm: See build_elmo_listener_v1.
        use_static_vectors: See build_elmo_listener_v1.
        width: D (+ S); None: inferred at initialization.
        l2: Name of weight_penalty in pipelines of format version 1.
        static: Name of use_static_vectors in pipelines of format version 1.
        fixed_gamma: See build_elmo_listener_v1.
        fixed_weights: See build_elmo_listener_v1.
    """
    penalty = weight_penalty if l2 is None else l2
    mix = ScalarMix(
        mix_dropout=mix_dropout,
        weight_penalty=penalty,
        layer_norm=layer_norm,
        fixed_gamma=fixed_gamma,
        fixed_weights=fixed_weights,
    )
    wanted = use_static_vectors if static is None else static
    return ElmoTok2Vec(bilm, mix, use_static_vectors=wanted, width=width)
