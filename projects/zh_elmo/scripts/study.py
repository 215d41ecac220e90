"""Train and score the cells of a study: one task, system, number of sentences and seed each.

All cells run in one process, which computes the frozen layers of a sentence once and keeps them on disk.
Every cell has the same number of steps and is scored at its end with averaged weights, so the test data
choose nothing. A cell is one JSON file in metrics/<study>; a cell that has its file is not run again.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import typer
from io_utils import fingerprint_of_bilm, read_json, read_numbers, write_json
from lengths import count_entities, count_tags
from probe import copies, minibatches, training_settings
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Corpus, Example
from spacy.training.initialize import init_nlp
from thinc.api import Config, fix_random_seed

from spacy_elmo.pipeline.layer_weights import collect_layer_weights

SCORES = {"tagger": "tag_acc", "ner": "ents_f"}
NAMES = {"tagger": "tagging accuracy", "ner": "entities F1"}  # in the tables
WITHOUT = "without ELMo"
OTHER_ENCODERS = ("e5 frozen", "e5 fine-tuned")  # systems without a biLM, see study_encoders
SHOWN = 6  # sentences with entities that a cell keeps for the page


class StudyError(Exception):
    """The study cannot run; the message says why."""


@dataclass(frozen=True)
class Cell:
    """One training. `system` is its name in the tables; settings are those of the listener."""

    study: str
    system: str
    task: str
    sentences: int
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    """Model folder of the biLM; None: the bundled one."""
    alone: bool = False
    """True: the encoder reads only ELMo, without spaCy's embeddings."""
    dataset: str | None = None
    """Name of the data in the tables; None: the People's Daily."""

    @property
    def name(self) -> str:
        """Name of the cell's file."""
        start = f"{self.dataset}_" if self.dataset else ""
        name = f"{start}{self.task}_{self.sentences}_{self.system}_{self.seed}"
        return "".join(c if c.isalnum() or c in ".-" else "_" for c in name)

    def describe(self) -> dict[str, Any]:
        """Return what identifies the cell in its file: its fields, and the fingerprint of its biLM."""
        model = None if self.model is None else Path(self.model)
        reads_bilm = self.system not in (WITHOUT, *OTHER_ENCODERS)
        return {**asdict(self), "bilm": fingerprint_of_bilm(model) if reads_bilm else None}


@dataclass(frozen=True)
class Data:
    """Where the data are, and how long to train."""

    train: Path
    test: Path
    steps: int
    test_sentences: int
    cache: Path
    configs: Path = Path("../../configs")

    def describe(self) -> dict[str, int]:
        """Return the settings that all cells of a table share. test_limit: sentences to score, 0: all."""
        return {"steps": self.steps, "test_limit": self.test_sentences}


def task_name(cell: dict[str, Any]) -> str:
    """Return the name of a cell's task in the tables, with that of its data if not the People's Daily."""
    name, dataset = NAMES[cell["task"]], cell.get("dataset")
    return f"{name}, {dataset}" if dataset else name


def make_config(cell: Cell, data: Data) -> Config:
    """Return the config of a cell: that of `configs/` with spaCy's embeddings and the mix, nothing else."""
    config = Config().from_disk(data.configs / f"{cell.task}.cfg", interpolate=False)
    tok2vec = config["components"][cell.task]["model"]["tok2vec"]
    parts = tok2vec["embed"]["*"]
    listener = {**parts["elmo"], "use_static_vectors": False, **cell.settings}
    if cell.system == WITHOUT:
        tok2vec["embed"] = parts["hash"]
        del config["components"]["elmo"]
        config["nlp"]["pipeline"] = [cell.task]
    elif cell.alone:
        tok2vec["embed"] = listener
    else:
        tok2vec["embed"]["*"] = {"hash": parts["hash"], "elmo": listener}
    return complete(config, cell, data)


def complete(config: Config, cell: Cell, data: Data) -> Config:
    """Set the data, the seed, and the biLM with its cache on disk in the config of a cell."""
    if "elmo" in config["components"]:
        config["components"]["elmo"]["model"]["path"] = cell.model
        config["components"]["elmo"] |= {"cache_dir": str(data.cache), "cache_mb": 4096}
    config["paths"] |= {"train": str(data.train), "dev": str(data.test)}
    config["system"]["seed"] = cell.seed
    return config


def sample(nlp: Language, path: Path, size: int) -> list[Example]:
    """Return `size` examples, drawn with a fixed seed; 0: all. A smaller sample is part of a larger one."""
    examples = list(Corpus(path, gold_preproc=True)(nlp))
    if not examples:
        raise StudyError(f"{path} holds no sentences: give another file.")
    if size > len(examples):
        raise StudyError(f"{path} holds {len(examples)} sentences, not {size}: give a smaller number.")
    random.Random(0).shuffle(examples)
    return examples[:size] if size else examples


