"""`spacy elmo nearest`: find occurrences of a word in the same sense."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

import typer
from wasabi import msg

from ..errors import ElmoError
from .app import command
from .nearest_html import make_page
from .pictures import check_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..inference.bilm import BiLM
    from ..pipeline.concordance import Occurrence, TopK
    from ..pretraining.data.segmentation import Segmenter

BATCH = 256  # sentences that are encoded together
CONTEXT = 30  # terminal columns on each side of the word; a Chinese character takes two


@command("nearest")
def nearest(
    sentence: str = typer.Argument(..., help="A sentence"),
    word: str = typer.Argument(..., help="A word in it, of one character or more"),
    texts: list[Path] = typer.Argument(
        ..., help="UTF-8 text files or folders to search: .txt, .jsonl, also .gz, .xz, .zst"
    ),
    model: Path | None = typer.Option(None, help="A model folder; default: the bundled model"),
    n: int = typer.Option(10, "-n", min=1, help="Number of occurrences to show"),
    layer: str | None = typer.Option(None, help='Layer: 0, 1, 2 or "mean"; default: the top layer'),
    occurrence: int | None = typer.Option(
        None, min=1, help="If the word occurs several times in the sentence: which one, from 1"
    ),
    any_token: bool = typer.Option(False, "--all-tokens", help="Compare with every token of the texts"),
    segmenter: str | None = typer.Option(None, help='For --all-tokens: "char" (default), "jieba", "pkuseg"'),
    sentence_weight: float = typer.Option(0.0, min=0.0, help="Weight of the mean of the other tokens"),
    html: Path | None = typer.Option(None, "--html", help="Also write them to this page, NAME.html"),
) -> None:
    """Show the occurrences of a word that are nearest to the one in the sentence, by cosine.

    The word is searched as a string, so the result does not depend on a segmenter.
    """
    from ..atomic_io import check_apart, write_atomic
    from ..batching import minibatch_by_size
    from ..inference.loading import read_config, resolve_model_path
    from ..pipeline.architectures import build_bilm_v1
    from ..pipeline.concordance import TopK, occurrences, search_vectors
    from ..pipeline.layers.bilm import get_bilm_shim
    from ..pretraining.data.segmentation import make_segmenter
    from ..pretraining.data.text_files import find_files

    if html is not None:
        check_file(html, (".html",))
        check_apart(texts, html)
    folder = resolve_model_path(model)
    config = read_config(folder)
    fold, of_words = config.fold_fullwidth, config.units == "word"
    if segmenter is not None and (of_words or not any_token):
        raise ElmoError("--segmenter needs --all-tokens and a model of characters: leave it out.")
    index = _layer_index(layer, config.total_layers - 1)
    matches = list(chain.from_iterable(occurrences(sentence, word, fold_fullwidth=fold)))
    query_occurrence = _choose(matches, word, occurrence)
    files = find_files(texts)
    units = "char" if not of_words and segmenter in (None, "char") else "word"
    segment = make_segmenter(units, segmenter or config.segmenter, config.lang, fold_fullwidth=fold)
    between = segment if of_words else None
    bilm = build_bilm_v1(folder)
    _warn_of_unknown(get_bilm_shim(bilm).bilm, word)
    vectors_of = partial(search_vectors, bilm, layer=index, sentence_weight=sentence_weight, segment=between)
    (query,) = vectors_of([[query_occurrence]])
    result = TopK(query, n, query_occurrence)
    candidates = _iter_candidates(files, word, segment if any_token else None, fold_fullwidth=fold)
    for batch in minibatch_by_size(candidates, BATCH, lambda _: 1):
        result.add(list(chain.from_iterable(batch)), vectors_of(batch))
    summary = f"{_summary(result, word, texts, any_token=any_token)}, by {_kind(index, sentence_weight)}"
    summary += f" of {folder.name}"
    _show(query_occurrence, result, summary)
    if html is not None:
        write_atomic(html, make_page(query_occurrence, result.best, word, summary).encode("utf8"))
        msg.good(str(html))


def _iter_candidates(
    files: list[Path], word: str, segment: "Segmenter | None", *, fold_fullwidth: bool
) -> "Iterator[list[Occurrence]]":
    """Yield what is compared, sentence by sentence: occurrences of the word, or all tokens of a segmenter."""
    from ..pipeline.concordance import iter_tokens, occurrences
    from ..pretraining.data.text_files import read_files

    for line in read_files(files):
        if segment is None:
            yield from occurrences(line, word, fold_fullwidth=fold_fullwidth)
        else:
            yield from iter_tokens(line, segment, fold_fullwidth=fold_fullwidth)


def _summary(result: "TopK", word: str, texts: list[Path], *, any_token: bool) -> str:
    """Say how many occurrences were compared. Raises an ElmoError where there was none."""
    source = str(texts[0]) if len(texts) == 1 else f"{len(texts)} inputs"
    if not result.best:
        other = "no other token" if any_token else f'no "{word}" except the one in the sentence'
        raise ElmoError(f"{source} has {other}: give another text.")
    kind = "tokens" if any_token else "occurrences"
    return f"{len(result.best)} nearest of {result.compared:,} {kind} in {source}"


def _kind(index: int | None, sentence_weight: float) -> str:
    """Say by which vectors occurrences were compared."""
    layer = "the mean of the layers" if index is None else f"layer {index}"
    return f"{layer} and {sentence_weight:g} times the other tokens" if sentence_weight else layer


def _show(query_occurrence: "Occurrence", result: "TopK", summary: str) -> None:
    print(f"{'':6}  {_in_context(query_occurrence)}")
    for neighbour in result.best:
        print(f"{neighbour.similarity:6.3f}  {_in_context(neighbour.occurrence)}")
    print(summary)


def _layer_index(layer: str | None, top: int) -> int | None:
    """Return the index of a layer, or None for the mean. top: index of the highest layer, the default."""
    known = [str(i) for i in range(top + 1)]
    if layer is None or layer in known:
        return top if layer is None else int(layer)
    if layer != "mean":
        raise ElmoError(f'--layer {layer} is not known: use {", ".join(known)} or "mean".')
    return None


def _choose(found: "list[Occurrence]", word: str, number: int | None) -> "Occurrence":
    """Return the occurrence that the user means. number: from 1; None if the user gave none."""
    if not found:
        raise ElmoError(f'"{word}" does not occur in the sentence: give a word that does.')
    times = "once" if len(found) == 1 else f"{len(found)} times"
    if number is None and len(found) > 1:
        raise ElmoError(
            f'"{word}" occurs {times} in the sentence: choose one, --occurrence 1 to {len(found)}.'
        )
    if number is not None and number > len(found):
        raise ElmoError(
            f'"{word}" occurs {times} in the sentence: give an --occurrence of at most {len(found)}, not '
            f"{number}."
        )
    return found[(number or 1) - 1]


def _warn_of_unknown(bilm: "BiLM", word: str) -> None:
    """Warn of units that the model does not know: it reads them as `<unk>`, so only the contexts count."""
    units = [word] if bilm.config.units == "word" else [c for c in word if not c.isspace()]
    unknown = [unit for unit in units if unit not in bilm.vocab]
    if unknown:
        msg.warn(f"The model does not know {' '.join(unknown)}: it compares only the contexts.")


def _in_context(occurrence: "Occurrence") -> str:
    """Return a line with the word in the middle and as much context as fits, so that words are aligned."""
    sentence, start, end = occurrence.sentence, occurrence.start, occurrence.end
    before = _fit(sentence[:start][::-1])[::-1]
    padding = " " * (CONTEXT - sum(map(_columns, before)))
    return f"{padding}{before}  {sentence[start:end]}  {_fit(sentence[end:])}"


def _fit(text: str) -> str:
    """Return as much of the beginning of `text` as fits into CONTEXT columns."""
    fitting, columns_left = "", CONTEXT
    for character in text:
        columns_left -= _columns(character)
        if columns_left < 0:
            break
        fitting += character
    return fitting


def _columns(character: str) -> int:
    """Return the width of a character in a terminal."""
    return 2 if east_asian_width(character) in "WF" else 1
