"""Log the metrics of a run: progress bar or lines, TensorBoard events, and the learning curve."""

import logging
import time
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..atomic_io import FolderKind, write_atomic
from ..inference.bilm import BiLM
from ..modeling.loss import perplexity
from . import memory
from .config import PretrainConfig, TrainingConfig
from .data.corpus import Corpus
from .data.unit_labels import UnitLabels
from .distributed import DistributedContext

log = logging.getLogger("spacy_elmo")

EVENTS, CURVE = "events", "curve.png"


@dataclass(frozen=True)
class StepResult:
    """Results of a step: means and sums over all processes."""

    loss: float
    """Negative log-likelihood per target, in nats: the mean over both directions."""
    grad_norm: float
    """Norm of the gradient before clipping."""
    tokens: int
    """Units of the batch, boundaries included."""
    seconds: float
    stop: bool
    """Whether a process received SIGTERM."""
    label_nll: float = 0.0
    """Negative log-likelihood of all labels of the batch, in nats."""
    n_labels: int = 0
    """Units of the batch that have a label."""


@dataclass
class RunningMetrics:
    """Sums over the steps since the last evaluation."""

    loss: float = 0.0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    label_nll: float = 0.0
    n_labels: int = 0

    def add(self, other: "RunningMetrics") -> None:
        """Add the sums of another."""
        self.loss += other.loss
        self.steps += other.steps
        self.tokens += other.tokens
        self.seconds += other.seconds
        self.label_nll += other.label_nll
        self.n_labels += other.n_labels

    def row(self, training: TrainingConfig) -> dict[str, Any]:
        """Return the mean loss and the units per second. A sampled softmax has no perplexity."""
        if not self.steps:
            return {}
        name = "loss" if training.softmax == "full" else "sampled_loss"
        rate = round(self.tokens / self.seconds) if self.seconds else 0
        row = {name: self.loss / self.steps, "tokens_per_second": rate}
        if self.n_labels:
            row["label_loss"] = self.label_nll / self.n_labels
        return row

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def new_record(
    kind: FolderKind, bilm: BiLM, settings: PretrainConfig, *, corpus: Corpus, labels: UnitLabels | None
) -> dict[str, Any]:
    """Return the content of run.json before the first step."""
    return {
        "kind": kind.kind,
        "settings": settings.to_dict(),
        "corpus": corpus.digest,
        **({} if labels is None else {"labels": labels.digest}),
        "parameters": sum(p.numel() for p in bilm.parameters()),
        "vocab": len(bilm.vocab),
        "batch_tokens": settings.training.batch_tokens,
        "tokens_seen": 0,
        "seconds": 0.0,
        "log": [],
    }


class TrainingLogger:
    """Logger of training metrics (progress bar, TensorBoard, curve). A no-op except on rank 0."""

    def __init__(
        self,
        output: Path,
        training: TrainingConfig,
        context: DistributedContext,
        *,
        step: int,
        progress: bool,
    ):
        self.output, self.training, self.device = output, training, context.device
        self.active = context.is_main
        self._began, self._first = time.monotonic(), step
        self._metrics = RunningMetrics()
        self._events: Any = None
        self._bar = tqdm(
            total=training.max_steps, initial=step, unit="step", disable=not (progress and self.active)
        )
        memory.reset_peak(self.device)

    def step(self, number: int, done: RunningMetrics, *, rate: float, norm: float) -> None:
        """Log a step. number: steps so far. rate: learning rate. norm: norm of the gradient."""
        self._metrics.add(done)
        self._bar.update()
        if not self.active or number % self.training.log_every:
            return
        row = self._metrics.row(self.training)
        gigabytes = memory.peak_bytes(self.device) / 1e9
        self._scalars(number, {**row, "learning_rate": rate, "gradient_norm": norm, "memory_gb": gigabytes})
        self._metrics = RunningMetrics()
        left = (time.monotonic() - self._began) / (number - self._first) * (self.training.max_steps - number)
        text = f"{format_metrics(row)}  {gigabytes:.1f} GB"
        if self._bar.disable:
            log.info("step %6d  %s  %s left", number, text, tqdm.format_interval(left))
        else:
            self._bar.set_postfix_str(text)

    def log_validation(self, record: dict[str, Any]) -> None:
        """Log an evaluation: the last row of the record's log."""
        if not self.active:
            return
        row = record["log"][-1]
        result = row["dev"]
        message = f"step {row['step']:>6}  held-out perplexity {result['forward']:8.2f} forward "
        message += f"{result['backward']:8.2f} backward  {format_metrics(row)}".rstrip()
        if self._bar.disable:
            log.info(message)
        else:
            self._bar.write(message)
        heldout = {f"dev_{key}": result[key] for key in ("forward", "backward")}
        self._scalars(row["step"], heldout)
        draw_curve(record, self.output / CURVE)

    def close(self) -> None:
        """Close the progress bar and the event files."""
        self._bar.close()
        if self._events:
            self._events.close()

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        if self._events is None:
            self._events = _open_events(self.output / EVENTS, self._first)
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)


def format_metrics(row: dict[str, Any]) -> str:
    """Format the loss and speed of a row, with the perplexity if the softmax is full."""
    parts = []
    if "loss" in row:
        parts.append(f"loss {row['loss']:.3f}  perplexity {perplexity(row['loss'], 1):.2f}")
    if "sampled_loss" in row:
        parts.append(f"sampled loss {row['sampled_loss']:.3f}")
    if "label_loss" in row:
        parts.append(f"label loss {row['label_loss']:.3f}")
    if "tokens_per_second" in row:
        parts.append(f"{row['tokens_per_second']:,} units/s")
    return "  ".join(parts)


def _open_events(folder: Path, step: int) -> Any:
    """Return a writer of TensorBoard's event files, or False if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("no TensorBoard files are written: pip install 'spacy-elmo[monitoring]'")
        return False
    return SummaryWriter(str(folder), purge_step=step)  # a continued run replaces the steps that it repeats


def draw_curve(record: dict[str, Any], path: Path) -> None:
    """Draw perplexity over steps as a picture. Does nothing if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    plot_perplexity(figure.subplots(), {"": record})
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomic(path, picture.getvalue())


def plot_perplexity(axes: Any, records: dict[str, dict[str, Any]]) -> None:
    """Draw held-out perplexity by step into matplotlib's axes; of a single run that of training, too.

    records: contents of run.json by the name of the run.
    """
    from matplotlib.ticker import LogLocator

    for i, (name, record) in enumerate(records.items()):
        rows = record["log"]
        for side, line in (("forward", "-"), ("backward", "--")):
            label = f"{name}, {side}" if len(records) > 1 else f"held-out, {side}"
            points = [row["step"] for row in rows], [row["dev"][side] for row in rows]
            axes.plot(*points, line, color=f"C{i}", marker="." if len(rows) < 20 else "", label=label)
        trained = [(row["step"], perplexity(row["loss"], 1)) for row in rows if "loss" in row]
        if trained and len(records) == 1:
            axes.plot(*zip(*trained, strict=True), ":", color="C1", label="training, with dropout")
    axes.set(xlabel="step", ylabel="perplexity", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter("")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
