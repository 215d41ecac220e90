"""Functions that read strangers' files: for each kind, whole originals and a function that reads them.

A reader raises an ElmoError, or uses what it has read: the promise is that nothing else happens.
"""

import gzip
import io
import json
import lzma
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from formats.helpers import (
    ARCHITECTURE,
    OPTIONS,
    WORDS,
    bilm_tf_tensors,
    options,
    write_bilm_tf,
    write_many_langs,
)
from modeling.helpers import ENCODERS, make_bilm
from pretraining.helpers import cyclic_text, make_corpus, make_settings

from spacy_elmo.formats import load_bilm_tf, load_elmoformanylangs, load_simple_elmo
from spacy_elmo.inference import loading
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.serialization import write
from spacy_elmo.pipeline.layers.activation_cache import sentence_key
from spacy_elmo.pipeline.layers.disk_store import DiskStore
from spacy_elmo.pretraining.config import PretrainConfig
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.corpus_builder import SegmentationSettings, build_corpus
from spacy_elmo.pretraining.data.dataloader import BatchLoader, LoaderState
from spacy_elmo.pretraining.data.unit_labels import UnitLabels, write_unit_labels
from spacy_elmo.pretraining.trainer import pretrain
from spacy_elmo.tasks.reading.corpus import read_squad

from .mutations import Files, mend_checkpoint, mend_corpus, mend_labels, mend_model

V1 = Path(__file__).parents[1] / "data" / "v1"
SENTENCES = [["我", "爱", "北京"], ["x"], ["的" * 300, "\0", "😀", "\ud800"]]


class Target(NamedTuple):
    """A kind of file.

    files: an original. read: of a folder with these files. mend: writes checksums that fit, after damage.
    """

    files: Files
    read: Callable[[Path], None]
    mend: Callable[[Files], None] | None = None


