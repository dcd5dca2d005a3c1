"""Trains pipeline.yaml twice on real CIFAR-10: once left alone, once killed again and again at
random moments (SIGKILL) and resumed each time. Both must end with the same bits and have told the
same. Takes two to three times as long as training alone, so it is no part of `cargo test`.

    python3 tests/acceptance/kill_resume.py target/release/runtime DATA_FOLDER

Needs nothing but Python; with TensorBoard (tests/requirements.txt) the curves are compared, too.
"""

import argparse
import hashlib
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# What is different in any two runs.
TIMES = {"time", "images_per_s", "batch_s", "examples_per_second"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--adapter", default="cpu")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--checkpoint-seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=time.time_ns(), help="of the random moments")
    parser.add_argument("--runs", type=Path, help="where the two runs go; they are kept then")
    return parser.parse_args()


class Trial:
    """Both runs, in one folder."""

    def __init__(self, given, runs):
        self.runs = runs
        self.command = [given.binary.resolve(), "run", "--runs", runs]
        self.begin = [REPOSITORY / "pipeline.yaml", "--data", given.data.resolve()]
        self.begin += ["--adapter", given.adapter, "--set", f"epochs={given.epochs}"]
        self.period = ["--set", f"checkpoints.every.seconds={given.checkpoint_seconds}"]

    def start(self, *more):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*self.command, *more], **quiet)

    def finish(self, *more):
        begin = time.monotonic()
        if self.start(*more).wait() != 0:
            sys.exit(f"it did not end well: see {self.runs}")
        return time.monotonic() - begin

    def last_step(self, run):
        files = sorted((self.runs / run / "checkpoints").glob("step-*.safetensors"))
        return int(files[-1].stem.removeprefix("step-")) if files else None

    def killed(self, kills, alone_s):
        """The run that is killed. The first time that is after its first checkpoint."""
        command = [*self.begin, *self.period, "--run", "killed"]
        for kill in range(kills):
            process = self.start(*command)
            while kill == 0 and self.last_step("killed") is None and process.poll() is None:
                time.sleep(0.01)
            # Three quarters of the whole on average, so that there is something left at the end.
            wait_s = random.uniform(0, 1.5 * alone_s / kills)
            time.sleep(wait_s)
            if process.poll() is not None:
                sys.exit(f"it ended before kill {kill + 1}: try another seed")
            process.kill()
            process.wait()
            print(f"kill {kill + 1} after {wait_s:.1f} s, step {self.last_step('killed')} is kept")
            command = ["--resume", "killed"]
        self.finish(*command)


def checkpoint(folder):
    """Where the last checkpoint is in the data, and a hash of each tensor."""
    file = sorted((folder / "checkpoints").glob("step-*.safetensors"))[-1].read_bytes()
    begin = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:begin])
    progress = json.loads(header.pop("__metadata__")["gradflow"])["progress"]
    slices = {name: tensor["data_offsets"] for name, tensor in header.items()}
    digest = lambda at: hashlib.sha256(file[begin + at[0] : begin + at[1]]).hexdigest()
    return progress, {name: digest(at) for name, at in slices.items()}


def measured(folder):
    """What metrics.jsonl says of each step and evaluation, which must be there once."""
    found = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        line = {key: value for key, value in json.loads(line).items() if key not in TIMES}
        key = (line["kind"], line.get("stage"), line["step"])
        if key in found:
            sys.exit(f"{key} is twice in {folder}/metrics.jsonl")
        found[key] = line
    return found


def curves(folder):
    """What TensorBoard's own reader finds, without times."""
    found = {}
    for board in ["train", "evaluate"]:
        script = [sys.executable, REPOSITORY / "tests/tensorboard.py", folder / "tensorboard" / board]
        read = json.loads(subprocess.run(script, check=True, capture_output=True).stdout)
        for kind in ["scalars", "histograms", "images"]:
            for tag, points in read[kind].items():
                if tag not in TIMES:
                    found[board, tag] = [[step, *values] for step, _, *values in points]
    return found


def main():
    given = arguments()
    random.seed(given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        runs = given.runs.resolve() if given.runs else Path(temporary)
        trial = Trial(given, runs)
        alone_s = trial.finish(*trial.begin, "--run", "alone")
        print(f"alone: {trial.last_step('alone')} steps in {alone_s:.0f} s; seed {given.seed}")
        trial.killed(given.kills, alone_s)
        readers = {"checkpoint": checkpoint, "measurements": measured}
        if importlib.util.find_spec("tensorboard"):
            readers["curves"] = curves
        differ = []
        for what, read in readers.items():
            alone, killed = read(runs / "alone"), read(runs / "killed")
            same = alone == killed
            size = len(alone[1]) if what == "checkpoint" else len(alone)
            print(f"{what}: {size} {'alike' if same else 'NOT ALIKE'}")
            differ += [] if same else [what]
        progress, _ = checkpoint(runs / "killed")
        print(f"the end: {progress}; killed and resumed {given.kills} times")
        sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
