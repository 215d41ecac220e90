"""The pretraining loop: one process, one loop, everything it needs in plain sight."""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..bilm.atomic import check_replaceable, write_atomic
from ..bilm.config import BiLMConfig, ConfigError
from ..bilm.embed import Batch
from ..bilm.model import BiLM
from ..bilm.objective import TrainingStep, perplexity
from ..bilm.precision import has_native_bf16
from .batches import BatchStream, Position
from .checkpoint import CheckpointError, find_checkpoints, load_checkpoint, read_checkpoint, save_checkpoint
from .heldout import measure, read_heldout
from .settings import Settings, TrainingSettings
from .shards import Corpus

log = logging.getLogger("spacy_elmo")

RUN, MODEL, CHECKPOINTS = "run.json", "model", "checkpoints"


def pretrain(settings: Settings, output: Path, *, progress: bool = False) -> dict[str, Any]:
    """Train a biLM as `settings` say and write it to `output`/model.

    `output` also holds run.json (settings and every measurement) and checkpoints/. A run that was
    interrupted goes on from its last checkpoint. Returns the content of run.json.
    """
    if settings.paths.corpus is None or settings.paths.heldout is None:
        raise ConfigError("Pretraining needs [paths] corpus and heldout: give both.")
    check_replaceable(output, RUN, "a pretraining run")
    corpus = Corpus(settings.paths.corpus)
    torch.manual_seed(settings.training.seed)
    bilm = build_model(corpus, settings)
    heldout = read_heldout(bilm, Path(settings.paths.heldout))
    trainer = Trainer(bilm, corpus, heldout, settings, output)
    trainer.run(progress=progress)
    return trainer.record


def build_model(corpus: Corpus, settings: Settings) -> BiLM:
    """A biLM with random weights for the units of a corpus; how those were cut comes from the corpus."""
    made = {key: corpus.manifest[key] for key in ("units", "segmenter", "lang", "normalize", "max_sentence")}
    for key in made.keys() & settings.model.keys():
        if settings.model[key] != made[key]:
            raise ConfigError(
                f"[model] {key} = {settings.model[key]!r}, but the corpus was made with {made[key]!r}: "
                "leave it out, or make the corpus again."
            )
    config = BiLMConfig.from_dict({**settings.model, **made})
    if not config.softmax:
        raise ConfigError("A model without a softmax cannot be trained: leave [model] softmax out.")
    vocab = corpus.vocab(
        min_count=settings.vocab.min_count,
        max_size=settings.vocab.max_size,
        spelled=config.encoder != "table" and config.spelling == "character",
        in_bytes=config.spelling == "byte",
    )
    return BiLM(config, vocab)


