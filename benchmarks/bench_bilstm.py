"""Time the BiLSTM encoder of the task components next to torch.nn.LSTM.

    python benchmarks/bench_bilstm.py [--width 1100] [--hidden 150] [--rounds 10] [--cpu-time]

Batches of 1, 10, 20 and 60 sequences of 5 to 60 tokens, in float32: a training step (forward and backward,
with the gradients of the input) and a prediction. torch reads packed sequences. All run in turns; the table
has medians.
"""

import argparse
import platform
import time

import numpy as np
import torch
from _timing import medians, show
from torch.nn.utils.rnn import pack_sequence

from spacy_elmo.tasks.lexical.bilstm import BiLSTM

SEQUENCES = (1, 10, 20, 60)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--width", type=int, default=1100, help="columns of the input")
    parser.add_argument("--hidden", type=int, default=150, help="cells of one direction")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--cpu-time", action="store_true", help="time of this process only, for a busy machine"
    )
    args = parser.parse_args()
    clock = time.process_time if args.cpu_time else time.perf_counter
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    peer = torch.nn.LSTM(args.width, args.hidden, bidirectional=True)
    random = np.random.default_rng(0)
    rows = {}
    for n_sequences in SEQUENCES:
        Xs = [random.normal(size=(n, args.width)).astype("f") for n in random.integers(5, 61, n_sequences)]
        layer = BiLSTM(2 * args.hidden, args.width, precision="f32")
        layer.initialize(X=Xs)
        dYs = [np.ones((len(X), 2 * args.hidden), "f") for X in Xs]

        def train(layer=layer, Xs=Xs, dYs=dYs) -> None:
            layer.begin_update(Xs)[1](dYs)

        def train_torch(Xs=Xs) -> None:
            inputs = [torch.from_numpy(X).requires_grad_() for X in Xs]
            peer(pack_sequence(inputs, enforce_sorted=False))[0].data.sum().backward()

        def predict_torch(Xs=Xs) -> None:
            with torch.inference_mode():
                peer(pack_sequence([torch.from_numpy(X) for X in Xs], enforce_sorted=False))

        found = medians(
            {
                "train": train,
                "train, torch": train_torch,
                "predict": lambda layer=layer, Xs=Xs: layer.predict(Xs),
                "predict, torch": predict_torch,
            },
            args.rounds,
            clock,
        )
        ratios = [found[f"{each}, torch"] / found[each] for each in ("train", "predict")]
        times = [f"{1000 * seconds:.1f} ms" for seconds in found.values()]
        rows[f"{n_sequences}, {sum(map(len, Xs)):,}"] = [*times, *(f"{ratio:.2f}" for ratio in ratios)]
    show(
        "sequences, tokens",
        ["training step", "torch", "prediction", "torch", "ratio in training", "ratio in prediction"],
        rows,
    )


if __name__ == "__main__":
    main()
