"""Train a biLM: the loop and its step, the same for one process and for many."""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from ..atomic_io import FolderKind, check_apart, check_replaceable, locked, write_atomic
from ..errors import CheckpointError, ConfigError
from ..inference import loading
from ..inference.bilm import BiLM
from ..modeling.loss import count_targets
from ..modeling.token_encoder import TokenBatch
from ..seeds import derive_seed
from .auto_batch_size import find_max_batch_tokens
from .checkpoint import (
    find_start,
    load_model,
    load_tensors,
    save_checkpoint,
    settings_to_continue,
)
from .config import PretrainConfig
from .data.corpus import Corpus
from .data.dataloader import BatchLoader, LoaderState
from .data.unit_labels import UnitLabels, label_origin
from .distributed import DistributedContext, init_distributed
from .evaluation import evaluate_perplexity, read_sentences, subsample
from .initialization import build_model
from .memory import limit_onednn_caches
from .metrics import RunningMetrics, StepResult, TrainingLogger, new_record
from .optim import build_label_head, build_optimizer, build_train_step, log_new_end, lr_at
from .preemption import SigtermFlag, catch_sigterm
from .step.train_step import StepLoss, limited_torch_threads

log = logging.getLogger("spacy_elmo")

RUN, MODEL, BEST, CHECKPOINTS = "run.json", "model", "best", "checkpoints"
RUN_FOLDER = FolderKind(
    name="a pretraining run",
    marker=RUN,
    kind="spacy-elmo.run",
    keys=frozenset({"settings", "corpus", "log", "tokens_seen"}),
    files=(),  # it is never replaced as a whole
)


def pretrain(settings: PretrainConfig, output: Path, *, progress: bool = False) -> dict[str, Any]:
    """Train a biLM with these settings, write it to `output`/model, and return the content of run.json.

    `output` also holds run.json (settings and every measurement) and checkpoints/. An interrupted run
    continues from its last checkpoint. Under torchrun this is one of several processes; all of them must see
    `output` and the corpus. SIGTERM writes a checkpoint and ends the process.
    """
    if settings.paths.train is None or settings.paths.dev is None:
        raise ConfigError("Pretraining needs [paths] train and dev: give both.")
    check_replaceable(output, RUN_FOLDER, marker_only=True)
    parent, labels = settings.paths.init_from, settings.paths.labels
    optional = [None if parent is None else loading.resolve_model_path(parent), labels]
    read = [settings.paths.train, settings.paths.dev, *(path for path in optional if path is not None)]
    check_apart(read, output)
    limit_onednn_caches()
    with init_distributed() as context, catch_sigterm() as sigterm:
        with locked(output, RUN_FOLDER.name) if context.is_main else nullcontext():
            trainer = _begin(settings, output, context)
            logger = TrainingLogger(output, settings.training, context, step=trainer.step, progress=progress)
            with closing(logger):
                complete = trainer.run(sigterm, logger)
            context.barrier()
        if not complete:
            sigterm.reraise()
    return trainer.record


def _begin(settings: PretrainConfig, output: Path, context: DistributedContext) -> "Trainer":
    """Build the trainer of a new run, or of one that continues from its last checkpoint."""
    assert settings.paths.train is not None
    corpus = Corpus(settings.paths.train)
    if context.is_main:
        corpus.verify()
    path = settings.paths.labels
    labels = None if path is None else UnitLabels(path, corpus, verify=context.is_main)
    torch.manual_seed(derive_seed(settings.training.seed, "weights"))
    last, state, record = find_start(output / CHECKPOINTS, run_file=output / RUN, model=output / MODEL)
    if record is not None:
        settings = settings_to_continue(record, settings, output, corpus=corpus, labels=labels)
    bilm = build_model(corpus, settings) if last is None else load_model(last)
    context.share_weights(bilm, None if labels is None else labels.digest)
    assert settings.paths.dev is not None
    dev_sentences = read_sentences(bilm, Path(settings.paths.dev))
    trainer = Trainer(bilm, corpus, dev_sentences, settings, output, context, labels=labels)
    if last is not None and state is not None:
        load_tensors(last, state, optimizer=trainer.optimizer, label_head=trainer.label_head, context=context)
        trainer.load_state_dict(state)
        log.info("continuing at step %d from %s", trainer.step, last)
    return trainer