def files_of(folder: Path) -> Files:
    """All files below a folder, by their relative names."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def targets(folder: Path) -> dict[str, Target]:
    """All kinds. folder: an empty one, for what is made once."""
    found: dict[str, Target] = {}
    for name, bilm in _models().items():
        bilm.save(folder / name)
        found[f"model {name}"] = Target(files_of(folder / name), _read_model, mend_model)
    write(folder / "half", *_contents(_models()["static"]), dtype=torch.float16)
    found["model half"] = Target(files_of(folder / "half"), _read_model, mend_model)
    for kind in ("char", "word", "bytes"):
        found[f"model v1 {kind}"] = Target(files_of(V1 / kind), _read_model, mend_model)
    whole = {"model.safetensors": loading.to_bytes(_models()["static"])}
    found["model in one file"] = Target(whole, _read_bytes)
    found |= _other_formats(folder)
    found |= _pretraining(folder)
    return found


def _models() -> dict[str, BiLM]:
    small = {"projection_dim": 2, "hidden_size": 3, "n_layers": 1}
    return {
        "n-grams": make_bilm(**{**ENCODERS["n-grams"], **small}),
        "static": loading.load(V1 / "char"),
        "char-CNN": make_bilm(token_encoder="char_cnn", tie_softmax=False, max_characters_per_token=6),
    }


def _contents(bilm: BiLM) -> tuple:
    return bilm.config, bilm.vocab, bilm.state_dict()


def _use(bilm: BiLM) -> None:
    """Let a model that was read do what it is for; its numbers are finite, or so large that they overflow."""
    for sentence, layers in zip(SENTENCES, bilm.encode(SENTENCES), strict=True):
        assert layers.shape == (bilm.n_layers, len(sentence), bilm.width)
        assert layers.dtype == np.float32
    bilm.static_vectors_of(["北京", "x"])


def _read_model(folder: Path) -> None:
    loading.read_config(folder)
    _use(loading.load(folder))


def _read_bytes(folder: Path) -> None:
    _use(loading.from_bytes((folder / "model.safetensors").read_bytes()))


def _other_formats(folder: Path) -> dict[str, Target]:
    write_bilm_tf(folder / "tf", OPTIONS, bilm_tf_tensors(OPTIONS))
    word_options = options(max_characters_per_token=50)
    del word_options["char_cnn"]
    words = ["<S>", "</S>", "<UNK>", *WORDS]
    write_bilm_tf(folder / "tf words", word_options, bilm_tf_tensors(word_options, n_words=len(words)), words)
    write_many_langs(folder / "many", ARCHITECTURE)
    many = files_of(folder / "many")
    simple = files_of(folder / "tf")
    packed = {**files_of(folder / "tf words")}
    packed["vocab.txt.gz"] = gzip.compress(packed.pop("vocab.txt"), mtime=0)
    return {
        "bilm-tf": Target(simple, lambda p: _use(load_bilm_tf(p / "options.json", p / "model.hdf5"))),
        "bilm-tf words": Target(
            files_of(folder / "tf words"),
            lambda p: _use(load_bilm_tf(p / "options.json", p / "model.hdf5", vocab=p / "vocab.txt")),
        ),
        "simple_elmo zip": Target({"m.zip": _zipped(simple)}, lambda p: _use(load_simple_elmo(p / "m.zip"))),
        "simple_elmo": Target(packed, lambda p: _use(load_simple_elmo(p))),
        "ELMoForManyLangs": Target(many, lambda p: _use(load_elmoformanylangs(p))),
        "ELMoForManyLangs zip": Target(
            {"m.zip": _zipped(many)}, lambda p: _use(load_elmoformanylangs(p / "m.zip"))
        ),
    }


def _zipped(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"model/{name}"), data)
    return buffer.getvalue()


def _pretraining(folder: Path) -> dict[str, Target]:
    corpus = Corpus(make_corpus(folder / "corpus", cyclic_text(12)))
    _label(folder / "labels", corpus)
    text = cyclic_text(20) + "ＡＢ　３。\r\n\n" + "长" * 300 + "\n"
    lines = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in text.split("\n"))
    squad = {"data": [{"paragraphs": [{"context": "我爱北京。", "qas": [_question()]}]}]}
    texts = {
        "a.txt": text.encode(),
        "b.jsonl": lines.encode(),
        "c.txt.gz": gzip.compress(text.encode(), mtime=0),
        "d.txt.xz": lzma.compress(text.encode()),
    }
    found = {
        "corpus": Target(files_of(folder / "corpus"), _read_corpus, mend_corpus),
        "labels": Target(files_of(folder / "labels"), lambda p: _read_labels(p, corpus), mend_labels),
        "questions": Target({"q.json": json.dumps(squad).encode()}, _read_questions),
        "cache": Target(_cache_files(folder / "cache"), _read_cache),
    }
    found |= {f"text {name}": Target({name: data}, _read_text) for name, data in texts.items()}
    run, settings = _run(folder / "training")
    checkpoint = next((run / "checkpoints").glob("step-*"))
    found["checkpoint"] = Target(
        files_of(checkpoint), lambda p: _go_on(p, run, checkpoint.name, settings), mend_checkpoint
    )
    return found


def _question() -> dict:
    answers = [{"text": "北京", "answer_start": 2}]
    return {"question": "爱什么？", "id": "1", "answers": answers, "is_impossible": False}


def _read_questions(folder: Path) -> None:
    for context, questions in read_squad(folder / "q.json"):
        assert all(0 <= a < b <= len(context) for question in questions for a, b in question.spans)


def _cache_files(folder: Path) -> Files:
    with DiskStore(folder, (3, 4), half=False) as store:
        for text in ("我爱", "北京"):
            store.put(sentence_key(list(text)), np.ones((3, len(text), 4), dtype=np.float32))
    return {f"a{path.suffix}": path.read_bytes() for path in sorted(folder.iterdir())}


def _read_cache(folder: Path) -> None:
    """Whatever lies there, a vector is the one that was kept, or none."""
    with DiskStore(folder, (3, 4), half=False) as store:
        for text in ("我爱", "北京"):
            found = store.get(sentence_key(list(text)))
            assert found is None or (found.shape == (3, 2, 4) and (found == 1).all())


def _read_corpus(folder: Path) -> None:
    corpus = Corpus(folder)
    corpus.verify()
    vocab = corpus.vocab(spelled=True)
    loader = BatchLoader(corpus, vocab, batch_tokens=64)
    batches = loader.iter_from(LoaderState())
    for _, (batch, _) in zip(range(3), batches, strict=False):
        assert int(batch.input_ids.max()) < len(vocab)
        assert int(batch.input_ids.min()) >= 0


def _label(folder: Path, corpus: Corpus) -> Path:
    """Write a folder of labels: the number of each unit in its sentence, of three; the first has none."""
    rows = [[i % 4 - 1 for i in range(n)] for n in corpus.lengths]
    write_unit_labels(folder, corpus, ["a", "b", "c"], rows)
    return folder


def _read_labels(folder: Path, corpus: Corpus) -> None:
    labels = UnitLabels(folder, corpus, verify=True)
    for i in range(len(corpus)):
        assert labels[i].shape == (corpus.lengths[i],)
        assert all(-1 <= label < len(labels.names) for label in labels[i])


def _read_text(folder: Path) -> None:
    """Read a text as `spacy elmo corpus` does, with the corpus next to it."""
    output = folder.with_name("made of text")
    try:
        build_corpus(sorted(folder.iterdir()), output, SegmentationSettings())
        Corpus(output).verify()
    finally:
        shutil.rmtree(output, ignore_errors=True)


def _run(folder: Path) -> tuple[Path, PretrainConfig]:
    """The run of a training that ended after two steps, and settings for one more."""
    folder.mkdir()
    corpus = Corpus(make_corpus(folder / "corpus", cyclic_text(12)))
    labels = str(_label(folder / "labels", corpus))
    (folder / "heldout.txt").write_text(cyclic_text(2, seed=1), encoding="utf8")
    pretrain(make_settings(folder, labels=labels, max_steps=2), folder / "run")
    return folder / "run", make_settings(folder, labels=labels, max_steps=3)


def _go_on(checkpoint: Path, run: Path, name: str, settings: PretrainConfig) -> None:
    """Go on with a training from a checkpoint."""
    output = checkpoint.with_name("goes on")
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(run, output, ignore=shutil.ignore_patterns("checkpoints", "model"))
    shutil.copytree(checkpoint, output / "checkpoints" / name)
    try:
        record = pretrain(settings, output)
        assert record["log"][-1]["step"] == 3
        loading.load(output / "model")
    finally:
        shutil.rmtree(output, ignore_errors=True)
