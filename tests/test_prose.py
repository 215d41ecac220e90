"""Docstrings, comments, messages and pages are plain English: standard terms, subject, verb, object."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNITS = (
    "second|minute|unit|sentence|word|process|character|batch|step|run|token|core|row|line|file|thread|GPU"
)
COUNTED = (
    "units|tokens|words|characters|bytes|times|sentences|lines|steps|docs|[KMG]i?B|bits|vectors|operations"
)

# Habits that CONTRIBUTING forbids, with a pattern of each.
HABITS = {
    '"is no X": write "is not an X"': (r"(?<![Tt]here )\b(?:is|are|was|were) no (?!more|worse|\w+er\b)"),
    '"behind", "beside": write "after", "next to", "in addition to"': r"\b(?:behind|besides?)\b(?!:)",
    '"anew": write "again"': r"\banew\b",
    '"units a second": write "units per second"': rf"\b(?:{COUNTED}) an? (?:{UNITS})\b",
    '"in the mean": write "on average"': r"\bin the mean\b",
    '"goes on": write "continues"': r"\b(?:go|goes|went|going) on(?= |[.,;:)]|$)",
    '"shall": write "must" or "should"': r"\bshall\b",
    "an actor without a name: name it": r"\b(?:[Ww]hoever|who (?:listens?|reads|wants|looks?|held|comes))\b",
    '"learnt": write "learned"': r"\blearnt\b",
    '"The same of ...": name the thing': r"(?:^|[.:] )(?:The same (?:of|for|with|without)\b|See above)",
    '"Seen are ...": subject, verb, object': (
        r"(?:^|[.;] )(?:Seen|Kept|Made|Shown|Found|Left) (?:is|are|was|were) "
    ),
    '"So are ...": subject, verb, object': r"(?:^|[.;] )So (?:is|are|do|does|has|have) ",
    "a private word: write the standard term": (
        r"\b(?:crew|shel(?:f|ves)|currency|hasten\w*|spoilt|played again|a world of one|is a room|likewise)\b"
    ),
    '"the peer": write "the baseline"': r"\b(?:the|a|our) peer\b",
    "a number without a baseline in its clause": (
        r"\b(?:takes?|costs?) (?:an?|two|three|four|nine) (?:tenth|fifth|quarter|third|seventh)s?\b(?! of)"
    ),
}
# Words that a docstring, a comment or a paragraph may not begin with.
BEGINNING = re.compile(r"(?:What|Whoever|Those|Of|As|Nothing) (?!if\b)")
# Words that the docstring of a function may not begin with: ruff's D401 finds other forms of verbs.
NO_VERB = re.compile(
    r"(?:The|A|An|What|Whether|Those|Of|As|All|Each|Every|One|Both|Where|Which|How|Nothing|See)\b|[^A-Z`]"
)

PYTHON = sorted(
    {
        *ROOT.glob("*.py"),
        *ROOT.glob("spacy_elmo/**/*.py"),
        *ROOT.glob("projects/**/*.py"),
        *ROOT.glob("benchmarks/**/*.py"),
        *ROOT.glob("configs/*.py"),
        *ROOT.glob("tests/**/*.py"),
    }
)
PROGRAMS = [path for path in PYTHON if ROOT / "tests" not in path.parents]
CPP = sorted(  # and JavaScript, which has the same comments
    path
    for folder in ("spacy_elmo/kernels/native", "projects/browser")
    for end in ("*.h", "*.cc", "*.cpp", "*.js")
    for path in (ROOT / folder).rglob(end)
)
PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("projects/**/*.md"),
        *ROOT.glob("spacy_elmo/**/*.md"),
    }
)
SETTINGS = sorted(
    {
        *ROOT.glob("configs/*.cfg"),
        *ROOT.glob("projects/*/*.yml"),
        *ROOT.glob(".github/**/*.yml"),
        ROOT / "setup.cfg",
        ROOT / "pyproject.toml",
    }
)


def docstrings(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line, text, and whether it belongs to a function, of each docstring and attribute docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        body = getattr(node, "body", None)
        for i, child in enumerate(body if isinstance(body, list) else ()):
            if (
                isinstance(child, ast.Expr)
                and isinstance(child.value, ast.Constant)
                and isinstance(child.value.value, str)
            ):
                function = isinstance(node, ast.FunctionDef) and i == 0
                is_property = function and any("property" in ast.unparse(d) for d in node.decorator_list)
                yield child.lineno, child.value.value, function and not is_property


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of the comments of a Python file; consecutive lines are one comment."""
    begin, last, text = 0, -1, ""
    source = io.StringIO(path.read_text(encoding="utf8"))
    for token in tokenize.generate_tokens(source.readline):
        if token.type == tokenize.COMMENT:
            own_line = token.line.lstrip().startswith("#")
            if own_line and token.start[0] == last + 1:
                text += " " + token.string.lstrip("# ")
            else:
                if text:
                    yield begin, text
                begin, text = token.start[0], token.string.lstrip("# ")
            last = token.start[0] if own_line else -1
    if text:
        yield begin, text