class Trainer:
    """A pretraining run: model, data, optimizer, and the record of all measurements."""

    def __init__(
        self,
        bilm: BiLM,
        corpus: Corpus,
        dev_sentences: list[list[str]],
        settings: PretrainConfig,
        output: Path,
        context: DistributedContext,
        *,
        labels: UnitLabels | None = None,
    ):
        self.settings, self.corpus, self.dev_sentences = settings, corpus, dev_sentences
        self.output, self.context = output, context
        training = self.training = settings.training
        self.bilm = bilm.to(context.device).train()
        self.labels, self.label_head = labels, build_label_head(bilm, labels, training, context)
        self.loss_and_backward = build_train_step(bilm, training, self.label_head)
        self.parameters = self.loss_and_backward.parameters
        self.optimizer = build_optimizer(self.parameters, training)
        self.step, self.loader_state, self.metrics = 0, LoaderState(), RunningMetrics()
        self.record = new_record(RUN_FOLDER, bilm, settings, corpus=corpus, labels=labels)

    def state_dict(self) -> dict[str, Any]:
        """Return, as JSON values, what a run needs in addition to weights, optimizer and random states."""
        return {
            "step": self.step,
            "loader_state": asdict(self.loader_state),
            "metrics": self.metrics.to_dict(),
            "record": self.record,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a result of state_dict. max_steps may have grown since."""
        self.step = state["step"]
        self.loader_state = LoaderState(**state["loader_state"])
        self.metrics = RunningMetrics(**state["metrics"])
        before = state["record"]["settings"]["training"]["max_steps"]
        self.record = {**state["record"], "settings": self.settings.to_dict()}
        if before != self.training.max_steps:
            log_new_end(self.step, self.training, before)

    def run(self, sigterm: SigtermFlag, logger: TrainingLogger) -> bool:
        """Train to the end and write the model folder; return False if SIGTERM came first."""
        self.output.mkdir(parents=True, exist_ok=True)
        if self.record["batch_tokens"] == "auto":
            self.record["batch_tokens"] = find_max_batch_tokens(self.loss_and_backward, self.context)
        self._write_record()
        if not self.record["log"]:
            self._evaluate(logger, everything=False)
        training, self.batches = self.training, self._batches()
        self.next_batch = next(self.batches)
        while not self._is_done():
            learning_rate = lr_at(self.step, training)
            result = self.train_step(learning_rate, sigterm)
            sums = result.tokens, result.seconds, result.label_nll, result.n_labels
            done = RunningMetrics(result.loss, 1, *sums)
            self.metrics.add(done)
            self.record["tokens_seen"] += done.tokens
            self.record["seconds"] += done.seconds
            logger.step(self.step, done, rate=learning_rate, norm=result.grad_norm)
            last = self.step == training.max_steps
            if last or self.step % training.eval_every == 0:
                self._evaluate(logger, everything=last)
            if result.stop or self._is_done() or self.step % training.checkpoint_every == 0:
                self._checkpoint()
            if result.stop and not self._is_done():
                log.info("SIGTERM: checkpoint at step %d; run the same command to continue", self.step)
                return False
        self._finish(logger)
        return True

    def train_step(self, learning_rate: float, sigterm: SigtermFlag) -> StepResult:
        """Take one optimizer step, with each process on its share of the batch."""
        start_time = time.monotonic()
        batch, self.loader_state = self.next_batch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        n_targets = count_targets(batch)
        total, tokens = self.context.all_reduce_sum([n_targets, float(batch.lengths.sum())])
        seed = derive_seed(self.training.seed, "step", rank=self.context.rank, step=self.step)
        with limited_torch_threads(1) if self.loss_and_backward.runs_directions_in_threads else nullcontext():
            losses = StepLoss(torch.zeros(2), 0)
            if len(batch.lengths):  # there may be fewer sentences than processes
                losses = self.loss_and_backward(batch, seed)
            self.context.all_reduce_gradients(self.parameters, n_targets / total)
            grad_norm = clip_grad_norm_(self.parameters, self.training.grad_clip)
            with limited_torch_threads(self.loss_and_backward.n_threads):
                self.optimizer.step()
            self.next_batch = next(self.batches)  # while a GPU computes
            sums = [float(losses.nll.double().sum()), float(losses.label_nll or 0), losses.n_labels]  # waits
            nll, label_nll, n_labels, stop = self.context.all_reduce_sum([*sums, float(sigterm.received)])
        loss = nll / (2 * total)
        if not math.isfinite(grad_norm):  # the weights are not finite either, and must not be saved
            raise self._diverged(f"The loss became {loss}")
        self.step += 1
        seconds = time.monotonic() - start_time
        return StepResult(loss, float(grad_norm), int(tokens), seconds, stop > 0, label_nll, int(n_labels))

    def _is_done(self) -> bool:
        return self.step >= self.training.max_steps or self._should_stop_early()

    def _should_stop_early(self) -> bool:
        """Return whether the last `patience` evaluations were no better than the best before them."""
        best = self.record.get("best")
        return best is not None and 0 < self.training.patience <= best["since"]

    def _batches(self) -> Iterator[tuple[TokenBatch, LoaderState]]:
        config = self.bilm.config
        longest = None if config.token_encoder == "embedding" else config.max_characters_per_token
        stream = BatchLoader(
            self.corpus,
            self.bilm.vocab,
            batch_tokens=self.record["batch_tokens"],
            seed=self.training.seed,
            max_characters_per_token=longest,
            shard=(self.context.rank, self.context.size),
            labels=self.labels,
        )
        return stream.iter_from(self.loader_state)

    def _evaluate(self, logger: TrainingLogger, *, everything: bool) -> None:
        text = self.dev_sentences if everything else subsample(self.dev_sentences, self.training.eval_tokens)
        result = evaluate_perplexity(self.bilm, text, context=self.context)
        row = {"step": self.step, "epoch": self.loader_state.epoch, "dev": result.to_dict()}
        self.record["log"].append({**row, **self.metrics.row(self.training)})
        self.metrics = RunningMetrics()
        if self.training.patience and not everything:
            self._track_best((result.forward * result.backward) ** 0.5)
        logger.log_validation(self.record)

    def _track_best(self, perplexity: float) -> None:
        """Save the weights if they are the best so far."""
        best = self.record.get("best")
        if best is None or perplexity < best["perplexity"]:
            self.record["best"] = {"step": self.step, "perplexity": perplexity, "since": 0}
            if self.context.is_main:
                self.bilm.save(self.output / BEST)
        else:
            best["since"] += 1

    def _diverged(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{what} at step {self.step}; the last good checkpoint is kept: "
            "lower learning_rate or grad_clip, and start again in another folder."
        )

    def _checkpoint(self) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters):
            raise self._diverged("The weights are no longer finite")
        save_checkpoint(
            self.output / CHECKPOINTS,
            self.state_dict(),
            model=self.bilm,
            optimizer=self.optimizer,
            label_head=self.label_head,
            keep=self.training.max_checkpoints,
            context=self.context,
        )
        self._write_record()

    def _finish(self, logger: TrainingLogger) -> None:
        """Write the model: the last weights, or the best ones after an early stop."""
        steps = self.step
        if steps < self.training.max_steps:
            steps = self.record["best"]["step"]
            self.context.barrier()  # wait until rank 0 has written them
            self.bilm.load_state_dict(loading.load(self.output / BEST).state_dict())
            log.info("no improvement since step %d, whose weights become the model", steps)
            dev = evaluate_perplexity(self.bilm, self.dev_sentences, context=self.context).to_dict()
            self.record["log"].append({"step": steps, "epoch": self.loader_state.epoch, "dev": dev})
            logger.log_validation(self.record)
        perplexity = self.record["dev"] = self.record["log"][-1]["dev"]
        origin = {
            "perplexity": {key: round(perplexity[key], 2) for key in ("forward", "backward")},
            "pretraining": f"{steps:,} steps, {self.record['tokens_seen']:,} units",
            **label_origin(self.bilm.config.meta, self.labels),
        }
        # For people: `spacy elmo info` shows it.
        self.bilm.config = replace(self.bilm.config, meta={**self.bilm.config.meta, **origin})
        if self.context.is_main:
            dtype = torch.float16 if self.training.save_dtype == "float16" else None
            self.bilm.save(self.output / MODEL, dtype=dtype)
        self._write_record()

    def _write_record(self) -> None:
        if self.context.is_main:
            data = json.dumps(self.record, ensure_ascii=False, indent=1) + "\n"
            write_atomic(self.output / RUN, data.encode("utf8"))
