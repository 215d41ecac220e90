"""Build the configuration that `spacy elmo init-config` writes: options to sections."""

from collections.abc import Sequence
from typing import Any

from spacy.language import Language
from spacy.util import combine_score_weights, get_lang_class

from .comments import COMMENTS, READER_COMMENTS
from .components import Choices, component_section, factory_of
from .options import Options
from .settings import DEFAULT_TRAINING, READER, TRAININGS, Training
from .writer import write_config

Section = dict[str, Any]


def config_text(options: Options, header: Sequence[str]) -> str:
    """Return the text of a complete configuration for `spacy train`. header: its first comment."""
    comments = {**COMMENTS, **READER_COMMENTS} if options.reads else COMMENTS
    return write_config(build_config(options), header, comments)


def build_config(options: Options) -> Section:
    """Return a complete configuration for `spacy train`."""
    choices = Choices(
        elmo=options.elmo,
        bundled=options.elmo and options.model is None and options.lang == "zh",
        lexicon=options.lexicon is not None or options.lang == "zh",
        lexicon_path=options.lexicon,
        characters=options.resolved_segmenter == "char",
        decoder=options.decoder,
        spans_found="span_finder" in options.pipeline,
    )
    components: Section = {"elmo": _elmo(options)} if options.elmo else {}
    components |= {name: component_section(name, choices) for name in options.pipeline}
    return {
        "paths": _paths(options),
        "system": {"seed": 0, "gpu_allocator": "pytorch" if options.gpu else None},
        "nlp": _nlp(options),
        "components": components,
        "corpora": {"train": _corpus(options, "train"), "dev": _corpus(options, "dev")},
        "training": _training(options, [factory_of(name, choices) for name in options.trained]),
        "initialize": _initialize(options),
    }


def _paths(options: Options) -> Section:
    paths: Section = {"train": options.train, "dev": options.dev}
    if options.reads and options.elmo:
        paths["cache"] = None
    if "entity_linker" in options.pipeline:
        paths["kb"] = None
    return paths


def _nlp(options: Options) -> Section:
    tokenizer = dict(get_lang_class(options.lang).default_config["nlp"]["tokenizer"])
    if options.lang == "zh":
        tokenizer["segmenter"] = options.resolved_segmenter.partition(":")[0]
    return {
        "lang": options.lang,
        "pipeline": [*["elmo"] * options.elmo, *options.pipeline],
        "batch_size": (READER if options.reads else _training_settings(options)).nlp_batch_size,
        "disabled": [],
        "before_creation": None,
        "after_creation": None,
        "after_pipeline_creation": None,
        "tokenizer": tokenizer,
    }


def _elmo(options: Options) -> Section:
    section: Section = {"factory": "elmo"}
    if options.reads:
        section |= {"set_tensor": False, "cache_mb": READER.cache_mb, "cache_dir": "${paths.cache}"}
    return {**section, "model": {"@architectures": "spacy-elmo.BiLM.v1", "path": options.model}}


def _corpus(options: Options, part: str) -> Section:
    path = f"${{paths.{part}}}"
    if not options.reads:
        return {"@readers": "spacy.Corpus.v1", "path": path, "gold_preproc": options.gold_preproc}
    training = part == "train"
    return {
        "@readers": "spacy-elmo.SquadCorpus.v1",
        "path": path,
        "limit": 0,
        "negatives": READER.negatives if training else 0.0,
        "seed": "${system.seed}" if training else 0,
    }


def _training_settings(options: Options) -> Training:
    named = [TRAININGS[name] for name in options.pipeline if name in TRAININGS]
    return named[0] if named else DEFAULT_TRAINING


def _training(options: Options, factories: Sequence[str]) -> Section:
    settings = _training_settings(options)
    nlp = Language()  # reads the entry points of factories
    weights = [nlp.get_factory_meta(name).default_score_weights for name in factories]
    return {
        "train_corpus": "corpora.train",
        "dev_corpus": "corpora.dev",
        "seed": "${system.seed}",
        "gpu_allocator": "${system.gpu_allocator}",
        "accumulate_gradient": 1,
        "dropout": READER.dropout if options.reads else settings.dropout,
        "max_epochs": 0,
        "max_steps": READER.max_steps if options.reads else settings.max_steps,
        "eval_frequency": READER.eval_frequency if options.reads else settings.eval_frequency,
        "patience": 0 if options.reads else settings.patience,
        "frozen_components": [],
        "annotating_components": options.annotating,
        "before_to_disk": None,
        "before_update": None,
        "batcher": _reader_batcher() if options.reads else _batcher(settings),
        "optimizer": _reader_optimizer() if options.reads else _optimizer(settings),
        "logger": {"@loggers": "spacy.ConsoleLogger.v1", "progress_bar": False},
        "score_weights": combine_score_weights([each for each in weights if each]),
    }


def _batcher(settings: Training) -> Section:
    return {
        "@batchers": "spacy.batch_by_words.v1",
        "size": settings.batch_words,
        "tolerance": 0.2,
        "discard_oversize": False,
    }


def _optimizer(settings: Training) -> Section:
    return {
        "@optimizers": "Adam.v1",
        "learn_rate": settings.learn_rate,
        "L2": 0.0,
        "L2_is_weight_decay": True,
        "grad_clip": settings.grad_clip,
        "use_averages": True,
    }


def _reader_batcher() -> Section:
    return {
        "@batchers": "spacy.batch_by_padded.v1",
        "size": READER.batch_characters,
        "buffer": READER.buffer,
        "discard_oversize": False,
        "get_length": None,
    }


def _reader_optimizer() -> Section:
    return {
        "@optimizers": "Adam.v1",
        "beta1": 0.9,
        "beta2": READER.beta2,
        "L2": 0.0,
        "L2_is_weight_decay": True,
        "grad_clip": 0.0,
        "use_averages": False,
        "learn_rate": {
            "@schedules": "warmup_linear.v1",
            "warmup_steps": READER.warmup_steps,
            "total_steps": "${training.max_steps}",
            "initial_rate": READER.learn_rate,
        },
    }


def _initialize(options: Options) -> Section:
    names = ("vectors", "init_tok2vec", "vocab_data", "lookups", "before_init", "after_init")
    section: Section = {**dict.fromkeys(names), "components": {}}
    if "entity_linker" in options.pipeline:
        loader = {"@misc": "spacy.KBFromFile.v1", "kb_path": "${paths.kb}"}
        section["components"] = {"entity_linker": {"kb_loader": loader}}
    if options.lang == "zh":
        model = options.resolved_segmenter.partition(":")[2] or None
        section["tokenizer"] = {"pkuseg_model": model, "pkuseg_user_dict": "default"}
    return section
