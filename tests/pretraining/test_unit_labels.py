"""Labels of a corpus's units: the folder, the gradients of the second task, and runs with it."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from spacy_elmo.errors import CheckpointError, CorpusError, OutputError
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.inference.loading import load
from spacy_elmo.modeling.collate import collate
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.token_encoder import LabelledBatch
from spacy_elmo.modeling.vocab import SPECIALS, Vocab
from spacy_elmo.pretraining import trainer
from spacy_elmo.pretraining.checkpoint import find_checkpoints
from spacy_elmo.pretraining.config import PretrainConfig
from spacy_elmo.pretraining.data.corpus import Corpus
from spacy_elmo.pretraining.data.dataloader import BatchLoader, LoaderState
from spacy_elmo.pretraining.data.unit_labels import UnitLabels, write_unit_labels
from spacy_elmo.pretraining.step.label_head import LabelHead
from spacy_elmo.pretraining.step.train_step import TrainStep
from spacy_elmo.pretraining.trainer import lr_at, pretrain

from .helpers import CYCLE, cyclic_text, figures, make_corpus, make_settings, same_weights, weights
from .test_distributed import together

NAMES = ["even", "odd"]


def parity(corpus: Corpus) -> list[list[int]]:
    """Label each character of the cycle by whether its place there is odd; the full stop has no label."""
    units = [unit for unit, _ in corpus.counts()]
    label = [CYCLE.index(unit) % 2 if unit in CYCLE else -1 for unit in units]
    return [[label[rank] for rank in corpus[i]] for i in range(len(corpus))]


def labelled(settings: PretrainConfig, folder: Path) -> PretrainConfig:
    """Return the settings with labels of the corpus, which are made when missing."""
    if not folder.exists():
        corpus = Corpus(settings.paths.train)
        write_unit_labels(folder, corpus, NAMES, parity(corpus))
    return replace(settings, paths=replace(settings.paths, labels=str(folder)))


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return Corpus(make_corpus(tmp_path / "corpus", cyclic_text(40)))


def test_labels_are_read_as_they_were_written(corpus, tmp_path):
    written = parity(corpus)
    write_unit_labels(tmp_path / "labels", corpus, NAMES, iter(written))
    read = UnitLabels(tmp_path / "labels", corpus, verify=True)
    assert read.names == NAMES
    assert [read[i].tolist() for i in range(len(corpus))] == written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "There are labels for 39 sentences only"),
        (lambda rows: [*rows, [0]], "more than the 40 sentences"),
        (lambda rows: [rows[0][:-1], *rows[1:]], "Sentence 0 has"),
        (
            lambda rows: [*rows[:3], [2] * len(rows[3]), *rows[4:]],
            "A label of sentence 3 is not between -1 and 1",
        ),
        (lambda rows: [[-2] * len(rows[0]), *rows[1:]], "A label of sentence 0"),
    ],
)
def test_labels_that_do_not_fit_leave_nothing(corpus, tmp_path, change, message):
    with pytest.raises(CorpusError, match=message):
        write_unit_labels(tmp_path / "labels", corpus, NAMES, change(parity(corpus)))
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_labels_without_names_are_refused(corpus, tmp_path):
    with pytest.raises(CorpusError, match="There are 0 labels"):
        write_unit_labels(tmp_path / "labels", corpus, [], parity(corpus))


def test_another_folder_is_not_replaced(corpus, tmp_path):
    with pytest.raises(OutputError, match="it holds other files"):
        write_unit_labels(tmp_path / "corpus", corpus, NAMES, parity(corpus))
    assert Corpus(tmp_path / "corpus").digest == corpus.digest


def test_labels_of_another_corpus_are_refused(corpus, tmp_path):
    write_unit_labels(tmp_path / "labels", corpus, NAMES, parity(corpus))
    other = Corpus(make_corpus(tmp_path / "other", cyclic_text(41)))
    with pytest.raises(CorpusError, match="labels another corpus"):
        UnitLabels(tmp_path / "labels", other)
    with pytest.raises(CorpusError, match="is not a folder of labels"):
        UnitLabels(tmp_path / "nothing", corpus)


MANIFESTS = {
    "no JSON": b"{",
    "a list": b"[]",
    "another kind": b'{"kind": "spacy-elmo.corpus", "format_version": 1}',
    "names that are numbers": {"names": [1, 2]},
    "no names": {"names": []},
    "names as a text": {"names": "even"},
    "shards that are missing": {"shards": []},
    "a corpus that is a number": {"corpus": 3},
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_damaged_manifest_is_refused(corpus, tmp_path, change):
    write_unit_labels(tmp_path / "labels", corpus, NAMES, parity(corpus))
    file = tmp_path / "labels" / "manifest.json"
    data = (
        change
        if isinstance(change, bytes)
        else json.dumps({**json.loads(file.read_bytes()), **change}).encode()
    )
    file.write_bytes(data)
    with pytest.raises(CorpusError, match="are damaged: make them again"):
        UnitLabels(tmp_path / "labels", corpus)


def test_labels_of_a_later_version_are_refused(corpus, tmp_path):
    write_unit_labels(tmp_path / "labels", corpus, NAMES, parity(corpus))
    file = tmp_path / "labels" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "format_version": 2}))
    with pytest.raises(CorpusError, match="newer spacy-elmo"):
        UnitLabels(tmp_path / "labels", corpus)


def test_a_damaged_shard_is_refused(corpus, tmp_path):
    write_unit_labels(tmp_path / "labels", corpus, NAMES, parity(corpus))
    file = tmp_path / "labels" / "shard-00000.labels.npy"
    values = np.load(file)
    np.save(file, np.full_like(values, 2))
    with pytest.raises(CorpusError, match="damaged"):
        UnitLabels(tmp_path / "labels", corpus, verify=True)
    read = UnitLabels(tmp_path / "labels", corpus)
    with pytest.raises(CorpusError, match="damaged"):
        read[0]
    for damaged in (values[:-1], values.astype(np.int64), values.astype(object)):
        np.save(file, damaged, allow_pickle=True)
        with pytest.raises(CorpusError, match="damaged"):
            UnitLabels(tmp_path / "labels", corpus)


def test_a_batch_has_the_labels_of_its_units(corpus, tmp_path):
    write_unit_labels(tmp_path / "labels", corpus, NAMES, parity(corpus))
    vocab = corpus.vocab()
    loader = BatchLoader(corpus, vocab, batch_tokens=100, labels=UnitLabels(tmp_path / "labels", corpus))
    batch, _ = next(loader.iter_from(LoaderState()))
    assert isinstance(batch, LabelledBatch)
    for ids, labels, n in zip(batch.input_ids, batch.labels, batch.lengths, strict=True):
        units = [vocab.units[i - len(SPECIALS)] for i in ids[1 : n - 1]]
        expected = [CYCLE.index(unit) % 2 if unit in CYCLE else -1 for unit in units]
        assert labels.tolist() == [-1, *expected, *[-1] * (len(labels) - int(n) + 1)]


def make_step_inputs() -> tuple[BiLM, LabelHead, LabelledBatch]:
    torch.manual_seed(0)
    bilm = BiLM(BiLMConfig(projection_dim=4, hidden_size=8), Vocab(list("甲乙丙")))
    batch = collate(bilm, ["甲乙丙", "丙甲", "乙"])
    labels = torch.tensor([[-1, 0, 2, 1, -1], [-1, 1, -1, -1, -1], [-1, 2, -1, -1, -1]])
    return bilm, LabelHead(4, 3), LabelledBatch(**vars(batch), labels=labels)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_gradients_are_those_of_both_tasks_together(n_threads, monkeypatch):
    bilm, head, batch = make_step_inputs()
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    parameters = [p for p in (*bilm.parameters(), *head.parameters()) if p.requires_grad]
    step = TrainStep(bilm)
    alone = step(batch, 0)
    assert alone.label_nll is None
    without = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]

    # The second task alone, by autograd through the layers that a component reads.
    layers = bilm(batch)[1:].mean(0)
    keep = batch.labels != -1
    scores = head.linear(F.layer_norm(layers[keep], layers.shape[2:]))
    nll = F.cross_entropy(scores, batch.labels[keep], reduction="sum")
    extra = torch.autograd.grad(0.3 * nll / alone.n_targets, parameters, allow_unused=True)

    for parameter in parameters:
        parameter.grad = None
    both = TrainStep(bilm, label_head=head, label_loss_weight=0.3)(batch, 0)
    torch.testing.assert_close(both.nll, alone.nll)
    torch.testing.assert_close(both.label_nll, nll.detach())
    for parameter, first, second in zip(parameters, without, extra, strict=True):
        expected = first if second is None else first + second
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_a_batch_without_a_label_trains_the_language_models_alone():
    bilm, head, batch = make_step_inputs()
    batch.labels = torch.full_like(batch.labels, -1)
    loss = TrainStep(bilm, label_head=head, label_loss_weight=0.3)(batch, 0)
    assert float(loss.label_nll) == 0
    assert all(bool(p.grad.isfinite().all()) for p in bilm.parameters() if p.requires_grad)


def test_the_labels_are_learned(tmp_path):
    settings = labelled(make_settings(tmp_path, max_steps=40, eval_every=10), tmp_path / "labels")
    pretrain(settings, tmp_path / "run")
    losses = [row["label_loss"] for row in figures(tmp_path / "run") if "label_loss" in row]
    assert losses[-1] < 0.1 < losses[0]
    assert not [name for name in weights(tmp_path / "run") if "label" in name]
    described = load(tmp_path / "run" / "model").config.meta
    assert described["labels"] == "2 labels of units"


def test_a_run_with_labels_goes_on_to_the_bit(tmp_path, monkeypatch):
    settings = labelled(make_settings(tmp_path), tmp_path / "labels")
    pretrain(settings, tmp_path / "whole")
    interrupted = []

    def failing(step, training):
        if step == 3 and not interrupted:
            interrupted.append(step)
            raise KeyboardInterrupt
        return lr_at(step, training)

    monkeypatch.setattr(trainer, "lr_at", failing)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings, tmp_path / "run")
    pretrain(settings, tmp_path / "run")
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


def test_a_run_does_not_go_on_with_other_labels(tmp_path):
    settings = make_settings(tmp_path)
    with_labels = labelled(settings, tmp_path / "labels")
    pretrain(with_labels, tmp_path / "run")
    corpus = Corpus(settings.paths.train)
    write_unit_labels(tmp_path / "other", corpus, [*NAMES, "third"], parity(corpus))
    for changed in (settings, labelled(settings, tmp_path / "other")):
        with pytest.raises(CheckpointError, match="a run with other labels of the corpus"):
            pretrain(changed, tmp_path / "run")


def test_a_checkpoint_without_the_label_head_is_damaged(tmp_path):
    settings = labelled(make_settings(tmp_path), tmp_path / "labels")
    pretrain(settings, tmp_path / "run")
    last = find_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    tensors = load_file(last / "state.safetensors")
    assert tensors.pop("label_head.linear.bias").shape == (2,)
    save_file(tensors, last / "state.safetensors")
    state = json.loads((last / "state.json").read_bytes())
    state["sha256"] = sha256((last / "state.safetensors").read_bytes()).hexdigest()
    (last / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="is damaged"):
        pretrain(settings, tmp_path / "run")


def test_two_processes_with_labels_give_the_weights_of_one(tmp_path):
    changes = {"dropout": 0.0, "learning_rate": 0.003}
    settings = labelled(make_settings(tmp_path, **changes), tmp_path / "labels")
    pretrain(settings, tmp_path / "one")
    assert together(tmp_path, tmp_path / "two", labels=settings.paths.labels, **changes) == [0, 0]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)
    for a, b in zip(*(figures(tmp_path / name) for name in ("one", "two")), strict=True):
        assert a.get("label_loss", 0) == pytest.approx(b.get("label_loss", 0), rel=1e-3)


def test_the_largest_batch_is_found_with_labels(tmp_path):
    settings = labelled(make_settings(tmp_path, batch_tokens="auto", max_steps=1), tmp_path / "labels")
    record = pretrain(settings, tmp_path / "run")
    assert record["batch_tokens"] >= 1024