def marked(path: Path, mark: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of comments that begin with a mark; consecutive lines are one comment."""
    begin, last, text = 0, -1, ""
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1):
        _, found, comment = line.partition(mark)
        if not found:
            continue
        if number == last + 1:
            text += " " + comment.strip()
        else:
            if text:
                yield begin, text
            begin, text = number, comment.strip()
        last = number
    if text:
        yield begin, text


def paragraphs(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of the paragraphs, list items and table rows of a page; no code, no headings."""
    text = path.read_text(encoding="utf8")
    text = re.sub(r"^(```|~~~).*?^\1", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)
    begin, lines = 0, []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        starts = re.match(r"\s*(?:[-*] |\d+\. |\||#|>)", line)
        if (not line.strip() or starts) and lines:
            yield begin, " ".join(lines)
            lines = []
        if line.strip() and not line.startswith("#"):
            begin = begin if lines else number
            lines.append(re.sub(r"`[^`]*`|\]\([^)]*\)", "X", line.strip(" |-*#>")))
    if lines:
        yield begin, " ".join(lines)


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of the strings of three words or more: errors, warnings, logs, help of commands."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    others = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    others |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr | ast.Constant) or id(node) in others:
            continue
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts)
        if len(text.split()) >= 3:
            yield node.lineno, text


def habits(text: str) -> Iterator[str]:
    """Yield the habits in a text."""
    plain = " ".join(re.sub(r"``?[^`]*``?", "X", text).split())
    for habit, pattern in HABITS.items():
        if match := re.search(pattern, plain):
            yield f"{habit}: ...{plain[max(0, match.start() - 30) : match.end() + 20]}..."
    if BEGINNING.match(plain):
        yield f"begin with a verb or a noun: {plain[:50]}..."


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that people read."""
    if path.suffix == ".py":
        yield from ((line, text) for line, text, _ in docstrings(path))
        yield from comments(path)
    elif path.suffix == ".md":
        yield from paragraphs(path)
    else:
        yield from marked(path, "//" if path in CPP else "#")


@pytest.mark.parametrize(
    "path", [*PYTHON, *CPP, *PAGES, *SETTINGS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_plain_english(path):
    found = [f"{path}:{line}: {habit}" for line, text in texts(path) for habit in habits(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_are_plain_english(path):
    found = [f"{path}:{line}: {habit}" for line, text in messages(path) for habit in habits(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_of_functions_begin_with_a_verb(path):
    found = [
        f"{path}:{line}: {text.strip()[:60]}"
        for line, text, function in docstrings(path)
        if function and NO_VERB.match(text.strip())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "This is no model folder.",
        "It is made anew.",
        "The row behind the padding.",
        "12,000 units a second.",
        "The lengths are 25 in the mean.",
        "The run goes on.",
        "Whoever wants it.",
        "Seen are new tensors.",
        "What is made of layers.",
        "The same of others.",
        "They are twice as fast as the peer.",
        "w and gamma are learnt.",
    ],
)
def test_habits_are_found(text):
    assert list(habits(text))


@pytest.mark.parametrize(
    "text",
    [
        "There is no model folder.",
        "It is no longer used.",
        "Return the vectors of tokens.",
        "One file per process.",
        "A word is a unit.",
    ],
)
def test_plain_sentences_pass(text):
    assert not list(habits(text))
