"""Text that a tiny model can learn, and runs of a second."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from spacy_elmo.pretraining.config import Paths, PretrainConfig, TrainingConfig, VocabConfig
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import write_corpus
from spacy_elmo.pretraining.data.segmentation import sentences
from spacy_elmo.pretraining.data.text_files import read_lines
from spacy_elmo.pretraining.data.unit_labels import write_unit_labels
from spacy_elmo.text import split_characters

CYCLE = "甲乙丙丁戊己庚辛壬癸"
CORPUS_SETTINGS = {
    "units": "char",
    "segmenter": "char",
    "lang": "zh",
    "fold_fullwidth": True,
    "max_sentence_length": 20,
}
WORD_CORPUS_SETTINGS = {**CORPUS_SETTINGS, "units": "word", "lang": "xx"}
MODEL = {"projection_dim": 8, "hidden_size": 16}
LABELS = ["even", "odd"]


def cyclic_text(lines: int, seed: int = 0) -> str:
    """Each character tells the next: 丙丁戊己。 Its perplexity can fall to little more than 1."""
    rng = random.Random(seed)
    out = []
    for _ in range(lines):
        start, n = rng.randrange(10), rng.randrange(3, 9)
        out.append("".join(CYCLE[(start + i) % 10] for i in range(n)) + "。\n")
    return "".join(out)


def make_corpus(path: Path, text: str, **settings: Any) -> Path:
    """A corpus folder of characters from a text."""
    made = {**CORPUS_SETTINGS, **settings}
    lines = text.splitlines()
    cut = str.split if made["units"] == "word" else lambda line: split_characters(line)[0]
    write_corpus(
        path, (s for line in lines for s in sentences(line, cut, made["max_sentence_length"])), settings=made
    )
    return path


def make_settings(folder: Path, *, labels: str | None = None, **training: Any) -> PretrainConfig:
    """A run of a few dozen steps over folder/corpus and folder/heldout.txt, both made when missing."""
    if not (folder / "corpus").exists():
        make_corpus(folder / "corpus", cyclic_text(300))
        (folder / "heldout.txt").write_text(cyclic_text(30, seed=1), encoding="utf8")
    defaults = {
        "max_steps": 6,
        "batch_tokens": 128,
        "learning_rate": 0.03,
        "warmup_steps": 2,
        "eval_every": 4,
        "checkpoint_every": 2,
        "precision": "f32",
        "save_dtype": "float32",
        "dropout": 0.2,
    }
    return PretrainConfig(
        paths=Paths(train=str(folder / "corpus"), dev=str(folder / "heldout.txt"), labels=labels),
        vocab=VocabConfig(min_count=1),
        training=TrainingConfig(**{**defaults, **training}),
        model=dict(MODEL),
    )


def parity(corpus: Corpus) -> list[list[int]]:
    """Label each character of the cycle by whether its place there is odd; the full stop has no label."""
    units = [unit for unit, _ in corpus.counts()]
    label = [CYCLE.index(unit) % 2 if unit in CYCLE else -1 for unit in units]
    return [[label[rank] for rank in corpus[i]] for i in range(len(corpus))]


def labelled(settings: PretrainConfig, folder: Path) -> PretrainConfig:
    """Return the settings with labels of the corpus, which are made when missing."""
    if not folder.exists():
        corpus = Corpus(settings.paths.train)
        write_unit_labels(folder, corpus, LABELS, parity(corpus), source="a test")
    return replace(settings, paths=replace(settings.paths, labels=str(folder)))


def read_units(path: Path) -> list[list[str]]:
    """The sentences of a text in characters."""
    return [s for line in read_lines(path) for s in sentences(line, lambda x: split_characters(x)[0], 20)]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model" / "weights.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def figures(output: Path) -> list[dict]:
    """The log without what depends on the clock."""
    log = json.loads((output / "run.json").read_bytes())["log"]
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in log]
