"""The biLM that a run begins with: random weights, or those of a model that is trained on."""

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bilm import store
from ..bilm.config import BiLMConfig, ConfigError
from ..bilm.folder import vocab_of
from ..bilm.model import BiLM
from ..bilm.vocab import CHAR_SPECIALS, SPECIALS, Vocab
from .checkpoint import MODEL, STATE, load_model
from .neighbours import neighbour_vectors, static_vectors
from .ngrams import static_vocab, with_ngrams
from .settings import Settings
from .shards import Corpus

log = logging.getLogger("spacy_elmo")

MADE = ("units", "segmenter", "lang", "normalize", "max_sentence")  # decided when the corpus was made
NGRAMS, STATIC = "encoder.ngrams.weight", "static_vectors"
SHAPE = [f.name for f in fields(BiLMConfig) if f.name not in (*MADE, "meta")]


def build_model(corpus: Corpus, settings: Settings) -> BiLM:
    """A biLM for the units of a corpus; how those were cut comes from the corpus.

    With [paths] init_from its weights are those of that model; see `adopt`.
    """
    made = {key: corpus.manifest[key] for key in MADE}
    for key in made.keys() & settings.model.keys():
        if settings.model[key] != made[key]:
            raise ConfigError(
                f"[model] {key} = {settings.model[key]!r}, but the corpus was made with {made[key]!r}: "
                "leave it out, or make the corpus again."
            )
    parent = parent_of(settings)
    config = config_of(settings, made, parent)
    if not config.softmax:
        raise ConfigError("A model without a softmax cannot be trained: leave [model] softmax out.")
    vocab = corpus.vocab(
        min_count=settings.vocab.min_count,
        max_size=settings.vocab.max_size,
        spelled=config.encoder != "table" and config.spelling == "character",
        in_bytes=config.spelling == "byte",
    )
    if parent is None or "ngrams" in settings.model:
        config, vocab = with_ngrams(corpus, config, vocab, settings.vocab.min_count)
    static: Tensor | None = None
    if config.static_rows and (parent is None or not _asks_for_those_of(parent, config)):
        config, vocab, static = _with_static(corpus, config, vocab)
    if parent is not None:
        config, vocab = _with_those_of(parent, config, vocab, settings.vocab.max_size)
    bilm = BiLM(config, vocab)
    if parent is not None:
        known = adopt(bilm, parent)
        log.info("%s knows %d of %d units", settings.paths.init_from, known, len(bilm.vocab.units))
    if bilm.encoder.ngrams is not None and (parent is None or not _has_such_ngrams(parent, config)):
        log.info("vectors of %d n-grams from their neighbours", config.ngrams)
        with torch.no_grad():
            bilm.encoder.ngrams.weight[1:] = neighbour_vectors(corpus, vocab, config.ngram_dim)
    if static is not None:
        bilm.static_vectors = static
    return bilm


def _with_static(corpus: Corpus, config: BiLMConfig, vocab: Vocab) -> tuple[BiLMConfig, Vocab, Tensor]:
    """A vocabulary with the strings that have static vectors, as many as the corpus has, and the vectors."""
    log.info("static vectors of %d strings from their neighbours", config.static_rows)
    counted = static_vocab(corpus, config, vocab)
    strings, vectors = static_vectors(corpus, counted, config.static_width)
    vocab = vocab_of(config, vocab.units, vocab.characters, vocab.ngrams, strings)
    return replace(config, static_rows=len(strings)), vocab, vectors


def parent_of(settings: Settings) -> BiLM | None:
    """The model of [paths] init_from."""
    return None if settings.paths.init_from is None else open_parent(Path(settings.paths.init_from))


def config_of(settings: Settings, made: dict[str, Any], parent: BiLM | None) -> BiLMConfig:
    """The sizes of [model], or those of the parent where [model] has none. made: how the corpus was cut.

    Raises a ConfigError where they differ from the parent's.
    """
    inherited = {} if parent is None else {key: getattr(parent.config, key) for key in SHAPE}
    config = BiLMConfig.from_dict({**inherited, **settings.model, **made})
    if parent is not None:
        _check_shape(config, parent.config)
    return config


