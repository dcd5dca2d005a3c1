"""From what was measured to the README's table: medians, ratios within a round, Markdown."""

import statistics
from dataclasses import dataclass

GROUPS = ["training", "bf16", "inference", "lavapipe", "input", "start", "memory"]


@dataclass(frozen=True)
class Row:
    """A figure of ours beside the same figure of a peer's; both name programs of programs.py."""

    group: str
    what: str
    figure: str
    ours: str
    peer: str
    # Seconds and memory are better when they are less.
    less_is_better: bool = False


RATE, FIRST, PEAK = "images_per_s", "first_step_s", "peak_mib"
TRAINING = "training, `cpu`, f32, images/s"
BF16 = "training, `cpu`, bf16, images/s"
INFERENCE = "inference, `cpu`, batch 1,000, images/s"
LAVAPIPE = "training, lavapipe, images/s"
INPUT = "input pipeline, 2 workers, images/s"
START = "start to first step, `cpu`, s"
START_LAVAPIPE = "start to first step, lavapipe, s"
MEMORY = "peak memory of training, `cpu`, MiB"

ROWS = [
    Row("training", TRAINING, RATE, "bench", "tensorflow"),
    Row("training", TRAINING, RATE, "bench", "tensorflow-band"),
    Row("training", TRAINING, RATE, "bench", "torch"),
    Row("training", TRAINING, RATE, "bench", "torch-band"),
    Row("training", TRAINING, RATE, "bench", "burn"),
    Row("bf16", BF16, RATE, "bench-bf16", "tensorflow-bf16"),
    Row("bf16", BF16, RATE, "bench-bf16", "torch-bf16"),
    Row("inference", INFERENCE, RATE, "score", "tensorflow-score"),
    Row("inference", INFERENCE, RATE, "score", "tensorflow-band-score"),
    Row("inference", INFERENCE, RATE, "score", "torch-band-score"),
    Row("lavapipe", LAVAPIPE, RATE, "bench-lavapipe", "burn-lavapipe"),
    Row("input", INPUT, RATE, "input", "tensorflow-input"),
    Row("input", INPUT, RATE, "input", "torch-input"),
    Row("input", INPUT, RATE, "input", "torchvision-input"),
    Row("start", START, FIRST, "run", "tensorflow", True),
    Row("start", START, FIRST, "run", "torch", True),
    Row("start", START, FIRST, "run", "burn", True),
    Row("start", START_LAVAPIPE, FIRST, "run-lavapipe", "burn-lavapipe", True),
    Row("memory", MEMORY, PEAK, "run", "tensorflow", True),
    Row("memory", MEMORY, PEAK, "run", "torch", True),
    Row("memory", MEMORY, PEAK, "run", "burn", True),
]


def needed(groups):
    """The names of all programs that rows of these groups compare."""
    rows = [row for row in ROWS if row.group in groups]
    return {name for row in rows for name in (row.ours, row.peer)}


def series(rounds, program, figure):
    """A figure of a program in each round; `None` where it was not measured."""
    return [measured.get(program, {}).get(figure) for measured in rounds]


def ratios(row, rounds):
    """How many times better ours is, in each round in which both were measured."""
    pairs = zip(series(rounds, row.ours, row.figure), series(rounds, row.peer, row.figure))
    pairs = [(ours, peer) for ours, peer in pairs if ours is not None and peer is not None]
    return [peer / ours if row.less_is_better else ours / peer for ours, peer in pairs]


def markdown(results):
    """The table, and below it what it was measured on and what could not be measured."""
    programs, rounds = results["programs"], results["rounds"]
    lines = ["| what | Gradflow | peer | its | ratio | command |", "|---|--:|---|--:|---|---|"]
    for row in ROWS:
        if row.group not in results["groups"]:
            continue
        cells = [
            row.what,
            median_of(rounds, row.ours, row.figure),
            titled(programs[row.peer]),
            median_of(rounds, row.peer, row.figure),
            spread(ratios(row, rounds)),
            f"`{programs[row.ours]['command']}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", told_conditions(results)]
    if results["failures"]:
        lines += ["", *told_failures(results)]
    return "\n".join(lines)


def titled(program):
    """A peer's name, with its version if it told one."""
    version = program.get("version")
    return program["title"].format(version=f" {version}" if version else "")


def median_of(rounds, program, figure):
    values = [value for value in series(rounds, program, figure) if value is not None]
    return number(statistics.median(values)) if values else "not measured"


def spread(values):
    if not values:
        return "-"
    middle = f"**{ratio(statistics.median(values))}**"
    if len(values) == 1:
        return f"{middle} (one round)"
    return f"{middle} ({ratio(min(values))} to {ratio(max(values))})"


def ratio(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def number(value):
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def told_conditions(results):
    machine, count = results["machine"], len(results["rounds"])
    loads = [one["other_load"] for measured in results["rounds"] for one in measured.values()]
    loads = loads or [0.0]
    lines = [
        f"Measured on {results['date']}: {machine['processor']}, {machine['processors']} threads, "
        f"{machine['memory_gib']:.0f} GiB, {machine['system']}; Gradflow: {results['gradflow']}; "
        f"images: {results['data']}.",
        f"{'One round' if count == 1 else f'{count} rounds'} of all programs in turn. Figures are "
        "medians. A ratio is within a round, and above 1 where Gradflow is better: median (least "
        "to most).",
        f"Other programs took {100 * statistics.median(loads):.0f} % of the processors' time "
        f"(median; {100 * max(loads):.0f} % at most).",
    ]
    return "\n".join(lines)


def told_failures(results):
    lines = []
    for failure in results["failures"]:
        about = results["programs"][failure["program"]]
        name = f"`{about['command']}`" if about["command"] else titled(about)
        line = f"- Not measured in {failure['when']}: {name}: {failure['reason']}"
        if line not in lines:
            lines.append(line)
    return lines
