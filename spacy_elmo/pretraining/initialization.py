"""Build the initial biLM of a run: random weights, or those of a parent model."""

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..inference import loading
from ..inference.bilm import BiLM
from ..modeling.config import BiLMConfig
from ..modeling.quantization import NGRAM_TENSOR, STATIC_TENSOR
from ..modeling.serialization import vocab_of
from ..modeling.vocab import CHAR_SPECIALS, SPECIALS, Vocab
from .checkpoint import MODEL, STATE, load_model
from .config import PretrainConfig
from .data.corpus import Corpus
from .data.unit_labels import label_origin
from .init.cooccurrence import ppmi_svd_vectors, static_vectors
from .init.ngram_selection import static_vocab, with_ngrams

log = logging.getLogger("spacy_elmo")

CORPUS_SETTINGS = (
    "units",
    "segmenter",
    "lang",
    "fold_fullwidth",
    "max_sentence_length",
)  # fixed when the corpus is made
ARCHITECTURE_KEYS = [f.name for f in fields(BiLMConfig) if f.name not in (*CORPUS_SETTINGS, "meta")]


def build_model(corpus: Corpus, settings: PretrainConfig) -> BiLM:
    """Build a biLM for the units of a corpus, with the corpus's segmentation settings.

    With [paths] init_from it gets the weights of that model; see `init_from_parent`. Raises a ConfigError if
    the settings contradict the corpus or the parent, or if the memory is too small.
    """
    corpus_settings = {key: corpus.manifest[key] for key in CORPUS_SETTINGS}
    for key in corpus_settings.keys() & settings.model.keys():
        if settings.model[key] != corpus_settings[key]:
            raise ConfigError(
                f"[model] {key} = {settings.model[key]!r}, but the corpus was made with "
                f"{corpus_settings[key]!r}: omit the setting, or make the corpus again."
            )
    parent = parent_of(settings)
    config = config_of(settings, corpus_settings, parent)
    if not config.has_softmax:
        raise ConfigError("A model without a softmax cannot be trained: omit [model] has_softmax.")
    vocab = corpus.vocab(
        min_count=settings.vocab.min_count,
        max_size=settings.vocab.max_size,
        spelled=config.token_encoder != "embedding" and config.char_input == "unicode",
        uses_bytes=config.char_input == "utf8",
    )
    if parent is None or "n_ngrams" in settings.model:
        config, vocab = with_ngrams(corpus, config, vocab, settings.vocab.min_count)
    static: Tensor | None = None
    if config.n_static_vectors and (parent is None or not _reuses_parent_static(parent, config)):
        config, vocab, static = _with_static(corpus, config, vocab)
    if parent is not None:
        config, vocab = _merge_vocab(parent, config, vocab, settings.vocab.max_size)
    bilm = _new_bilm(config, vocab)
    if parent is not None:
        known = init_from_parent(bilm, parent)
        log.info("%s knows %d of %d units", settings.paths.init_from, known, len(bilm.vocab.units))
    if bilm.token_encoder.ngram_embedding is not None and (
        parent is None or not _has_same_ngrams(parent, config)
    ):
        log.info("computing vectors of %d n-grams from their neighbours", config.n_ngrams)
        with torch.no_grad():
            bilm.token_encoder.ngram_embedding.weight[1:] = ppmi_svd_vectors(
                corpus, vocab, config.effective_ngram_dim
            )
    if static is not None:
        bilm.static_vectors = static
    return bilm


def _new_bilm(config: BiLMConfig, vocab: Vocab) -> BiLM:
    """Return a biLM with random weights. Raises a ConfigError if the memory is too small."""
    try:
        return BiLM(config, vocab)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):  # torch has no type for it
            raise
        raise ConfigError(
            f"A model of hidden_size = {config.hidden_size}, projection_dim = {config.projection_dim} and "
            f"{len(vocab):,} units does not fit into memory: choose smaller sizes."
        ) from error


def _with_static(corpus: Corpus, config: BiLMConfig, vocab: Vocab) -> tuple[BiLMConfig, Vocab, Tensor]:
    """Return the configuration and vocabulary with strings that have static vectors, and these vectors."""
    log.info("computing static vectors of %d strings from their neighbours", config.n_static_vectors)
    counted = static_vocab(corpus, config, vocab)
    strings, vectors = static_vectors(corpus, counted, config.static_dim)
    vocab = vocab_of(config, vocab.units, vocab.characters, vocab.ngrams, strings)
    return replace(config, n_static_vectors=len(strings)), vocab, vectors


def parent_of(settings: PretrainConfig) -> BiLM | None:
    """Return the model of [paths] init_from, or None."""
    return None if settings.paths.init_from is None else load_parent(Path(settings.paths.init_from))


def config_of(settings: PretrainConfig, corpus_settings: dict[str, Any], parent: BiLM | None) -> BiLMConfig:
    """Return the configuration of [model], with defaults from the parent.

    Raises a ConfigError if they conflict.

    corpus_settings: how the corpus was segmented.
    """
    inherited = {} if parent is None else {key: getattr(parent.config, key) for key in ARCHITECTURE_KEYS}
    # Weights keep what they have learned from labels, so the description of the child names them, too.
    meta = {} if parent is None else {"meta": label_origin(parent.config.meta, None)}
    config = BiLMConfig.from_dict({**inherited, **settings.model, **corpus_settings, **meta})
    if parent is not None:
        _check_shape(config, parent.config)
    return config


