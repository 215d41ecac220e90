"""What a config can name: the biLM, the listener, the joint with a task's embedding, the private biLM.

The functions are registered as entry points (setup.cfg); importing this module registers nothing.
"""

from pathlib import Path

from spacy.tokens import Doc
from thinc.api import Maxout, Model, chain, concatenate, with_array
from thinc.types import Floats2d, Floats3d

from ..kernels.precision import Precision
from .layers.bilm import BiLMLayer
from .layers.elmo_tok2vec import ElmoTok2Vec, share_bilm_layer
from .layers.listener import ElmoListener
from .layers.scalar_mix import ScalarMix
from .layers.with_minibatches import with_minibatches
from .onednn_ops import accelerate
from .replace_listeners import ListenerReplacer


def build_bilm_v1(
    path: str | Path | None = None, precision: Precision = "auto"
) -> Model[list[Doc], list[Floats3d]]:
    """spacy-elmo.BiLM.v1: the frozen biLM of the component "elmo".

    path: a model folder; None: the Chinese model that ships inside the package. Its weights are read when
    first needed. A path that exists but is no model folder raises a ModelFolderError at once; one that does
    not exist raises it at first use, since a saved pipeline brings its weights along.
    precision: of the products: "f32"; "bf16", faster where the processor has it, and "int16", faster on most
        others (vectors differ from those in f32 by a cosine of less than 0.0005); "auto": the fastest here.
    List[Doc] -> List[Floats3d (L, n_tokens, D)].
    """
    model = BiLMLayer(path, precision)
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
) -> Model[list[Doc], list[Floats2d]]:
    """spacy-elmo.ElmoListener.v1: the layers of the component "elmo", mixed for one consumer.

    gamma * sum_j softmax(w)_j h_j, w and gamma learnt with the consumer (Peters et al. 2018, equation 1).
    upstream: name of the component; "*": the nearest one before the consumer. Its width is inferred.
    mix_dropout: dropout on the mixed vectors in training; [training] dropout does not touch it.
    weight_penalty: penalty weight_penalty * ||w||^2 for each token beside the summed loss; draws the mix
        towards the plain average. Components that average their loss over a batch (textcat) want it smaller
        by the tokens of a batch. spaCy's default optimizer decays all weights besides, w and gamma too:
        Adam's L2 = 0.0 turns that off.
    layer_norm: normalise the layers before weighting them (section 3.2), so that each has the same say at
        first, however large its numbers are.
    use_static_vectors: also the static vectors of the tokens (doc._.elmo.static_vectors), beside the mix and
        without its dropout, where the model has any.
    l2, static: the names of weight_penalty and use_static_vectors in pipelines of format version 1.
    List[Doc] -> List[Floats2d (n_tokens, D)], or D + S with static vectors.
    """
    penalty = weight_penalty if l2 is None else l2
    mix = ScalarMix(mix_dropout=mix_dropout, weight_penalty=penalty, layer_norm=layer_norm)
    wanted = use_static_vectors if static is None else static
    return ElmoListener(mix, upstream=upstream, use_static_vectors=wanted)


def build_concat_embed_v1(
    embed: Model[list[Doc], list[Floats2d]], elmo: Model[list[Doc], list[Floats2d]], width: int
) -> Model[list[Doc], list[Floats2d]]:
    """spacy-elmo.ConcatEmbed.v1: Maxout([task embedding; ELMo]), for the `embed` slot of spacy.Tok2Vec.v2.

    embed: the task's own embedding, e.g. spacy.MultiHashEmbed.v2. elmo: a listener or a private biLM.
    width: of the output; that of the encoder behind it. Three pieces and layer normalisation, as spaCy's own
    embeddings have; the balance of the two parts is gamma's and the Maxout's to learn.
    List[Doc] -> List[Floats2d (n_tokens, width)].
    """
    maxout = Maxout(width, nP=3, dropout=0.0, normalize=True)  # 0.0: [training] dropout sets it
    return accelerate(with_minibatches(chain(concatenate(embed, elmo), with_array(maxout)), width))


def build_concat_output_v1(
    tok2vec: Model[list[Doc], list[Floats2d]], elmo: Model[list[Doc], list[Floats2d]], width: int = 256
) -> Model[list[Doc], list[Floats2d]]:
    """spacy-elmo.ConcatOutput.v1: [tok2vec; Maxout(ELMo)], ELMo once more where the task decides.

    Peters et al. 2018, section 5.2: at the output as well as at the input. With few sentences it brings as
    much again as the input alone (docs/training-components.md).
    tok2vec: what the task has without it, e.g. a spacy.Tok2Vec.v2 whose `embed` is a ConcatEmbed; its nO must
    be known. elmo: a listener or a private biLM, with a mix of its own; a private one without [bilm] shares
    that of the tok2vec. width: of the Maxout, which has three pieces and layer normalisation.
    List[Doc] -> List[Floats2d (n_tokens, nO of tok2vec + width)].
    """
    share_bilm_layer(elmo, tok2vec)
    maxout = Maxout(width, nP=3, dropout=0.0, normalize=True)  # 0.0: [training] dropout sets it
    model: Model[list[Doc], list[Floats2d]] = concatenate(
        tok2vec, with_minibatches(chain(elmo, with_array(maxout)), width)
    )
    model.set_dim("nO", tok2vec.get_dim("nO") + width)
    return accelerate(model)


def build_elmo_tok2vec_v1(
    bilm: Model[list[Doc], list[Floats3d]] | None = None,
    mix_dropout: float = 0.5,
    weight_penalty: float = 0.001,
    layer_norm: bool = False,
    use_static_vectors: bool = False,
    width: int | None = None,
    l2: float | None = None,
    static: bool | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """spacy-elmo.ElmoTok2Vec.v1: a private biLM and its mix, for a component that shall stand alone.

    `nlp.replace_listeners` puts it in a listener's place. bilm: a spacy-elmo.BiLM.v1, frozen here too; None
    only in the elmo of a ConcatOutput, whose tok2vec has one. mix_dropout, weight_penalty, layer_norm,
    use_static_vectors: of the listener. width: D (+ S); None: it is inferred at initialization.
    l2, static: the names of weight_penalty and use_static_vectors in pipelines of format version 1.
    List[Doc] -> List[Floats2d (n_tokens, D)], or D + S with static vectors.
    """
    penalty = weight_penalty if l2 is None else l2
    mix = ScalarMix(mix_dropout=mix_dropout, weight_penalty=penalty, layer_norm=layer_norm)
    wanted = use_static_vectors if static is None else static
    return ElmoTok2Vec(bilm, mix, use_static_vectors=wanted, width=width)
