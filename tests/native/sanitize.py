"""Runs the native kernel under sanitizers, built for the purpose with GCC or clang (CXX).

    python tests/native/sanitize.py [asan] [tsan] [--short]

asan: AddressSanitizer and UndefinedBehaviorSanitizer; tsan: ThreadSanitizer; neither named: both. Each runs
pool_driver.cc, the kernel's threads in C++ alone, and then the kernel's tests in Python with a kernel that
is built so. --short: the driver alone. Returns 0 if nothing was reported, 77 if there is no compiler with
the runtime.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("pool_driver.cc")
KERNEL = ROOT / "spacy_elmo" / "kernels" / "native"
FLAGS = {"asan": "address,undefined", "tsan": "thread"}
LIBRARIES = {"asan": "libasan.so", "tsan": "libtsan.so"}
SETTINGS = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # Python's own leaks would be reported
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:ignore_noninstrumented_modules=1:report_thread_leaks=0",
}
# Tests that call the kernel. Forks next to torch's threads are left to the driver.
TESTS = {
    "asan": [
        "kernels/test_native_boundary",
        "kernels/test_single_ops",
        "kernels/test_token_ops",
        "kernels/test_fused_ops",
        "inference/test_encode",
        "kernels/test_thread_pool",
    ],
    "tsan": [
        "kernels/test_native_boundary",
        "kernels/test_single_ops",
        "kernels/test_token_ops",
        "kernels/test_thread_pool",
    ],
}
SELECTED = "not large_model and not large_weights and not new_engine and not forked_child"
NO_COMPILER = 77


def compiler() -> str | None:
    """The C++ compiler, of CXX or the first there is."""
    return next(filter(None, map(shutil.which, [os.environ.get("CXX", ""), "g++", "clang++", "c++"])), None)


def build(kind: str, sources: list[Path], target: Path, *flags: str) -> bool:
    """Compile sources with a sanitizer; False where the compiler has none."""
    cxx = compiler()
    if cxx is None:
        return False
    sanitize = ["-fno-sanitize-recover=all", "-fno-omit-frame-pointer"] if kind in FLAGS else []
    sanitize += [f"-fsanitize={FLAGS[kind]}"] if kind in FLAGS else []
    common = ["-std=c++17", "-O1", "-g1", "-ffp-contract=off", "-fno-wrapv", "-pthread", "-w", f"-I{KERNEL}"]
    done = subprocess.run(
        [cxx, *common, *sanitize, *flags, *map(str, sources), "-o", str(target)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    return done.returncode == 0


def has_runtime(kind: str, folder: Path) -> bool:
    """Whether the compiler can build for a sanitizer here, and the result runs."""
    source = folder / "empty.cpp"
    source.write_text("int main() { return 0; }\n", encoding="utf8")
    target = folder / f"empty_{kind}"
    return build(kind, [source], target) and subprocess.run([target], capture_output=True).returncode == 0


def drive(kind: str, folder: Path, repeats: int) -> int:
    """Run the driver under a sanitizer, and its forks without one.

    ThreadSanitizer ends a child of a process with threads that starts threads. AddressSanitizer (GCC 12's)
    does not take its allocator's locks before a fork: a child waits for ever for one that another thread had.
    That is what its driver with forks once called "wrong: a child": twice in some 600 forks, and the stack of
    the child ended in libasan's operator new, called by the kernel's first allocation.
    """
    target = folder / f"pool_driver_{kind}"
    if not build(kind, [DRIVER], target):
        return 1
    failed = subprocess.run([target, str(repeats)], env={**os.environ, **SETTINGS}, timeout=1200).returncode
    plain = folder / "pool_driver"
    if failed or not build("plain", [DRIVER], plain):
        return failed or 1
    return subprocess.run([plain, str(repeats), "forks"], timeout=1200).returncode


def test(kind: str, folder: Path) -> int:
    """Run the kernel's tests on a copy of the package that has the kernel of the sanitizer."""
    for name in ("spacy_elmo", "tests", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("_native*"), dirs_exist_ok=True
            )
        else:
            shutil.copy(source, folder)
    library = folder / "spacy_elmo" / "kernels" / "_native.so"
    if not build(kind, sorted(KERNEL.glob("*.cc")), library, "-shared", "-fPIC", "-fvisibility=hidden"):
        return 1
    runtimes = [_runtime(LIBRARIES[kind]), _runtime("libstdc++.so.6")]
    environment = {
        **os.environ,
        **SETTINGS,
        "LD_PRELOAD": " ".join(runtimes),
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONMALLOC": "malloc",
    }
    files = [f"tests/{name}.py" for name in TESTS[kind]]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", SELECTED, *files]
    return subprocess.run(command, cwd=folder, env=environment).returncode


def _runtime(name: str) -> str:
    cxx = compiler()
    assert cxx is not None
    found = subprocess.run([cxx, f"-print-file-name={name}"], capture_output=True, text=True)
    return found.stdout.strip()


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="asan, tsan; none: both")
    parser.add_argument("--short", action="store_true", help="the driver of the threads alone")
    options = parser.parse_args()
    if set(options.kinds) - set(FLAGS):
        parser.error(f"there are {', '.join(FLAGS)} only")
    for kind in options.kinds or FLAGS:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            if not has_runtime(kind, place):
                print(f"{kind}: no compiler with the runtime of this sanitizer")
                return NO_COMPILER
            failed = drive(kind, place, 3 if options.short else 100)
            failed = failed or (0 if options.short else test(kind, place))
            print(f"{kind}: {'failed' if failed else 'nothing reported'}")
            if failed:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
