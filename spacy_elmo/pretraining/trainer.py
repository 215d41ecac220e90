"""The pretraining loop, everything it needs in plain sight: the same for one process and for many."""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..bilm import store
from ..bilm.atomic import FolderKind, check_apart, check_replaceable, locked, write_atomic
from ..bilm.config import ConfigError
from ..bilm.embed import Batch
from ..bilm.model import BiLM
from ..bilm.seeds import derive_seed
from .batches import BatchStream, Position
from .beginning import build_model
from .budget import find_batch_tokens
from .checkpoint import (
    CheckpointError,
    find_checkpoints,
    load_model,
    load_state,
    read_checkpoint,
    save_checkpoint,
)
from .heldout import measure, read_heldout, sample
from .memory import bound_caches
from .preemption import Notice, notice
from .schedule import learning_rate, make_optimizer, make_step
from .seeing import Meter, Watcher
from .settings import Settings
from .shards import Corpus
from .updates import Updates
from .world import World, join

log = logging.getLogger("spacy_elmo")

RUN, MODEL, BEST, CHECKPOINTS = "run.json", "model", "best", "checkpoints"
RUN_FOLDER = FolderKind(
    name="a pretraining run",
    marker=RUN,
    kind="spacy-elmo.run",
    keys=frozenset({"settings", "corpus", "log", "tokens_seen"}),
    files=(),  # it is never replaced as a whole
)


def pretrain(settings: Settings, output: Path, *, progress: bool = False) -> dict[str, Any]:
    """Train a biLM as `settings` say and write it to `output`/model.

    `output` also holds run.json (settings and every measurement) and checkpoints/. A run that was
    interrupted goes on from its last checkpoint. Under torchrun this is one of several processes that
    train together; `output` and the corpus are in a place that all of them see. SIGTERM makes a
    checkpoint and ends the process. Returns the content of run.json.
    """
    if settings.paths.corpus is None or settings.paths.heldout is None:
        raise ConfigError("Pretraining needs [paths] corpus and heldout: give both.")
    check_replaceable(output, RUN_FOLDER, marker_only=True)
    parent = settings.paths.init_from
    parents = [] if parent is None else [store.place_of(parent)]
    check_apart([settings.paths.corpus, settings.paths.heldout, *parents], output)
    bound_caches()
    with join() as world, notice() as sigterm:
        with locked(output, RUN_FOLDER.name) if world.leads else nullcontext():
            trainer = _begin(settings, output, world)
            watcher = Watcher(output, settings.training, world, step=trainer.step, progress=progress)
            with closing(watcher):
                complete = trainer.run(sigterm, watcher)
            world.wait()
        if not complete:
            sigterm.obey()
    return trainer.record


def _begin(settings: Settings, output: Path, world: World) -> "Trainer":
    """Make the trainer of a new run, or of one that goes on from its last checkpoint."""
    assert settings.paths.corpus is not None
    assert settings.paths.heldout is not None
    corpus = Corpus(settings.paths.corpus)
    if world.leads:
        corpus.verify()
    torch.manual_seed(derive_seed(settings.training.seed, "weights"))
    checkpoints = find_checkpoints(output / CHECKPOINTS)
    state = _check_same_run(settings, corpus, output, checkpoints[-1]) if checkpoints else None
    bilm = load_model(checkpoints[-1]) if checkpoints else build_model(corpus, settings)
    world.share_weights(bilm)
    heldout = read_heldout(bilm, Path(settings.paths.heldout))
    trainer = Trainer(bilm, corpus, heldout, settings, output, world)
    if state is not None:
        trainer.resume(checkpoints[-1], state)
    return trainer


def _check_same_run(settings: Settings, corpus: Corpus, output: Path, checkpoint: Path) -> dict[str, Any]:
    """The state of a checkpoint, if it is one of this run."""
    _, _, state = read_checkpoint(checkpoint)
    record = state.get("record", {})
    other = settings.difference(record.get("settings", {}))
    what = f"other settings ({other})" if other else None
    if record.get("corpus") != corpus.digest:
        what = "another corpus"
    if what:
        raise CheckpointError(f"{output} holds a run with {what}: name another folder, or delete it.")
    return state


