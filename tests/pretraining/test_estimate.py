"""The plan of a run: what it says about weights and operations is counted, not guessed."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spacy_elmo.errors import ConfigError
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.modeling.vocab import Vocab
from spacy_elmo.pretraining.config import VocabConfig, read_config
from spacy_elmo.pretraining.estimate import count_parameters, estimate_run, parse_size
from spacy_elmo.pretraining.step.train_step import limited_torch_threads
from spacy_elmo.pretraining.trainer import pretrain

from .helpers import make_settings

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_reference_run():
    settings = read_config(CONFIGS / "pretrain_reference.cfg")
    plan = estimate_run(settings, corpus_bytes=3e9, gpus=8, units="word", tokens_per_second=10_000)
    # Two directions, two layers: 4H(P + P) + 4H + 4H + HP weights each.
    h, p, v = 4096, 512, 52_004
    assert plan.parameters["LSTMs"] == 4 * (8 * h * p + 8 * h + h * p)
    assert plan.parameters["embedding"] == v * p
    assert plan.parameters["softmax"] == v  # tied
    assert plan.flops_per_token["LSTMs"] == pytest.approx(453e6, rel=0.01)
    assert plan.flops_per_token["softmax"] == pytest.approx(6 * 2 * v * p)
    assert 9 < plan.epochs < 11
    assert plan.days == pytest.approx(plan.tokens / (10_000 * 8 * 0.9) / 86400)
    assert sum(plan.memory.values()) < 22e9
    assert plan.memory["Adam"] == 8 * sum(plan.parameters.values())


def test_more_memory_takes_larger_batches_and_a_sampled_softmax_fewer_operations():
    overrides = {"training.batch_tokens": "auto"}
    settings = read_config(CONFIGS / "pretrain_reference.cfg", overrides)
    sizes = []
    for memory in (6e9, 8e9, 80e9):
        plan = estimate_run(
            settings, corpus_bytes=3e9, gpus=2, memory=memory, units="word", tokens_per_second=1
        )
        assert sum(plan.memory.values()) < memory
        sizes.append(plan.batch_tokens)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1]
    with pytest.raises(ConfigError, match="does not fit into memory"):
        estimate_run(settings, corpus_bytes=3e9, memory=1e9, tokens_per_second=1)
    overrides["training.softmax"] = "sampled"
    sampled = read_config(CONFIGS / "pretrain_reference.cfg", overrides)
    other = estimate_run(sampled, corpus_bytes=3e9, gpus=2, tokens_per_second=1)
    assert other.flops_per_token["softmax"] < plan.flops_per_token["softmax"] / 6


def test_a_plan_of_a_corpus_with_a_measurement(tmp_path):
    settings = make_settings(tmp_path)
    plan = estimate_run(settings)
    assert plan.tokens == 6 * 128
    assert plan.tokens_per_second > 0
    assert plan.epochs == pytest.approx(6 * 128 / 2500, rel=0.3)
    assert plan.days > 0


def test_what_a_plan_needs():
    settings = read_config(CONFIGS / "pretrain.cfg")
    with pytest.raises(ConfigError, match="give --vocab-size"):
        estimate_run(settings, corpus_bytes=1e9, tokens_per_second=1)
    with pytest.raises(ConfigError, match="give --corpus-size"):
        estimate_run(settings, vocab_size=5000, tokens_per_second=1)


def test_sizes_that_no_memory_holds():
    settings = read_config(CONFIGS / "pretrain.cfg")
    with pytest.raises(ConfigError, match="more than 1,000,000 units: give a smaller --vocab-size"):
        estimate_run(settings, corpus_bytes=1e9, vocab_size=10**11, tokens_per_second=1)
    settings = read_config(CONFIGS / "pretrain.cfg", {"model.n_ngrams": 2 * 10**9})
    with pytest.raises(ConfigError, match=r"\[model\] n_ngrams is more than 10,000,000: lower it"):
        estimate_run(settings, corpus_bytes=1e9, vocab_size=5000, tokens_per_second=1)


@pytest.mark.parametrize(("text", "size"), [("3GB", 3e9), ("190 mb", 1.9e8), ("22e9", 22e9), ("2TB", 2e12)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "much", "-3GB", "nan", "0"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError, match="is not a size"):
        parse_size(text)


def test_sizes_of_the_model_that_a_run_begins_with(tmp_path):
    parent = BiLM(BiLMConfig(hidden_size=24, projection_dim=8, n_layers=3), Vocab("的一是"))
    parent.save(tmp_path / "parent")
    settings = read_config(CONFIGS / "pretrain.cfg", {"paths.init_from": str(tmp_path / "parent")})
    settings.model.clear()
    plan = estimate_run(settings, corpus_bytes=1e6, vocab_size=100, tokens_per_second=1)
    assert plan.parameters["LSTMs"] == count_parameters(parent)["LSTMs"]


@pytest.mark.parametrize("max_size", [None, 12])
def test_units_of_the_corpus_and_of_the_model_that_a_run_begins_with(tmp_path, max_size):
    BiLM(BiLMConfig(hidden_size=16, projection_dim=8), Vocab("的一甲是")).save(tmp_path / "parent")
    settings = make_settings(tmp_path)
    paths = replace(settings.paths, init_from=str(tmp_path / "parent"))
    settings = replace(settings, paths=paths, vocab=VocabConfig(min_count=1, max_size=max_size))
    record = pretrain(settings, tmp_path / "run")
    plan = estimate_run(settings, tokens_per_second=1)
    assert sum(plan.parameters.values()) == record["parameters"]


def test_a_plan_refuses_a_shape_that_the_run_would_refuse(tmp_path):
    BiLM(BiLMConfig(hidden_size=24, projection_dim=8), Vocab("的一是")).save(tmp_path / "parent")
    settings = read_config(CONFIGS / "pretrain.cfg", {"paths.init_from": str(tmp_path / "parent")})
    with pytest.raises(ConfigError, match="init_from has projection_dim = 8, but this run has 128"):
        estimate_run(settings, corpus_bytes=1e6, vocab_size=100, tokens_per_second=1)


MEASURE = """
import sys
import torch
from spacy_elmo.pretraining import memory
from spacy_elmo.pretraining.auto_batch_size import random_batch
from spacy_elmo.pretraining.optim import build_optimizer, build_train_step
from spacy_elmo.pretraining.config import TrainingConfig
from spacy_elmo.modeling.config import BiLMConfig
from spacy_elmo.inference.bilm import BiLM
from spacy_elmo.modeling.vocab import Vocab

