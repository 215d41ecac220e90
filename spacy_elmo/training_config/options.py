"""The options of `spacy elmo init-config`, with their errors and warnings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from spacy.util import get_lang_class

from ..errors import ElmoError
from .components import COMPONENTS

SEGMENTERS = ("char", "jieba", "pkuseg")
DECODERS = ("crf", "spacy")
BUNDLED_LANG = "zh"
SENTENCES = ["sentencizer", "senter", "parser"]
ENTITIES = ["ner", "crf_ner", "beam_ner", "lexical_analysis"]
SPAN_CATEGORIZERS = ["spancat", "spancat_singlelabel"]
# lexical_analysis makes new tokens, and keeps annotations of texts and spans alone.
_OF_TOKENS = [
    name
    for name in COMPONENTS
    if name not in ("lexical_analysis", "span_finder", "textcat", "textcat_multilabel", *SPAN_CATEGORIZERS)
]
NEEDS = [
    ("tokens", ["lexical_analysis"], _OF_TOKENS),
    ("spans", ["span_finder"], SPAN_CATEGORIZERS),
    ("sentences", SENTENCES, ["entity_linker"]),
    ("entities", ENTITIES, ["entity_linker"]),
]
"""Annotations, the components that set them, and those that need one of these before them."""


@dataclass(frozen=True)
class Options:
    """Options of `spacy elmo init-config`; `check` raises an error if they contradict each other.

    pipeline: names of COMPONENTS. segmenter: of Chinese, "char", "jieba", "pkuseg" or "pkuseg:MODEL"; None:
    "jieba" if a component labels words, else "char". model: a model folder; None: the bundled model. lexicon:
    a file of `spacy elmo lexicon`; None: the strings of the bundled model. decoder: of entities and tags,
    "crf" or "spacy". train, dev: paths of .spacy files.
    """

    lang: str
    pipeline: Sequence[str]
    segmenter: str | None = None
    elmo: bool = True
    model: str | None = None
    lexicon: str | None = None
    decoder: str = "crf"
    gold_preproc: bool = False
    gpu: bool = False
    train: str | None = None
    dev: str | None = None

    @property
    def resolved_segmenter(self) -> str:
        """The segmenter, where it is left out, too; "" in other languages than Chinese."""
        if self.lang != "zh":
            return ""
        return self.segmenter or ("jieba" if self.labels_words else "char")

    @property
    def labels_words(self) -> list[str]:
        """The components that label words, and not by what lexical_analysis finds before them."""
        if "lexical_analysis" in self.pipeline:
            return []
        return [name for name in self.pipeline if COMPONENTS[name].labels_words]

    @property
    def trained(self) -> list[str]:
        """The components that learn."""
        return [name for name in self.pipeline if name != "sentencizer"]

    @property
    def annotating(self) -> list[str]:
        """The components that others need in training, too: spans of categorizers, the linker's sentences."""
        needed = ["span_finder"] * any(name in self.pipeline for name in SPAN_CATEGORIZERS)
        needed += SENTENCES * ("entity_linker" in self.pipeline)
        return [name for name in self.pipeline if name in needed]

    @property
    def reads(self) -> bool:
        """True for the configuration of a reader, which has other data and training."""
        return "reader" in self.pipeline


def parse_pipeline(names: str) -> list[str]:
    """Return the names in "tagger, ner".

    "elmo" is left out, since it is always there; an entity_linker gets a sentencizer where nothing else sets
    sentences, after a lexical_analysis. Raises an ElmoError for other names.
    """
    pipeline = [name.strip() for name in names.split(",")]
    pipeline = [name for name in pipeline if name and name != "elmo"]
    known = ", ".join(COMPONENTS)
    if not pipeline:
        raise ElmoError(f"--pipeline names no component: choose from {known}.")
    for name in pipeline:
        if name not in COMPONENTS:
            near = get_close_matches(name, COMPONENTS, n=1)
            hint = f" Is it {near[0]}?" if near else ""
            raise ElmoError(f'--pipeline: there is no "{name}"; choose from {known}.{hint}')
        if pipeline.count(name) > 1:
            raise ElmoError(f'--pipeline names "{name}" twice: name it once.')
    if "entity_linker" in pipeline and not {*SENTENCES} & {*pipeline}:
        at = pipeline.index("lexical_analysis") + 1 if "lexical_analysis" in pipeline else 0
        pipeline.insert(at, "sentencizer")
    return pipeline