class Trainer:
    """A pretraining run: model, data, optimiser, and the record of what was measured."""

    def __init__(
        self,
        bilm: BiLM,
        corpus: Corpus,
        heldout: list[list[str]],
        settings: Settings,
        output: Path,
        world: World,
    ):
        self.settings, self.corpus, self.heldout = settings, corpus, heldout
        self.output, self.world = output, world
        training = self.training = settings.training
        self.bilm = bilm.to(world.device).train()
        self.training_step = make_step(bilm, training)
        self.optimizer = make_optimizer(bilm, training)
        self.updates = Updates(self.training_step, self.optimizer, training, world)
        self.step, self.position, self.meter = 0, Position(), Meter()
        self.record: dict[str, Any] = {
            "kind": RUN_FOLDER.kind,
            "settings": settings.to_dict(),
            "corpus": corpus.digest,
            "parameters": sum(p.numel() for p in bilm.parameters()),
            "vocab": len(bilm.vocab),
            "batch_tokens": training.batch_tokens,
            "tokens_seen": 0,
            "seconds": 0.0,
            "log": [],
        }

    def resume(self, checkpoint: Path, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, whose model this one's is."""
        self.step, self.position, _ = read_checkpoint(checkpoint)
        load_state(checkpoint, optimizer=self.optimizer, world=self.world)
        self.meter = Meter(**state["meter"])
        before = state["record"]["settings"]["training"]["max_steps"]
        self.record = {**state["record"], "settings": self.settings.to_dict()}
        log.info("continuing at step %d from %s", self.step, checkpoint)
        if before != self.training.max_steps:
            was = learning_rate(self.step, replace(self.training, max_steps=before))
            log.info(
                "max_steps was %d and is %d now: the learning rate goes on at %.2g, where it was %.2g, and "
                "falls to zero at the new end",
                before,
                self.training.max_steps,
                learning_rate(self.step, self.training),
                was,
            )

    def run(self, sigterm: Notice, watcher: Watcher) -> bool:
        """Train to the end and write the model folder; False: SIGTERM came, and a checkpoint was made."""
        self.output.mkdir(parents=True, exist_ok=True)
        if self.record["batch_tokens"] == "auto":
            self.record["batch_tokens"] = find_batch_tokens(self.training_step, self.world)
        self._write_record()
        if not self.record["log"]:
            self._evaluate(watcher, everything=False)
        training, batches = self.training, self._batches()
        following = next(batches)
        while not self._is_done():
            began = time.monotonic()
            batch, self.position = following
            rate = learning_rate(self.step, training)
            with threads(1) if self.training_step.parallel else nullcontext():
                update = self.updates.start(batch, rate, self.step)
                following = next(batches)  # while a GPU is at work
                loss, norm, stop = self.updates.result(update, sigterm)
            if not math.isfinite(norm):  # the weights are spoilt, and are written nowhere
                raise self._diverged(f"The loss became {loss}")
            self.step += 1
            done = Meter(loss, 1, update.tokens, time.monotonic() - began)
            self.meter.add(done)
            self.record["tokens_seen"] += done.tokens
            self.record["seconds"] += done.seconds
            watcher.step(self.step, done, rate=rate, norm=norm)
            last = self.step == training.max_steps
            if last or self.step % training.eval_every == 0:
                self._evaluate(watcher, everything=last)
            if stop or self._is_done() or self.step % training.checkpoint_every == 0:
                self._checkpoint()
            if stop and not self._is_done():
                log.info("SIGTERM: checkpoint written at step %d, the same command goes on", self.step)
                return False
        self._finish(watcher)
        return True

    def _is_done(self) -> bool:
        return self.step >= self.training.max_steps or self._lost_patience()

    def _lost_patience(self) -> bool:
        """Whether the last `patience` measurements were no better than the best before them."""
        best = self.record.get("best")
        return best is not None and 0 < self.training.patience <= best["since"]

    def _batches(self) -> Iterator[tuple[Batch, Position]]:
        config = self.bilm.config
        stream = BatchStream(
            self.corpus,
            self.bilm.vocab,
            batch_tokens=self.record["batch_tokens"],
            seed=self.training.seed,
            max_characters=config.max_characters if config.encoder != "table" else None,
            share=(self.world.rank, self.world.size),
        )
        return stream.start(self.position)

    def _evaluate(self, watcher: Watcher, *, everything: bool) -> None:
        text = self.heldout if everything else sample(self.heldout, self.training.eval_units)
        result = measure(self.bilm, text, world=self.world)
        row = {"step": self.step, "epoch": self.position.epoch, "heldout": result.to_dict()}
        self.record["log"].append({**row, **self.meter.row(self.training)})
        self.meter = Meter()
        if self.training.patience and not everything:
            self._compare((result.forward * result.backward) ** 0.5)
        watcher.measured(self.record)

    def _compare(self, perplexity: float) -> None:
        """Keep the weights if they are the best so far."""
        best = self.record.get("best")
        if best is None or perplexity < best["perplexity"]:
            self.record["best"] = {"step": self.step, "perplexity": perplexity, "since": 0}
            if self.world.leads:
                self.bilm.save(self.output / BEST)
        else:
            best["since"] += 1

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
            record={"record": self.record, "meter": self.meter.to_dict()},
            keep=self.training.keep_checkpoints,
            world=self.world,
        )
        self._write_record()

    def _finish(self, watcher: Watcher) -> None:
        """Write the model: the last weights, or the best ones if the run was stopped early."""
        steps = self.step
        if steps < self.training.max_steps:
            steps = self.record["best"]["step"]
            self.world.wait()  # until the leading process has written them
            self.bilm.load_state_dict(store.load(self.output / BEST).state_dict())
            log.info("no better since step %d: its weights are the model", steps)
            result = measure(self.bilm, self.heldout, world=self.world).to_dict()
            self.record["log"].append({"step": steps, "epoch": self.position.epoch, "heldout": result})
            watcher.measured(self.record)
        heldout = self.record["heldout"] = self.record["log"][-1]["heldout"]
        origin = {
            "perplexity": {key: round(heldout[key], 2) for key in ("forward", "backward")},
            "pretraining": f"{steps:,} steps, {self.record['tokens_seen']:,} units",
        }
        config = self.bilm.config
        self.bilm.config = replace(config, meta={**config.meta, **origin})  # for people, see `elmo info`
        dtype = torch.float16 if self.training.weights == "float16" else None
        if self.world.leads:
            self.bilm.save(self.output / MODEL, dtype=dtype)
        self._write_record()

    def _write_record(self) -> None:
        if self.world.leads:
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
