"""Each page of docs/cookbook is a script: its files, commands and Python are run, from above to below."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spacy_elmo.cli.register import spacy_app

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "cookbook").glob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
FEW_STEPS = "--training.max_steps 2 --training.eval_frequency 2 --training.dropout 0.1"
FILES = {
    "data.jsonl": json.dumps({"text": "李明在北京大学读书。", "entities": [[0, 2, "PER"], [3, 7, "ORG"]]})
    + "\n",
    "data.bmes": "李 B-PER\n明 E-PER\n在 O\n北 B-ORG\n京 M-ORG\n大 M-ORG\n学 E-ORG\n读 O\n书 O\n。 O\n\n",
    "texts.txt": "樱花开了。\n他花了钱。\n花很美。\n",
}
"""Files that the reader of a page has."""


def prepare(page: str, folder: Path) -> None:
    """Skip a page that needs what is not there, and put its files into the folder."""
    for name, content in FILES.items():
        (folder / name).write_text(content * 10, encoding="utf8")
    settings = re.match(r"<!-- test: (.*) -->", page)
    for setting in settings[1].split("; ") if settings else []:
        kind, *words = setting.split()
        if kind == "needs":
            for name in words:
                pytest.importorskip(name, reason=f"{name} is not installed")
        else:
            source, name = words
            if not (ROOT / source).exists():
                pytest.skip(f"{source} is not there")
            shutil.copy(ROOT / source, folder / name)


def run(command: str) -> None:
    """A command line of spaCy in this process; others, such as pip's, are left out."""
    name, *arguments = shlex.split(command)
    if name != "spacy":
        return
    if arguments[0] == "train":
        arguments += FEW_STEPS.split()
    if arguments[:2] == ["elmo", "pretrain"]:
        arguments += ["--training.max_steps", "2"]
    result = CliRunner().invoke(spacy_app, arguments)
    assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_runs(path, tmp_path, monkeypatch):
    page = path.read_text(encoding="utf8")
    prepare(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "cookbook"}
    for language, title, code in BLOCK.findall(page):
        if title:
            Path(title).write_text(code, encoding="utf8")
        if language == "python":
            exec(compile(code, str(path), "exec"), names)
        elif language == "sh":
            for command in code.replace("\\\n", " ").splitlines():
                run(command)


def test_columns_become_json_lines(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "cookbook" / "ten-minutes.md").read_text(encoding="utf8")
    monkeypatch.chdir(tmp_path)
    (script,) = [code for _, title, code in BLOCK.findall(page) if title == "columns.py"]
    expected = [[0, 2, "PER"], [2, 3, "PER"], [4, 5, "LOC"], [5, 7, "LOC"]]
    for labels in ("BESOSBE", "BEBOBBI", "BIBOBBI", "BLUOUBL"):  # BMES or BIOES, mixed, BIO, BILUO
        kinds = ("PER",) * 4 + ("LOC",) * 3
        rows = [
            f"{c} {label}" if label == "O" else f"{c} {label}-{kind}"
            for c, label, kind in zip("李明王在京上海", labels, kinds, strict=True)
        ]
        Path("data.bmes").write_text("\n".join(rows) + "\n\n", encoding="utf8")
        exec(compile(script, "columns.py", "exec"), {})
        (line,) = Path("data.jsonl").read_text(encoding="utf8").splitlines()
        assert json.loads(line) == {"text": "李明王在京上海", "entities": expected}


def test_the_index_has_every_page():
    index = (ROOT / "docs" / "cookbook" / "index.md").read_text(encoding="utf8")
    linked = re.findall(r"\]\(([\w-]+\.md)\)", index + (ROOT / "docs/cookbook/serving.md").read_text("utf8"))
    assert {path.name for path in PAGES} == {"index.md", *linked}