def _with_those_of(
    parent: BiLM, config: BiLMConfig, vocab: Vocab, max_size: int | None
) -> tuple[BiLMConfig, Vocab]:
    """The vocabulary of a text and behind it what else the parent knows, as far as max_size has room: a text
    of one domain lacks much that the model will meet. N-grams of its own take the place of the parent's."""
    units = _united(vocab.units, parent.vocab.units)[:max_size]
    characters = _united(vocab.characters, parent.vocab.characters)
    known = set(units)
    ngrams = vocab.ngrams or [ngram for ngram in parent.vocab.ngrams if known.issuperset(ngram)]
    static = vocab.static or (parent.vocab.static if config.static_rows else [])
    config = replace(config, ngrams=len(ngrams), static_rows=len(static))
    return config, vocab_of(config, units, characters, ngrams, static)


def _asks_for_those_of(parent: BiLM, config: BiLMConfig) -> bool:
    return (config.static_rows, config.static_dim) == (parent.config.static_rows, parent.config.static_dim)


def _has_such_static(parent: BiLM, bilm: BiLM) -> bool:
    same_width = parent.config.static_dim == bilm.config.static_dim
    return same_width and parent.vocab.static == bilm.vocab.static


def _has_such_ngrams(parent: BiLM, config: BiLMConfig) -> bool:
    return bool(parent.config.ngrams) and parent.config.ngram_dim == config.ngram_dim


def _united(ours: list[str], theirs: list[str]) -> list[str]:
    return list(dict.fromkeys([*ours, *theirs]))


def open_parent(path: Path) -> BiLM:
    """The biLM of a model folder or of a checkpoint, or the embedded one by its name."""
    path = store.place_of(path)
    return load_model(path) if (path / STATE).is_file() and (path / MODEL).is_dir() else store.load(path)


def adopt(bilm: BiLM, parent: BiLM) -> int:
    """Give `bilm` the weights of a parent of the same shape, and return how many of its units that knows.

    The rows of units (of characters, of n-grams) are found by name, wherever they stand in the parent. Those
    it does not know stay random, their softmax bias is the mean of the parent's; unknown n-grams
    begin at zero, and so do all where the parent has none of their width.
    """
    known = _rows(bilm.vocab.units, parent.vocab.units, len(SPECIALS))
    spelled = _rows(bilm.vocab.characters, parent.vocab.characters, len(CHAR_SPECIALS))
    by_row = dict.fromkeys(("encoder.table.weight", "softmax_bias", "untied_softmax_weight"), known)
    by_row["encoder.char_cnn.table.weight"] = spelled
    by_row[NGRAMS] = _rows(bilm.vocab.ngrams, parent.vocab.ngrams, 1)
    ours, theirs = bilm.state_dict(), parent.state_dict()
    with torch.no_grad():
        bilm.softmax_bias.fill_(float(parent.softmax_bias.mean()))
        for name, tensor in ours.items():
            if name == STATIC and not _has_such_static(parent, bilm):
                continue  # counted anew
            if name == NGRAMS:
                tensor.zero_()  # what they add to their characters is nothing as yet
                if not _has_such_ngrams(parent, bilm.config):
                    continue
            to, source = by_row.get(name, (..., ...))
            tensor[to] = theirs[name][source]
    return len(known[0]) - len(SPECIALS)


def _rows(ours: list[str], theirs: list[str], specials: int) -> tuple[Tensor, Tensor]:
    """Rows of what both have in the one and in the other, the specials first."""
    place = {name: i for i, name in enumerate(theirs, specials)}
    pairs = [(i, i) for i in range(specials)]
    pairs += [(i, place[name]) for i, name in enumerate(ours, specials) if name in place]
    to, source = torch.tensor(pairs).unbind(1)
    return to, source


def _check_shape(config: BiLMConfig, parent: BiLMConfig) -> None:
    found_by_name = {"static_rows", "static_width"}
    found_by_name |= {"ngrams", "longest_ngram", "ngram_width"} if config.ngrams else set()
    for key in ("units", *(key for key in SHAPE if key not in found_by_name)):
        if getattr(config, key) != getattr(parent, key):
            raise ConfigError(
                f"init_from has {key} = {getattr(parent, key)!r}, this run {getattr(config, key)!r}: "
                "they must be equal; a [model] section that is left out takes all from init_from."
            )