def merge_units(parent: BiLM, vocab: Vocab, max_size: int | None) -> tuple[list[str], list[str]]:
    """Return the units, up to max_size, and the characters of a vocabulary, followed by those of the parent.

    A text of one domain lacks much that the model will read later.
    """
    units = _united(vocab.units, parent.vocab.units)[:max_size]
    return units, _united(vocab.characters, parent.vocab.characters)


def _merge_vocab(
    parent: BiLM, config: BiLMConfig, vocab: Vocab, max_size: int | None
) -> tuple[BiLMConfig, Vocab]:
    """Append the parent's units to the vocabulary, see merge_units. Own n-grams replace the parent's."""
    units, characters = merge_units(parent, vocab, max_size)
    known = set(units)
    ngrams = vocab.ngrams or [ngram for ngram in parent.vocab.ngrams if known.issuperset(ngram)]
    static = vocab.static or (parent.vocab.static if config.n_static_vectors else [])
    config = replace(config, n_ngrams=len(ngrams), n_static_vectors=len(static))
    return config, vocab_of(config, units, characters, ngrams, static)


def _reuses_parent_static(parent: BiLM, config: BiLMConfig) -> bool:
    return (config.n_static_vectors, config.static_width) == (
        parent.config.n_static_vectors,
        parent.config.static_width,
    )


def _has_same_static(parent: BiLM, bilm: BiLM) -> bool:
    same_width = parent.config.static_width == bilm.config.static_width
    return same_width and parent.vocab.static == bilm.vocab.static


def _has_same_ngrams(parent: BiLM, config: BiLMConfig) -> bool:
    return bool(parent.config.n_ngrams) and parent.config.effective_ngram_dim == config.effective_ngram_dim


def _united(ours: list[str], theirs: list[str]) -> list[str]:
    return list(dict.fromkeys([*ours, *theirs]))


def load_parent(path: Path) -> BiLM:
    """Load the biLM of a model folder or a checkpoint, or the bundled model by its name."""
    path = loading.resolve_model_path(path)
    return load_model(path) if (path / STATE).is_file() and (path / MODEL).is_dir() else loading.load(path)


def init_from_parent(bilm: BiLM, parent: BiLM) -> int:
    """Copy the weights of a parent of the same shape, and return how many units of `bilm` the parent knows.

    The rows of units, characters and n-grams are matched by name. Unknown units stay random, and their
    softmax bias is the mean of the parent's. Unknown n-grams start at zero, as do all n-grams if the parent
    has none of their width.
    """
    known = _rows(bilm.vocab.units, parent.vocab.units, len(SPECIALS))
    spelled = _rows(bilm.vocab.characters, parent.vocab.characters, len(CHAR_SPECIALS))
    by_row = dict.fromkeys(("token_encoder.embedding.weight", "softmax_bias", "untied_softmax_weight"), known)
    by_row["token_encoder.char_cnn.embedding.weight"] = spelled
    by_row[NGRAM_TENSOR] = _rows(bilm.vocab.ngrams, parent.vocab.ngrams, 1)
    ours, theirs = bilm.state_dict(), parent.state_dict()
    with torch.no_grad():
        bilm.softmax_bias.fill_(float(parent.softmax_bias.mean()))
        for name, tensor in ours.items():
            if name == STATIC_TENSOR and not _has_same_static(parent, bilm):
                continue  # counted in the new corpus
            if name == NGRAM_TENSOR:
                tensor.zero_()  # new n-gram embeddings start at zero
                if not _has_same_ngrams(parent, bilm.config):
                    continue
            to, source = by_row.get(name, (..., ...))
            tensor[to] = theirs[name][source]
    return len(known[0]) - len(SPECIALS)


def _rows(ours: list[str], theirs: list[str], specials: int) -> tuple[Tensor, Tensor]:
    """Return the row pairs of names that are in both lists, special tokens first."""
    row_of = {name: i for i, name in enumerate(theirs, specials)}
    pairs = [(i, i) for i in range(specials)]
    pairs += [(i, row_of[name]) for i, name in enumerate(ours, specials) if name in row_of]
    to, source = torch.tensor(pairs).unbind(1)
    return to, source


def _check_shape(config: BiLMConfig, parent: BiLMConfig) -> None:
    found_by_name = {"n_static_vectors", "static_dim", "simplify"}
    found_by_name |= {"n_ngrams", "max_ngram_length", "ngram_dim"} if config.n_ngrams else set()
    for key in ("units", *(key for key in ARCHITECTURE_KEYS if key not in found_by_name)):
        if getattr(config, key) != getattr(parent, key):
            raise ConfigError(
                f"init_from has {key} = {getattr(parent, key)!r}, but this run has {getattr(config, key)!r}: "
                "make them equal, or omit the [model] section to take all settings from init_from."
            )
