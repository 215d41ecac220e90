"""Measure the kernel in WebAssembly under Node.js against the native kernel, one sentence at a time.

    python projects/browser/build_page.py
    python benchmarks/bench_browser.py [--folder build/browser] [--rounds 3]

Units per second of CPU time, which depends less on other programs than wall-clock time, on one thread in
float32. The programs run in turns; the figure is the median of the rounds.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import torch

import spacy_elmo
from spacy_elmo.inference.encode import encode
from spacy_elmo.kernels.binding import supported_targets

UNITS = list("中国人民银行的行长去了上海，他打开电脑以后给我打电话。")
REPEATS = 100
PROGRAM = """
const { readFileSync } = require("node:fs");
const [folder, units, repeats] = JSON.parse(readFileSync(0, "utf8"));
const { Encoder } = require(`${folder}/encoder.js`);
const bytes = (name) => new Uint8Array(readFileSync(`${folder}/${name}`)).buffer;
const sum = ({ user, system }) => (user + system) / 1e6;
const seconds = (since) => sum(process.cpuUsage(since));
(async () => {
  const start = process.cpuUsage();
  const encoder = await Encoder.load(bytes("elmo.safetensors"), bytes("elmo.wasm"));
  const load = seconds(start);
  encoder.encode(units);
  const begin = process.cpuUsage();
  for (let i = 0; i < repeats; i++) encoder.encode(units);
  console.log(JSON.stringify([load, (repeats * units.length) / seconds(begin)]));
})();
"""


def webassembly(folder: Path) -> tuple[float, float]:
    """Return the CPU seconds of loading, and the units per CPU second."""
    request = json.dumps([str(folder.resolve()), UNITS, REPEATS])
    done = subprocess.run(
        ["node", "-e", PROGRAM], input=request, capture_output=True, text=True, check=True, encoding="utf8"
    )
    load, speed = json.loads(done.stdout)
    return load, speed


def native(bilm: spacy_elmo.BiLM, target: str) -> float:
    """Return the units per CPU second of a target of the native kernel."""
    encode(bilm, [UNITS], backend=f"native {target}")
    begin = time.process_time()
    for _ in range(REPEATS):
        encode(bilm, [UNITS], backend=f"native {target}")
    return REPEATS * len(UNITS) / (time.process_time() - begin)


def main() -> None:
    """Measure in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/browser"), help="what build_page.py wrote")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bilm = spacy_elmo.load()
    found = defaultdict(list)
    for _ in range(arguments.rounds):
        load, speed = webassembly(arguments.folder)
        found["loading in WebAssembly, CPU seconds"].append(load)
        found["WebAssembly, units per CPU second"].append(speed)
        for target in supported_targets():
            found[f"native {target}, units per CPU second"].append(native(bilm, target))
    for name, values in found.items():
        print(f"{name:45} {statistics.median(values):8,.2f}")


if __name__ == "__main__":
    main()
