"""The programs that are measured: how each is started, and what it tells."""

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import process

HERE = Path(__file__).resolve().parent
# Below the repository: the tutorial's own recipe, which the peers have as well.
PIPELINE = "benches/peers/tutorial.yaml"
PARAMETERS = 1_068_298
# Cross-entropy of a guess among ten plus the decay of freshly drawn weights: 4.676 on average.
FIRST_LOSS = (4.6, 4.75)
# Cold tuning and shader caches of Burn on a software rasteriser take some minutes.
PATIENCE_S = 1800
# glibc gives freed memory back to the system and faults it in again at every step, if it is let.
TUNED_MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


@dataclass(frozen=True)
class Place:
    """Where everything is, and how much is measured."""

    runtime: Path
    # The Python of each environment, and Burn's program; without those that are left out.
    peers: dict[str, Path]
    pipeline: Path
    data: Path
    threads: int
    seconds: float


@dataclass(frozen=True)
class Program:
    name: str
    # `gradflow`, or the peer.
    peer: str
    # As the table names it, with a place for the version.
    title: str
    # In the table: what a reader types to see our figure.
    command: str
    measure: Callable[[Place], dict]


def gradflow(name, command, measure):
    return Program(name, "gradflow", "Gradflow", command, measure)


def bench(adapter, find, *settings):
    """A figure of `runtime bench`; `find` names it in the JSON that the command writes."""
    assignments = [word for setting in settings for word in ("--set", setting)]
    shown = " ".join([f"runtime bench {PIPELINE}", "--data DIR", f"--adapter {adapter}", *assignments])

    def measure(place):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bench.json"
            command = [place.runtime, "bench", place.pipeline, "--data", place.data]
            command += ["--adapter", adapter, "--seconds", place.seconds, "--json", file]
            outcome = process.run([*command, *assignments], {}, PATIENCE_S)
            measured = json.loads(file.read_text())
        rate = find(measured)
        if rate is None:
            raise process.Failed("this `runtime bench` does not measure it")
        version = measured["program"]
        return {**figures_of(outcome), "images_per_s": rate, "version": version}

    return shown, measure


def training_rate(measured):
    return measured["steps"]["images_per_s"]


def input_rate(measured):
    return measured["input_alone"]["images_per_s"]


def scoring_rate(measured):
    scoring = measured.get("scoring")
    return scoring and scoring["images_per_s"]


def training_run(adapter, steps, to_the_end):
    """A run as a user starts it, the whole data set in memory."""
    shown = f"runtime run {PIPELINE} --data DIR --adapter {adapter} --set steps={steps}"

    def measure(place):
        with tempfile.TemporaryDirectory() as runs:
            command = [place.runtime, "run", place.pipeline, "--data", place.data]
            command += ["--adapter", adapter, "--runs", runs, "--set", f"steps={steps}"]
            outcome = process.run(command, {}, PATIENCE_S, to_the_end)
        told = re.search(r"([0-9,]+) parameters", outcome.output)
        parameters = int(told[1].replace(",", "")) if told else None
        return sound({**figures_of(outcome), "parameters": parameters})

    return shown, measure


def peer(name, of, title, words, environment=None):
    """A peer's program, which prints its figures as JSON in its last line."""

    def measure(place):
        command = [place.peers[of], *words, "--data", place.data]
        command += ["--threads", place.threads, "--seconds", place.seconds]
        threads = str(place.threads)
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
        limits = {"OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
        outcome = process.run(command, {**quiet, **limits, **(environment or {})}, PATIENCE_S)
        told = json.loads(outcome.output.splitlines()[-1])
        return sound({**figures_of(outcome), **told})

    return Program(name, of, title, "", measure)


def figures_of(outcome):
    """What is kept of every program, without what it does not have."""
    figures = {
        "first_step_s": outcome.first_step_s,
        "first_loss": outcome.first_loss,
        "peak_mib": outcome.peak_mib,
        "wall_s": outcome.wall_s,
        "other_load": outcome.other_load,
        "stolen": outcome.stolen,
    }
    return {name: value for name, value in figures.items() if value is not None}


def sound(figures):
    """The figures, if what was measured is the tutorial's network."""
    least, most = FIRST_LOSS
    if not least <= figures.get("first_loss", least) <= most:
        raise process.Failed(f"the first loss is {figures['first_loss']}, not about 4.67")
    if figures.get("parameters", PARAMETERS) != PARAMETERS:
        raise process.Failed(f"{figures['parameters']} parameters, not {PARAMETERS}")
    return figures


def lavapipe():
    """Leaves Mesa's software Vulkan as the only driver, where it is where distributions put it."""
    drivers = sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
    names = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
    return {name: str(drivers[0]) for name in names} if drivers else {}


def python(name, title, script, *options, environment=None):
    """A script of this folder, under the Python of the library that its name ends with."""
    library = script.split("_")[1]
    return peer(name, library, title, [HERE / f"{script}.py", *options], environment)


TENSORFLOW = "TensorFlow{version}"
TORCH = "PyTorch{version}, eager NHWC"
BURN = "Burn{version}"
BAND = ["--lrn", "band"]
BANDED = "LRN as a 1x1 convolution"
SCORE = ["score", "--batch", "1000"]

# In the order in which a round takes them: what is compared stands close together.
PROGRAMS = [
    gradflow("bench", *bench("cpu", training_rate)),
    python("tensorflow", TENSORFLOW, "net_tensorflow", "train"),
    python("tensorflow-band", f"{TENSORFLOW}, {BANDED}", "net_tensorflow", "train", *BAND),
    python("torch", TORCH, "net_torch", "train"),
    python(
        "torch-band",
        f"{TORCH}, {BANDED}, malloc tuned",
        "net_torch",
        "train",
        *BAND,
        environment=TUNED_MALLOC,
    ),
    peer("burn", "burn", f"{BURN}, flex", ["flex"]),
    gradflow("run", *training_run("cpu", steps=200, to_the_end=True)),
    gradflow("bench-bf16", *bench("cpu", training_rate, "precision=bf16")),
    python(
        "tensorflow-bf16", f"{TENSORFLOW}, {BANDED}", "net_tensorflow", "train", *BAND, "--bf16"
    ),
    python(
        "torch-bf16",
        f"{TORCH}, {BANDED}, malloc tuned",
        "net_torch",
        "train",
        *BAND,
        "--bf16",
        environment=TUNED_MALLOC,
    ),
    gradflow("score", *bench("cpu", scoring_rate)),
    python("tensorflow-score", TENSORFLOW, "net_tensorflow", *SCORE),
    python("tensorflow-band-score", f"{TENSORFLOW}, {BANDED}", "net_tensorflow", *SCORE, *BAND),
    python(
        "torch-band-score",
        f"{TORCH}, {BANDED}, malloc tuned",
        "net_torch",
        *SCORE,
        *BAND,
        environment=TUNED_MALLOC,
    ),
    gradflow("input", *bench("cpu", input_rate)),
    python("tensorflow-input", "tf.data{version}, from memory", "input_tensorflow"),
    python("torch-input", "DataLoader of PyTorch{version}, NumPy by hand", "input_torch"),
    python(
        "torchvision-input",
        "DataLoader of PyTorch{version}, torchvision",
        "input_torch",
        "--transforms",
        "torchvision",
    ),
    gradflow("bench-lavapipe", *bench("lavapipe", training_rate)),
    peer("burn-lavapipe", "burn", f"{BURN}, wgpu", ["wgpu"], lavapipe()),
    gradflow("run-lavapipe", *training_run("lavapipe", steps=200, to_the_end=False)),
]