class Trainer:
    """A pretraining run: model, data, optimiser, and the record of what was measured."""

    def __init__(
        self, bilm: BiLM, corpus: Corpus, heldout: list[list[str]], settings: Settings, output: Path
    ):
        self.settings, self.output, self.heldout = settings, output, heldout
        training = self.training = settings.training
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bilm = bilm.to(self.device).train()
        bf16 = training.precision == "bf16" or (training.precision == "auto" and has_native_bf16(self.device))
        self.training_step = TrainingStep(
            bilm, dropout=training.dropout, dtype=torch.bfloat16 if bf16 else None
        )
        self.optimizer = make_optimizer(bilm, training)
        spelled = bilm.config.max_characters if bilm.config.encoder != "table" else None
        self.stream = BatchStream(
            corpus, bilm.vocab, batch_tokens=training.batch_tokens, seed=training.seed, max_characters=spelled
        )
        self.step, self.position = 0, Position()
        self.record: dict[str, Any] = {
            "settings": settings.to_dict(),
            "corpus": corpus.digest,
            "parameters": sum(p.numel() for p in bilm.parameters()),
            "vocab": len(bilm.vocab),
            "tokens_seen": 0,
            "seconds": 0.0,
            "log": [],
        }

    def run(self, *, progress: bool) -> None:
        """Train from the last checkpoint, or from the beginning, to the end; write the model folder."""
        self._resume()
        training = self.training
        with tqdm(total=training.max_steps, initial=self.step, unit="step", disable=not progress) as bar:
            if self.step == 0:
                self._evaluate(bar, _Meter(), everything=False)
            meter, batches = _Meter(), self.stream.start(self.position)
            while self.step < training.max_steps:
                batch, self.position = next(batches)
                with threads(1) if self.training_step.parallel else nullcontext():
                    meter.add(self._update(batch.to(self.device)), int(batch.lengths.sum()))
                self.step += 1
                bar.update()
                last = self.step == training.max_steps
                evaluating = last or self.step % training.eval_every == 0
                saving = last or self.step % training.checkpoint_every == 0
                if evaluating or saving:
                    self.record["seconds"] += meter.seconds
                    self.record["tokens_seen"] += meter.tokens
                    if evaluating:
                        self._evaluate(bar, meter, everything=last)
                    if saving:
                        self._checkpoint()
                    meter = _Meter()
        self._finish()

    def _update(self, batch: Batch) -> float:
        rate = learning_rate(self.step, self.training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.training_step(batch, self.training.seed * 2**32 + self.step).mean
        norm = float(torch.nn.utils.clip_grad_norm_(self.bilm.parameters(), self.training.grad_clip))
        if not math.isfinite(norm):
            raise self._diverged(f"The loss became {loss}")
        self.optimizer.step()
        return loss

    def _evaluate(self, bar: tqdm, meter: "_Meter", *, everything: bool) -> None:
        text = self.heldout if everything else sample(self.heldout, self.training.eval_units)
        result = measure(self.bilm, text)
        row: dict[str, Any] = {"step": self.step, "epoch": self.position.epoch, "heldout": result.to_dict()}
        message = f"step {self.step:>6}  held-out perplexity {result.forward:8.2f} forward "
        message += f"{result.backward:8.2f} backward"
        if meter.losses:
            loss, rate = sum(meter.losses) / len(meter.losses), round(meter.tokens / meter.seconds)
            row |= {"loss": loss, "tokens_per_second": rate}
            message += f"  training {perplexity(loss, 1):8.2f}  {rate:,} units/s"
        self.record["log"].append(row)
        log.info(message) if bar.disable else bar.write(message)

    def _diverged(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{what} at step {self.step}, the last good checkpoint is kept: "
            "lower learning_rate or grad_clip and start again in another folder."
        )

    def _checkpoint(self) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in self.bilm.parameters()):
            raise self._diverged("The weights are no longer finite")
        save_checkpoint(
            self.output / CHECKPOINTS,
            step=self.step,
            position=self.position,
            model=self.bilm,
            optimizer=self.optimizer,
            record={"record": self.record},
            keep=self.training.keep_checkpoints,
        )
        self._write_record()

    def _resume(self) -> None:
        checkpoints = find_checkpoints(self.output / CHECKPOINTS)
        self.output.mkdir(parents=True, exist_ok=True)
        if not checkpoints:
            self._write_record()
            return
        step, position, state = read_checkpoint(checkpoints[-1])
        wanted = json.loads(json.dumps(self.record))
        for key in ("settings", "corpus"):
            if state.get("record", {}).get(key) != wanted[key]:
                what = "other settings" if key == "settings" else "another corpus"
                raise CheckpointError(
                    f"{self.output} holds a run with {what}: name another folder, or delete it."
                )
        load_checkpoint(checkpoints[-1], model=self.bilm, optimizer=self.optimizer)
        self.step, self.position, self.record = step, position, state["record"]
        log.info("continuing at step %d from %s", step, checkpoints[-1])

    def _finish(self) -> None:
        heldout = self.record["heldout"] = self.record["log"][-1]["heldout"]
        origin = {
            "perplexity": {key: round(heldout[key], 2) for key in ("forward", "backward")},
            "pretraining": f"{self.step:,} steps, {self.record['tokens_seen']:,} units",
        }
        config = self.bilm.config
        self.bilm.config = replace(config, meta={**config.meta, **origin})  # for people, see `elmo info`
        dtype = torch.float16 if self.training.weights == "float16" else None
        self.bilm.save(self.output / MODEL, dtype=dtype)
        self._write_record()

    def _write_record(self) -> None:
        data = json.dumps(self.record, ensure_ascii=False, indent=1) + "\n"
        write_atomic(self.output / RUN, data.encode("utf8"))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Run with `n` threads in torch's operations: idle ones would spin while the two directions work."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Meter:
    """Losses and speed since the last measurement."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.tokens = 0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def add(self, loss: float, tokens: int) -> None:
        self.losses.append(loss)
        self.tokens += tokens


def make_optimizer(bilm: BiLM, training: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices, none on biases."""
    trained = [p for p in bilm.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.99))


def learning_rate(step: int, training: TrainingSettings) -> float:
    """Linear warm-up, then linear decay to zero at max_steps."""
    warm = (step + 1) / (training.warmup_steps + 1)
    left = (training.max_steps - step) / max(1, training.max_steps - training.warmup_steps)
    return training.learning_rate * min(warm, left, 1.0)


def sample(text: list[list[str]], units: int) -> list[list[str]]:
    """Sentences spread evenly over `text` that hold about `units` units."""
    total = sum(map(len, text))
    return text[:: max(1, total // units)]
