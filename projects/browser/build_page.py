"""Build a page that compares the vectors of a word in two sentences in the browser, without a network.

It needs emscripten (em++). The folder then has `index.html`, one file that contains everything, and
`encoder.js`, `elmo.wasm` and `elmo.safetensors`, the same parts for other pages and for Node.js.
"""

import argparse
import base64
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from export_model import export_model

import spacy_elmo
from spacy_elmo.atomic_io import write_atomic
from spacy_elmo.cli.pictures import check_file
from spacy_elmo.errors import ElmoError, OutputError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NATIVE = ROOT / "spacy_elmo" / "kernels" / "native"
COMPILER = "em++"
# Without -msimd128 the kernel has a fifth of the speed. -ffp-contract: as in setup.py.
FLAGS = ["-O2", "-msimd128", "-std=c++17", "-ffp-contract=off", "-Wno-unused-function"]
# A module without emscripten's JavaScript: encoder.js gives it the two functions that it imports.
LINKING = [
    "-sSTANDALONE_WASM",
    "--no-entry",
    "-sEXPORTED_FUNCTIONS=_malloc,_free",
    "-sINITIAL_MEMORY=64MB",
    "-sALLOW_MEMORY_GROWTH",
    "-sMAXIMUM_MEMORY=1GB",
]
PAGE = "index.html"
PARTS = ("encoder.js", "elmo.wasm", "elmo.safetensors")
SCRIPTS = ("units.js", "encoder.js")
EXPORTS = ("Encoder", "UnitReader", "Vocabulary", "cosine")


def compile_kernel() -> bytes:
    """Return the kernel's plain target, for inference on one thread, as a WebAssembly module.

    Raises:
        ElmoError: em++ is missing or fails.
    """
    if shutil.which(COMPILER) is None:
        raise ElmoError(f"{COMPILER} was not found: install emscripten (apt-get install emscripten).")
    sources = [HERE / "kernel_api.cc", NATIVE / "elmo_api.cc", NATIVE / "targets.cc"]
    with TemporaryDirectory() as folder:
        module = Path(folder) / "elmo.wasm"
        command = [COMPILER, *FLAGS, *LINKING, f"-I{NATIVE}", *map(str, sources), "-o", str(module)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ElmoError(f"{COMPILER} could not compile the kernel, read its message: {done.stderr}")
        return module.read_bytes()


def library() -> str:
    """Return the JavaScript of the encoder, for a <script> or for require() of Node.js."""
    parts = [(HERE / name).read_text(encoding="utf8") for name in SCRIPTS]
    exports = f'if (typeof module !== "undefined") module.exports = {{ {", ".join(EXPORTS)} }};\n'
    return "\n".join([*parts, exports])


def page(kernel: bytes, model: bytes) -> str:
    """Return the page as one file, with its style, scripts, kernel and model."""
    text = (HERE / "page.html").read_text(encoding="utf8")
    style = (HERE / "page.css").read_text(encoding="utf8")
    script = library() + "\n" + (HERE / "page.js").read_text(encoding="utf8")
    parts = {"page.css": style, "page.js": script}
    data = {"kernel": kernel, "model": model}
    parts |= {name: base64.b64encode(content).decode("ascii") for name, content in data.items()}
    for name, content in parts.items():
        text = text.replace(f"/* {name} */", content, 1)
    return text


def build(out: Path, model: str | None = None) -> None:
    """Write the page and its parts into a folder, which is created.

    model: a model folder; None: the bundled model.

    Raises:
        ElmoError: The model does not fit, or em++ is missing or fails.
        OutputError: The folder has a file of one of the names that is not of an earlier build.
    """
    check_output(out)
    weights = export_model(spacy_elmo.load(model))
    kernel = compile_kernel()
    out.mkdir(parents=True, exist_ok=True)
    # The page is written first, because it marks the folder as ours.
    write_atomic(out / PAGE, page(kernel, weights).encode("utf8"))
    for name, content in zip(PARTS, (library().encode("utf8"), kernel, weights), strict=True):
        write_atomic(out / name, content)


def check_output(out: Path) -> None:
    """Raise an OutputError if a file of this build would replace another program's."""
    check_file(out / PAGE, (".html",))
    other = next((name for name in PARTS if (out / name).exists()), None)
    if other is not None and not (out / PAGE).exists():
        raise OutputError(f"Cannot write {out / other}: another program wrote it; name a new folder.")


def main() -> None:
    """Read the command line and build the page."""
    parser = argparse.ArgumentParser(description="Build the page that compares a word in two sentences.")
    parser.add_argument(
        "out", type=Path, nargs="?", default=ROOT / "build" / "browser", help="folder to write"
    )
    parser.add_argument("--model", help="model folder; without it, the bundled model")
    arguments = parser.parse_args()
    try:
        build(arguments.out, arguments.model)
    except ElmoError as error:
        sys.exit(str(error))
    size = (arguments.out / "index.html").stat().st_size / 1e6
    print(f"{arguments.out / 'index.html'} ({size:.1f} MB): open it in a browser.")


if __name__ == "__main__":
    main()
