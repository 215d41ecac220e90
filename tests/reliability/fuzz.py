"""Files from strangers: damaged at random, each ends with a documented error or with a usable result.

Each input follows from its seed, so that a failure can be made again. The inputs run in one process after the
other, that of the last one when it crashed or hung: SIGSEGV and the like are findings, not the end.
"""

import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .mutations import Files, change_file

PACKAGE = [str(Path(__file__).parents[2])]  # where spacy_elmo may lie uninstalled
SLACK = 48 * 2**20  # bytes that any reading may take besides: buffers of readers, what torch keeps
MOST_SECONDS = 20  # of the processor's time
MOST_EXTRA = 2**31  # bytes of address space; what asks for more is a MemoryError, which is a finding
FORBIDDEN = {
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen"),
    *("socket.connect", "pickle.find_class"),
}


class Watch:
    """An audit hook: notes files that are opened outside of a folder to write, or to read others' data."""

    def __init__(self, folder: Path):
        code = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, *sys.path) if p}
        self.allowed = (str(folder), *code)
        self.allowed += ("/proc/", "/sys/", "/dev/null", "/dev/urandom", "/etc/ld.so", "/lib", "/usr/lib")
        self.folder = str(folder)
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        if event in FORBIDDEN:
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            allowed = (self.folder, "/proc/self/", f"/proc/{os.getpid()}/") if writes else self.allowed
            if not path.startswith(allowed):
                self.seen.append(f"{'writes' if writes else 'reads'} {path}")


def damaged(seed: str, names: list[str], all_files: list[Files], mends: list) -> tuple[int, Files]:
    """The number of a target and its files, damaged as the seed says."""
    rng = random.Random(seed)
    number = rng.randrange(len(names))
    files = dict(all_files[number])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        name = rng.choice(sorted(files))
        if rng.random() < 0.02 and len(files) > 1:
            del files[name]
        elif rng.random() < 0.02:
            files[name] = files[rng.choice(sorted(files))]
        else:
            files[name] = change_file(rng, name, files[name])
        if not files:
            break
    mend = mends[number]
    if mend is not None and rng.random() < 0.8:
        mend(files)
    return number, files


def work(seed: int, first: int, count: int, log: Path, only: str | None) -> None:
    """Read inputs first .. first + count - 1 and write a line for each: number, target, outcome."""
    from . import targets as module

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        root = Path(os.path.realpath(place))
        os.chdir(root)  # names relative to an open folder count as names in it
        found = {k: t for k, t in module.targets(root / "originals").items() if not only or only in k}
        names = sorted(found)
        watch = Watch(root)
        for name in names:  # what is imported and built at first use is not an input's
            outcome = _read(found[name], dict(found[name].files), root / "input", watch)
            assert outcome == "result", f"{name}, undamaged: {outcome}"
        watch.seen.clear()
        signal.signal(signal.SIGPROF, _too_long)
        _limit_memory()
        files = [found[name].files for name in names]
        mends = [found[name].mend for name in names]
        with log.open("a", encoding="utf8") as lines:
            for i in range(first, first + count):
                lines.write(f"{i}\t")
                lines.flush()
                number, content = damaged(f"{seed}.{i}", names, files, mends)
                lines.write(f"{names[number]}\t")
                lines.flush()
                outcome = _read(found[names[number]], content, root / "input", watch)
                lines.write(outcome.replace("\n", " | ") + "\n")


def _read(target, files: Files, folder: Path, watch: Watch) -> str:
    """One input: "error CLASS", "result", or what went wrong."""
    from spacy_elmo.errors import ElmoError

    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    folder.mkdir(exist_ok=True)
    size = sum(map(len, files.values()))
    before, begin = _reset_peak(), time.monotonic()
    watch.seen.clear()
    watch.on = True
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        target.read(folder)
        outcome = "result"
    except ElmoError as error:
        text = str(error)
        outcome = f"error {type(error).__name__}"
        if "\n" in text or not text.endswith(".") or len(text) > 2000:
            outcome = f"WRONG message {text!r:.300}"
    except BaseException:
        outcome = f"WRONG {''.join(traceback.format_exc().splitlines(keepends=True)[-7:])}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        watch.on = False
    peak = _peak() - before
    if watch.seen:
        outcome = f"WRONG {watch.seen[:3]}"
    elif peak > 2 * size + SLACK and not outcome.startswith("WRONG"):
        seconds = time.monotonic() - begin
        outcome = f"WRONG took {peak >> 20} MB for {size:,} bytes in {seconds:.1f} s ({outcome})"
    return outcome


def _too_long(*_: object) -> None:
    raise TimeoutError(f"took more than {MOST_SECONDS} s")


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_EXTRA, resource.RLIM_INFINITY))


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    with open("/proc/self/status", encoding="utf8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024


def fuzz(count: int, seed: int = 0, *, first: int = 0, only: str | None = None, chunk: int = 2500) -> Counter:
    """Read `count` damaged inputs. Prints what went wrong; counts "error CLASS", "result" and "WRONG"."""
    outcomes: Counter = Counter()
    with tempfile.TemporaryDirectory() as place:
        for number, kind, outcome in _outcomes(count, seed, first, only, chunk, Path(place)):
            outcomes["WRONG" if outcome.startswith("WRONG") else outcome] += 1
            if outcome.startswith("WRONG"):
                print(f"input {seed}.{number} ({kind}): {outcome}", flush=True)
    return outcomes


def _outcomes(
    count: int, seed: int, first: int, only: str | None, chunk: int, place: Path
) -> Iterator[tuple[int, str, str]]:
    last = first + count
    while first < last:
        log = place / f"{first}.tsv"
        log.touch()
        some = min(chunk, last - first)
        code = (
            f"import sys; sys.path[:0] = {[str(Path(__file__).parents[1]), *PACKAGE]!r}\n"
            "from pathlib import Path; from reliability.fuzz import work\n"
            f"work({seed}, {first}, {some}, Path({str(log)!r}), {only!r})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=place, timeout=60 * 60
        )
        rows = [line.split("\t", 2) for line in log.read_text(encoding="utf8").splitlines()]
        if not rows:
            raise RuntimeError(f"nothing was read: {done.stderr[-3000:]}")
        for row in rows:
            number, kind, outcome = [*row, "", ""][:3]
            ended = f"WRONG process ended with {done.returncode}: {done.stderr[-1500:]}"
            yield int(number), kind, outcome or ended
        first = int(rows[-1][0]) + 1