cpu = torch.device("cpu")
torch.nn.functional.linear(torch.ones(64, 64), torch.ones(64, 64))
before = memory.peak_bytes(cpu)
vocab = Vocab([chr(0x4E00 + i) for i in range(8000)])
bilm = BiLM(BiLMConfig(hidden_size=1024, projection_dim=256), vocab).train()
training = TrainingConfig(batch_tokens=4096, precision="f32")
step, optimizer = build_train_step(bilm, training), build_optimizer(bilm.parameters(), training)
batch = random_batch(step, 4096)
for seed in range(2):
    step(batch, seed)
    optimizer.step()
print(memory.peak_bytes(cpu) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells how much memory was used")
@pytest.mark.parametrize(("n", "least"), [(1, 0.75), (2, 0.4)])
def test_the_memory_of_a_step_is_what_is_measured(n, least):
    sizes = {"model.hidden_size": 1024, "model.projection_dim": 256}
    training = {"training.batch_tokens": 4096, "training.precision": "f32"}
    settings = read_config(CONFIGS / "pretrain.cfg", {**sizes, **training})
    with limited_torch_threads(n):  # with two the two directions step at once
        plan = estimate_run(settings, corpus_bytes=1e6, vocab_size=8000, tokens_per_second=1)
    here = {**os.environ, "OMP_NUM_THREADS": str(n)}
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, env=here)
    # Beside other work two directions may not meet where each of them needs the most.
    assert least < int(done.stdout) / sum(plan.memory.values()) < 1.25, done.stderr


def test_two_directions_at_once_take_more_memory_and_only_on_the_cpu(monkeypatch):
    settings = read_config(CONFIGS / "pretrain.cfg")

    def planned(n: int, **options) -> int:
        with limited_torch_threads(n):
            plan = estimate_run(settings, corpus_bytes=1e6, vocab_size=8000, tokens_per_second=1, **options)
        return sum(plan.memory.values())

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert planned(2) > 1.2 * planned(1)
    assert planned(2, gpus=8) == planned(1, gpus=8)  # torchrun's processes: GPUs, or one thread each
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert planned(2) == planned(1)
