"""Build the sections [components.NAME] that `spacy elmo init-config` writes."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from .settings import DEFAULT_ENCODER, ENCODERS, READER, SPAN_SIZES, Encoder, Listener

Section = dict[str, Any]
Builder = Callable[[Section, "Choices"], Section]


@dataclass(frozen=True)
class Choices:
    """Choices that the components of a pipeline share.

    elmo: whether they learn on ELMo. bundled: whether that is the bundled model. lexicon: whether they also
    use lexicon features, from the file `lexicon_path`. characters: whether tokens are single characters.
    decoder: of entities and tags, "crf" or "spacy". spans_found: whether a span_finder suggests the spans of
    spancat.
    """

    elmo: bool
    bundled: bool
    lexicon: bool
    lexicon_path: str | None
    characters: bool
    decoder: str
    spans_found: bool = False


@dataclass(frozen=True)
class Component:
    """A component that --pipeline accepts. labels_words: whether it labels each word."""

    description: str
    build: Builder
    labels_words: bool = False


def component_section(name: str, choices: Choices) -> Section:
    """Return [components.NAME] with all its subsections."""
    encoder = ENCODERS.get(name, DEFAULT_ENCODER)
    if COMPONENTS[name].labels_words:  # its corpus has words, of which few pairs occur twice
        encoder = replace(encoder, bigrams=None)
    return COMPONENTS[name].build(_tok2vec(encoder, choices), choices)


def factory_of(name: str, choices: Choices) -> str:
    """Return the name of the spaCy factory of a component."""
    return str(component_section(name, choices)["factory"])


def _tok2vec(encoder: Encoder, choices: Choices) -> Section:
    return {
        "@architectures": "spacy.Tok2Vec.v2",
        "embed": _embed(encoder, choices),
        "encode": {"@architectures": "spacy-elmo.BiLSTMEncoder.v1", "width": encoder.width},
    }


def _embed(encoder: Encoder, choices: Choices) -> Section:
    embedding = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": encoder.hash.width,
        "attrs": list(encoder.hash.attrs),
        "rows": list(encoder.hash.rows),
        "include_static_vectors": False,
    }
    parts = {"hash": embedding}
    if encoder.bigrams and choices.characters:
        parts["bigrams"] = {"@architectures": "spacy-elmo.BigramEmbed.v1", **asdict(encoder.bigrams)}
    if choices.elmo:
        parts |= _parts_on_elmo(encoder, choices)
    return embedding if len(parts) == 1 else {"@layers": "concatenate.v1", "*": parts}


def _parts_on_elmo(encoder: Encoder, choices: Choices) -> Section:
    parts = {"elmo": _listener(encoder.listener)}
    if encoder.lexicon and choices.lexicon:
        parts["lexicon"] = {
            "@architectures": "spacy-elmo.LexiconFeatures.v1",
            "path": choices.lexicon_path,
        }
    if encoder.distilled_tagger and choices.bundled:
        parts["tagger"] = {
            "@architectures": "spacy-elmo.DistilledTagger.v1",
            "upstream": "elmo",
            "path": None,
        }
    return parts


def _listener(settings: Listener) -> Section:
    return {"@architectures": "spacy-elmo.ElmoListener.v1", "upstream": "elmo", **asdict(settings)}


def _crf(factory: str) -> Builder:
    def build(tok2vec: Section, choices: Choices) -> Section:
        return {
            "factory": factory,
            "model": {"@architectures": "spacy-elmo.CRFTagger.v1", "tok2vec": tok2vec},
        }

    return build


def _softmax(factory: str, **settings: Any) -> Builder:
    def build(tok2vec: Section, choices: Choices) -> Section:
        model = {"@architectures": "spacy.Tagger.v2", "nO": None, "normalize": False, "tok2vec": tok2vec}
        return {"factory": factory, **settings, "model": model}

    return build


def _transitions(factory: str, state_type: str, **settings: Any) -> Builder:
    def build(tok2vec: Section, choices: Choices) -> Section:
        model = {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": state_type,
            "extra_state_tokens": False,
            "hidden_width": 64,
            "maxout_pieces": 2,
            "use_upper": True,
            "nO": None,
            "tok2vec": tok2vec,
        }
        return {"factory": factory, **settings, "model": model}

    return build


def _by_decoder(crf: Builder, own: Builder) -> Builder:
    return lambda tok2vec, choices: (crf if choices.decoder == "crf" else own)(tok2vec, choices)


def _spancat(factory: str, output: Section, **settings: Any) -> Builder:
    def build(tok2vec: Section, choices: Choices) -> Section:
        smallest, largest = SPAN_SIZES["char" if choices.characters else "word"]
        suggester = {"@misc": "spacy.ngram_range_suggester.v1", "min_size": smallest, "max_size": largest}
        if choices.spans_found:
            suggester = {"@misc": "spacy.preset_spans_suggester.v1", "spans_key": "sc"}
        model = {
            "@architectures": "spacy.SpanCategorizer.v1",
            "tok2vec": tok2vec,
            "reducer": {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 128},
            "scorer": output,
        }
        return {"factory": factory, "spans_key": "sc", **settings, "suggester": suggester, "model": model}

    return build


def _span_finder(tok2vec: Section, choices: Choices) -> Section:
    output = {"@layers": "spacy.LinearLogistic.v1", "nO": 2}
    model = {"@architectures": "spacy.SpanFinder.v1", "tok2vec": tok2vec, "scorer": output}
    return {
        "factory": "span_finder",
        "spans_key": "sc",
        "threshold": 0.5,
        "max_length": 25,
        "min_length": None,
        "model": model,
    }


def _textcat(factory: str, *, exclusive: bool, threshold: float) -> Builder:
    def build(tok2vec: Section, choices: Choices) -> Section:
        bag = {
            "@architectures": "spacy.TextCatBOW.v3",
            "exclusive_classes": exclusive,
            "length": 262144,
            "ngram_size": 2 if choices.characters else 1,
            "no_output_layer": False,
            "nO": None,
        }
        model = {
            "@architectures": "spacy.TextCatEnsemble.v2",
            "nO": None,
            "linear_model": bag,
            "tok2vec": tok2vec,
        }
        return {"factory": factory, "threshold": threshold, "model": model}

    return build


def _linker(tok2vec: Section, choices: Choices) -> Section:
    return {
        "factory": "entity_linker",
        "n_sents": 0,
        "use_gold_ents": True,
        "model": {"@architectures": "spacy.EntityLinker.v2", "nO": None, "tok2vec": tok2vec},
    }


def _analyzer(tok2vec: Section, choices: Choices) -> Section:
    model = {"@architectures": "spacy-elmo.LexicalAnalyzer.v1", "tok2vec": tok2vec}
    return {"factory": "lexical_analysis", "dictionary": [], "model": model}


def _sentencizer(tok2vec: Section, choices: Choices) -> Section:
    return {"factory": "sentencizer", "punct_chars": None, "overwrite": False}


def _reader(tok2vec: Section, choices: Choices) -> Section:
    listener = _listener(Listener(mix_dropout=0.0, weight_penalty=0.0, use_static_vectors=False))
    model = {
        "@architectures": "spacy-elmo.BiDAF.v1",
        "char_dim": READER.char_dim,
        "hidden_size": READER.hidden_size,
        "n_highway": READER.n_highway,
        "modeling_layers": READER.modeling_layers,
        "end_layers": READER.end_layers,
        "tok2vec": listener if choices.elmo else None,
    }
    return {
        "factory": "reader",
        "threshold": 0.5,
        "max_answer_length": 60,
        "window": 640,
        "stride": 320,
        "training_window": READER.training_window,
        "model": model,
    }


COMPONENTS = {
    "tagger": Component(
        "tags of words, by a CRF", _by_decoder(_crf("crf_tagger"), _softmax("tagger")), labels_words=True
    ),
    "crf_tagger": Component("the same, under this name", _crf("crf_tagger"), labels_words=True),
    "morphologizer": Component(
        "coarse tags and features of words", _softmax("morphologizer"), labels_words=True
    ),
    "trainable_lemmatizer": Component(
        "lemmas of words", _softmax("trainable_lemmatizer", min_tree_freq=3, top_k=1), labels_words=True
    ),
    "senter": Component("where sentences begin", _softmax("senter")),
    "sentencizer": Component("sentences by punctuation, untrained", _sentencizer),
    "parser": Component(
        "a dependency tree of words",
        _transitions("parser", "parser", min_action_freq=1, learn_tokens=False),
        labels_words=True,
    ),
    "ner": Component(
        "entities in doc.ents, by a CRF", _by_decoder(_crf("crf_ner"), _transitions("ner", "ner"))
    ),
    "crf_ner": Component("the same, under this name", _crf("crf_ner")),
    "beam_ner": Component("entities by spaCy's beam search", _transitions("beam_ner", "ner", beam_width=16)),
    "entity_linker": Component("entities to ids of a knowledge base", _linker),
    "span_finder": Component("spans without a label, candidates for spancat", _span_finder),
    "spancat": Component(
        "spans that may overlap, in doc.spans",
        _spancat("spancat", {"@layers": "spacy.LinearLogistic.v1"}, threshold=0.5, max_positive=None),
    ),
    "spancat_singlelabel": Component(
        "the same, with one label per span",
        _spancat("spancat_singlelabel", {"@layers": "Softmax.v2"}, allow_overlap=True, negative_weight=1.0),
    ),
    "textcat": Component("one category of a text", _textcat("textcat", exclusive=True, threshold=0.0)),
    "textcat_multilabel": Component(
        "several categories", _textcat("textcat_multilabel", exclusive=False, threshold=0.5)
    ),
    "lexical_analysis": Component("words, tags and entities from raw text", _analyzer),
    "reader": Component("answers to questions", _reader),
}
"""By the name that --pipeline takes, which is the name in the pipeline, too."""
