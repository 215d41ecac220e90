"""The pieces of work that are killed: corpus, pretraining, pipelines, vectors, converted models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import spacy
from formats.helpers import OPTIONS, bilm_tf_tensors, write_bilm_tf
from pipeline.helpers import make_bilm
from pretraining.helpers import cyclic_text, make_settings

from spacy_elmo.cli.commands import app
from spacy_elmo.inference import loading
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.data.corpus_builder import SegmentationSettings, build_corpus
from spacy_elmo.pretraining.trainer import pretrain


class Work(NamedTuple):
    """Work that is disturbed. inputs, output: folders.

    prepare: makes what is read, and, where something older is replaced, that. run: does the work; called
    again, it continues. loads: checks what is at the place at any moment. size: processes that work together.
    """

    prepare: Callable[[Path, Path], None]
    run: Callable[[Path, Path], None]
    loads: Callable[[Path], None]
    size: int = 1


def works() -> dict[str, Work]:
    """All work, by name."""
    return {
        "corpus": Work(_texts, _corpus, _nothing),
        "pretraining": Work(_training_inputs, _pretrain, _training_loads),
        "pretraining of two": Work(_training_inputs, _pretrain, _training_loads, size=2),
        "to_disk": Work(_pipelines, _to_disk, _pipeline_loads),
        "embed": Work(_embed_inputs, _embed, _nothing),
        "convert": Work(_convert_inputs, _convert, _model_loads),
    }


def _nothing(output: Path) -> None:
    """No output is there before the end."""


def _texts(inputs: Path, output: Path) -> None:
    for i in range(6):
        (inputs / f"{i}.txt").write_text(cyclic_text(4000, seed=i), encoding="utf8")


def _corpus(inputs: Path, output: Path) -> None:
    build_corpus(sorted(inputs.iterdir()), output / "corpus", SegmentationSettings(), block=2**13, dedup=True)


def _training_inputs(inputs: Path, output: Path) -> None:
    make_settings(inputs)


def _pretrain(inputs: Path, output: Path) -> None:
    pretrain(make_settings(inputs, max_steps=20, checkpoint_every=2, eval_every=5), output / "run")


def _training_loads(output: Path) -> None:
    for checkpoint in find_checkpoints(output / "run" / "checkpoints"):
        loading.load(checkpoint / "model")
    if (output / "run" / "model").exists():
        loading.load(output / "run" / "model")


def _pipelines(inputs: Path, output: Path) -> None:
    for name, seed in (("old", 1), ("new", 2)):
        make_bilm("char", projection_dim=64, hidden_size=256, seed=seed).save(inputs / name)
    _nlp(inputs / "old").to_disk(output / "nlp")


def _nlp(model: Path) -> spacy.language.Language:
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": str(model)}})
    return nlp


def _to_disk(inputs: Path, output: Path) -> None:
    _nlp(inputs / "new").to_disk(output / "nlp")


def _pipeline_loads(output: Path) -> None:
    """The older model or the new one; spaCy writes what lies next to it, a file at a time."""
    spacy.blank("zh").add_pipe("elmo").from_disk(output / "nlp" / "elmo", exclude=["vocab"])


def _embed_inputs(inputs: Path, output: Path) -> None:
    make_bilm("char").save(inputs / "model")
    (inputs / "text.txt").write_text(cyclic_text(3000).replace("", " "), encoding="utf8")


def _embed(inputs: Path, output: Path) -> None:
    arguments = [inputs / "model", inputs / "text.txt", output / "v.hdf5"]
    app(["embed", *map(str, arguments)], standalone_mode=False)


def _convert_inputs(inputs: Path, output: Path) -> None:
    options = json.loads(json.dumps(OPTIONS))
    options["lstm"] |= {"dim": 512, "projection_dim": 128}
    write_bilm_tf(inputs, options, bilm_tf_tensors(options, scale=0.1))
    make_bilm("char").save(output / "model")  # is replaced


def _convert(inputs: Path, output: Path) -> None:
    sources = [str(inputs / name) for name in ("options.json", "model.hdf5")]
    app(["convert", *sources, str(output / "model"), "--from", "allennlp"], standalone_mode=False)


def _model_loads(output: Path) -> None:
    loading.load(output / "model")
