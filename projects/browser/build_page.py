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

from export_model import export_model

import spacy_elmo
from spacy_elmo.atomic_io import write_atomic
from spacy_elmo.errors import ElmoError

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
SCRIPTS = ("units.js", "encoder.js")
EXPORTS = ("Encoder", "UnitReader", "Vocabulary", "cosine")


def compile_kernel(out: Path) -> None:
    """Compile the kernel's plain target, for inference on one thread, to a WebAssembly module.

    Raises:
        ElmoError: em++ is missing or fails.
    """
    if shutil.which(COMPILER) is None:
        raise ElmoError(f"{COMPILER} was not found: install emscripten (apt-get install emscripten).")
    sources = [HERE / "kernel_api.cc", NATIVE / "elmo_api.cc", NATIVE / "targets.cc"]
    command = [COMPILER, *FLAGS, *LINKING, f"-I{NATIVE}", *map(str, sources), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ElmoError(f"{COMPILER} could not compile the kernel, read its message: {done.stderr}")


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
    for name, content in {
        **parts,
        **{n: base64.b64encode(b).decode("ascii") for n, b in data.items()},
    }.items():
        text = text.replace(f"/* {name} */", content, 1)
    return text


def build(out: Path, model: str | None = None) -> None:
    """Write the page and its parts into a folder, which is created.

    model: a model folder; None: the bundled model.

    Raises:
        ElmoError: The model does not fit, or em++ is missing or fails.
    """
    weights = export_model(spacy_elmo.load(model))
    out.mkdir(parents=True, exist_ok=True)
    compile_kernel(out / "elmo.wasm")
    write_atomic(out / "elmo.safetensors", weights)
    write_atomic(out / "encoder.js", library().encode("utf8"))
    write_atomic(out / "index.html", page((out / "elmo.wasm").read_bytes(), weights).encode("utf8"))


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