def cache_layers(nlp: Language, docs: list[Doc]) -> None:
    """Compute the layers of docs that training and scoring will read, so that their time is the task's."""
    if nlp.has_pipe("elmo"):
        nlp.get_pipe("elmo").annotate(docs)


def train(nlp: Language, batches: Iterable[list[Example]], training: dict[str, Any]) -> dict[str, float]:
    """Train a pipeline; return the seconds, those of the processor, and the words per second."""
    start, processor = time.monotonic(), time.process_time()
    words = 0
    for batch in batches:
        nlp.update(copies(nlp, batch), drop=training["dropout"], sgd=training["optimizer"])
        words += sum(len(each.reference) for each in batch)
    seconds, processor = time.monotonic() - start, time.process_time() - processor
    return {"seconds": seconds, "processor_seconds": processor, "words_per_second": words / seconds}


def predict(nlp: Language, examples: list[Example]) -> list[Example]:
    """Return the examples with the annotations that a pipeline predicts for their words."""
    docs = nlp.pipe(each.predicted for each in copies(nlp, examples))
    return [Example(doc, each.reference) for doc, each in zip(docs, examples, strict=True)]


def run_cell(
    cell: Cell,
    data: Data,
    make: Callable[[Cell, Data], Config] = make_config,
    prepare: Callable[[Language, list[Doc]], None] = cache_layers,
) -> dict[str, Any]:
    """Train and score a cell; return what its file holds.

    make: returns the config of a cell. prepare: computes what docs need, once for all cells.
    """
    fix_random_seed(cell.seed)
    nlp = init_nlp(make(cell, data))
    training = training_settings(nlp)
    examples = sample(nlp, data.train, cell.sentences)
    test = sample(nlp, data.test, data.test_sentences)
    batches = list(islice(minibatches(examples, training["batcher"], cell.seed), data.steps))
    needed = iter([*{id(each): each for batch in batches for each in batch}.values(), *test])
    while some := list(islice(needed, 64)):  # copies, which free the layers after each turn
        prepare(nlp, [each.predicted for each in copies(nlp, some)])
    spent = train(nlp, batches, training)
    with nlp.use_params(training["optimizer"].averages):
        scored = predict(nlp, test)
        scores = Scorer(nlp=nlp).score(scored)
        mixes = [{"weights": m.weights.tolist(), "gamma": m.gamma} for m in collect_layer_weights(nlp)]
    count = count_tags if cell.task == "tagger" else count_entities
    return {
        **cell.describe(),
        **spent,
        **data.describe(),
        "score": scores[SCORES[cell.task]],
        "test_sentences": len(test),
        "mixes": mixes,
        "lengths": count(scored),
        "examples": list(islice(_shown(scored), SHOWN)),
    }


def _shown(examples: Iterable[Example]) -> Iterator[dict[str, Any]]:
    for each in examples:
        if each.reference.ents:
            yield {
                "text": each.predicted.text,
                "ents": _spans(each.predicted),
                "gold": _spans(each.reference),
            }


def _spans(doc: Doc) -> list[dict[str, Any]]:
    return [{"start": e.start_char, "end": e.end_char, "label": e.label_} for e in doc.ents]


def check_known(names: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Raise a StudyError if a name is not known. kind: what the names are, such as "system"."""
    known = list(known)
    for name in names:
        if name not in known:
            raise StudyError(f"'{name}' is not a {kind} of the study: choose from {', '.join(known)}.")


def numbers(text: str) -> list[int]:
    """Read a list of whole numbers such as "0 1 2", each once. Raises a StudyError for anything else."""
    try:
        return list(dict.fromkeys(read_numbers(text)))
    except ValueError as error:
        raise StudyError(str(error)) from error


def check_file(path: Path, wanted: dict[str, Any]) -> None:
    """Raise a StudyError if a file has other values than those wanted. The biLM's folder may differ."""
    if not path.exists():
        return
    found = read_json(path)
    for name, value in wanted.items():
        if name != "model" and found.get(name) != value:
            raise StudyError(
                f"{path} was measured with {name} {found.get(name)}, not {value}: delete it to measure again."
            )


def run_all(
    cells: Iterable[Cell], data: Data, metrics: Path, run: Callable[[Cell, Data], dict[str, Any]] = run_cell
) -> None:
    """Run the cells that have no file yet, and print a line for each.

    Raises a StudyError, before the first training, if a file has results of other settings.
    """
    cells = list(cells)
    check_known({cell.task for cell in cells}, SCORES, "task")
    paths = [metrics / cell.study / f"{cell.name}.json" for cell in cells]
    for path, cell in zip(paths, cells, strict=True):
        check_file(path, {**cell.describe(), **data.describe()})
    for number, (path, cell) in enumerate(zip(paths, cells, strict=True), 1):
        if not path.exists():
            write_json(path, run(cell, data))
        found = read_json(path)
        typer.echo(
            f"[{number}/{len(cells)}] {cell.name}: {100 * found['score']:.2f}, {found['seconds']:.0f} s"
        )
