"""The sources of the kernel: format, macros, and headers that include what they use."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .sanitize import KERNEL, compiler

BROWSER = Path(__file__).parents[2] / "projects" / "browser"
FOLDERS = KERNEL, BROWSER, Path(__file__).parent
SOURCES = sorted(path for folder in FOLDERS for end in ("*.h", "*.cc") for path in folder.glob(end))
HEADERS = [path for path in SOURCES if path.suffix == ".h"]
# Headers that a file must include itself if its code has these words.
NEEDED = {
    r"\bstd::vector\b": "<vector>",
    r"\bu?int(16|32|64|8)_t\b": "<cstdint>",
    r"\bmem(cpy|set|cmp)\(": "<cstring>",
    r"\bstd::(numeric_limits)\b": "<limits>",
    r"\bstd::(fabs|fmax|sqrt|ldexp|exp|log|log1p|lrint|isfinite|copysign|tanh)\(": "<cmath>",
    r"\bstd::(unique_ptr|make_unique)\b": "<memory>",
    r"\bstd::(mutex|lock_guard|unique_lock)\b": "<mutex>",
    r"\bstd::atomic\b": "<atomic>",
    r"\bstd::(thread|this_thread)\b": "<thread>",
    r"\bstd::(bad_alloc|align_val_t)\b": "<new>",
    r"\bstd::(exception_ptr|exception)\b": "<exception>",
    r"\b_mm\w*_|\b__m\d+": "<immintrin.h>|<emmintrin.h>",
    r"\b(AlignedBuffer|round_up|CACHE_LINE)\b": '"aligned_buffer.h"',
    r"\b(min_of|max_of|QuantScales|ComputeType|bf16|GATES)\b": '"compute_types.h"',
    r"\b(PackedModel|PackedMaxout|PackedLayer|PackedMatrix|DirectionArgs)\b": '"packed_model.h"',
    r"\b(Moments|LSTMShape|CrossEntropyShape|\w+Args\* )": '"args.h"',
    r"\b(parallel_for|split_rows|Status)\b": '"parallel_for.h"',
    r"\bELMO_(ATTR|INLINE|NAMESPACE)\b": '"target.h"',
    r"\b(VF32|LANES|BLOCK)\b": '"simd-inl.h"',
    r"\b(gemm_block|GemmArgs|TypeTraits)\b": '"gemm-inl.h"',
    r"\b(gemm_block_amx|TileScope)\b": '"gemm_amx-inl.h"',
    r"\b(PackedLhs|PackedRhs)\b": '"packed_operands-inl.h"',
}
DEFINES = {  # where those words are declared, and what simd-inl.h is made of
    "target.h": ["target.h"],
    "simd-inl.h": [
        "simd-inl.h",
        "simd_plain-inl.h",
        "simd_avx2-inl.h",
        "simd_avx512-inl.h",
        "simd_neon-inl.h",
    ],
}


def code_of(path: Path) -> str:
    """A file without comments and texts."""
    return re.sub(r'//.*|"[^"\n]*"', "", path.read_text(encoding="utf8"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_include_what_they_use(path):
    included = set(re.findall(r'^#include ([<"].+?[>"])', path.read_text(encoding="utf8"), re.M))
    code = re.sub(r"^#.*", "", code_of(path), flags=re.M)
    for words, headers in NEEDED.items():
        own = [path.name in DEFINES.get(each.strip('"'), [each.strip('"')]) for each in headers.split("|")]
        if re.search(words, code) and not any(own):
            assert included & set(headers.split("|")), f"{words} needs {headers}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_macros_have_a_prefix(path):
    names = re.findall(r"^\s*#\s*define (\w+)", path.read_text(encoding="utf8"), re.M)
    assert [name for name in names if not name.startswith("ELMO_")] == []


def test_headers_compile_alone():
    cxx = compiler()
    if cxx is None:
        pytest.skip("no C++ compiler")
    # simd_*-inl.h but the plain one need their target's instructions.
    alone = [path for path in HEADERS if not re.match(r"simd_(avx|neon)|foreach_target", path.name)]
    command = [cxx, "-std=c++17", f"-I{KERNEL}", "-fsyntax-only", "-w", "-x", "c++", *map(str, alone)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_format():
    """By .clang-format and the version that the extra `test` brings: others break lines elsewhere."""
    program = shutil.which("clang-format")
    if program is None:
        pytest.skip("no clang-format")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    if " version 23." not in version:
        pytest.skip(f"{version.strip()} is another version than 23")
    done = subprocess.run(
        [program, "--dry-run", "--Werror", *map(str, SOURCES)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