def check(options: Options) -> None:
    """Raise an ElmoError where there is no configuration of these options."""
    try:
        get_lang_class(options.lang)
    except ImportError as error:
        raise ElmoError(
            f"--lang {options.lang} is not a language of spaCy: give a code such as zh."
        ) from error
    if options.segmenter is not None:
        kind, colon, model = options.segmenter.partition(":")
        if options.lang != "zh":
            raise ElmoError(f"--segmenter is for Chinese only: leave it out with --lang {options.lang}.")
        if kind not in SEGMENTERS or (colon and (kind != "pkuseg" or not model)):
            raise ElmoError(
                f"--segmenter {options.segmenter} is not known: give char, jieba, pkuseg or pkuseg:MODEL."
            )
    if options.decoder not in DECODERS:
        raise ElmoError(f"--decoder {options.decoder} is not known: choose from {', '.join(DECODERS)}.")
    if options.reads and len(options.pipeline) > 1:
        raise ElmoError(
            "reader is trained alone, since its data are questions: write a configuration for it."
        )
    if not options.trained:
        raise ElmoError("--pipeline names no component that learns: add one, such as ner.")
    _check_order(options.pipeline)
    for option in ("model", "lexicon", "train", "dev"):
        check_path(f"--{option}", getattr(options, option))
    if options.elmo and options.model is None:
        check_bundled(options.lang)
    for name, value in (("--model", options.model), ("--lexicon", options.lexicon)):
        if value is not None and not options.elmo:
            raise ElmoError(f"{name} and --no-elmo exclude one another: leave one of them out.")


def _check_order(pipeline: Sequence[str]) -> None:
    """Raise an ElmoError where a component comes before all those whose annotations it needs."""
    for annotations, setting, needing in NEEDS:
        names = [name for name in pipeline if name in setting]
        if not names:
            continue
        first = min(map(pipeline.index, names))
        early = next((name for name in pipeline[:first] if name in needing), None)
        if early is not None:
            needed = " or ".join(names)
            raise ElmoError(
                f"--pipeline: {early} needs the {annotations} of {needed}: put {needed} before {early}."
            )


def check_path(option: str, path: str | None) -> None:
    """Raise an ElmoError where spaCy would not read a path as it is written."""
    if path is not None and "$" in path:  # "$$" stands for it in some readings of a file, not in all
        raise ElmoError(f"{option} {path}: a configuration cannot hold a $ in a path: give another path.")


def check_bundled(lang: str) -> None:
    """Raise an ElmoError where the bundled model does not know a language."""
    if lang not in (BUNDLED_LANG, "xx", "mul"):
        raise ElmoError(
            f'The bundled model was trained on Chinese: give the folder of a model for "{lang}" as --model '
            "(docs/converting.md, docs/pretraining.md)."
        )


def warnings_of(options: Options) -> Iterator[str]:
    """Yield warnings about consequences that the user may not expect."""
    words = options.labels_words
    if options.resolved_segmenter == "char" and words and not options.gold_preproc:
        yield (
            f"{' and '.join(words)} would label single characters: give --segmenter jieba or pkuseg for "
            "words, or put lexical_analysis first."
        )
    if options.resolved_segmenter == "pkuseg":
        yield "pkuseg needs a model: give --segmenter pkuseg:MODEL, or set pkuseg_model in the file."
