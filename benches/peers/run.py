"""Measures Gradflow beside TensorFlow, PyTorch and Burn, all programs in turn in each round.

    python3 benches/peers/run.py                                  everything, five rounds
    python3 benches/peers/run.py --groups training --skip burn
    python3 benches/peers/run.py --table target/peers/results.json

Needs Linux, Python and Cargo; what it installs and builds lies below target/peers. README.md in
this folder says what is counted and how.
"""

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import environments
import machine
import table
from process import Failed
from programs import PIPELINE, PROGRAMS, Place

PEERS = ["tensorflow", "torch", "burn"]
FOLDER = environments.REPOSITORY / "target" / "peers"
RESULTS = FOLDER / "results.json"
# Of the round that only warms caches up.
WARM_UP_S = 0.5


def arguments():
    description, examples = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(name, what, **more):
        parser.add_argument(f"--{name}", help=what, **more)

    data = os.environ.get("GRADFLOW_DATA")
    several = {"nargs": "+", "metavar": "NAME"}
    file, folder = {"type": Path, "metavar": "FILE"}, {"type": Path, "metavar": "DIR"}
    groups = f"what to measure: {', '.join(table.GROUPS)}"
    add("groups", groups, choices=table.GROUPS, default=table.GROUPS, **several)
    peers = f"peers to leave out: {', '.join(PEERS)}"
    add("skip", peers, choices=PEERS, default=[], **several)
    add("rounds", "how often everything is measured", type=int, default=5)
    add("seconds", "how long, each program in each round", type=float, default=4.0)
    add("data", "a folder with CIFAR-10; noise if none", default=data and Path(data), **folder)
    add("environments", "where the Python environments are made or found", default=FOLDER, **folder)
    add("runtime", "the command, which is built if not given", **file)
    add("burn", "Burn's program, which is built if not given", **file)
    add("results", "where what was measured is written", default=RESULTS, **file)
    add("table", "only prints the table of what was written before", **file)
    return parser.parse_args()


def main():
    given = arguments()
    if given.table:
        try:
            results = json.loads(given.table.read_text())
        except (OSError, ValueError) as error:
            sys.exit(f"{given.table} is not what an earlier run wrote: {error}")
        print(table.markdown(results))
        return
    if given.results.exists() and given.results.resolve() != RESULTS:
        sys.exit(f"{given.results} is there already: name another file, or move it away")
    FOLDER.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(given)
    try:
        comparison.prepare()
    except Failed as failed:
        sys.exit(str(failed))
    # Not counted: it warms the page cache, tunes kernels, and fills the drivers' shader caches.
    warm = comparison.round("the warm-up", WARM_UP_S)
    comparison.programs = [program for program in comparison.programs if program.name in warm]
    for number in range(given.rounds):
        measured = comparison.round(f"round {number + 1}", given.seconds)
        comparison.results["rounds"].append(measured)
        comparison.write()
    print(table.markdown(comparison.results))


class Comparison:
    """What is compared, and what was found so far."""

    def __init__(self, given):
        self.given = given
        names = table.needed(given.groups)
        self.programs = [program for program in PROGRAMS if program.name in names]
        titles = {p.name: {"title": p.title, "command": p.command} for p in self.programs}
        self.results = {
            "date": datetime.date.today().isoformat(),
            "machine": machine.describe(),
            "gradflow": "built elsewhere" if given.runtime else commit(),
            "seconds": given.seconds,
            "groups": given.groups,
            "programs": titles,
            "failures": [],
            "rounds": [],
        }

    def prepare(self):
        """Makes everything that is measured and not there. Programs of a peer that cannot be made
        are left out."""
        given, peers = self.given, {}
        make = {
            "tensorflow": lambda: environments.python(given.environments, "tensorflow"),
            "torch": lambda: environments.python(given.environments, "torch"),
            "burn": lambda: given.burn or environments.burn(FOLDER),
        }
        for name in sorted({program.peer for program in self.programs} & make.keys()):
            if name in given.skip:
                self.leave_out(name, "left out by --skip")
                continue
            try:
                peers[name] = make[name]().absolute()
            except Failed as failed:
                self.leave_out(name, str(failed))
        data, self.results["data"] = environments.data(given.data, FOLDER)
        self.place = Place(
            runtime=(given.runtime or environments.runtime()).absolute(),
            peers=peers,
            pipeline=environments.REPOSITORY / PIPELINE,
            data=data.absolute(),
            threads=machine.threads(),
            seconds=given.seconds,
        )

    def leave_out(self, peer, reason):
        for program in self.programs:
            if program.peer == peer:
                self.note(program, "any round", reason)
        self.programs = [program for program in self.programs if program.peer != peer]

    def note(self, program, when, reason):
        failure = {"program": program.name, "when": when, "reason": reason}
        self.results["failures"].append(failure)

    def round(self, name, seconds):
        """Measures each program once, and tells what it is at."""
        measured = {}
        place = dataclasses.replace(self.place, seconds=seconds)
        for program in self.programs:
            try:
                figures = program.measure(place)
            except Failed as failed:
                self.note(program, name, str(failed))
                tell(f"{name}: {program.name}: {failed}")
                continue
            measured[program.name] = figures
            title = self.results["programs"][program.name]
            title["version"] = figures.get("version", "")
            tell(f"{name}: {program.name}: {brief(figures)}")
        return measured

    def write(self):
        """After each round, so that a run that is interrupted leaves what it has."""
        beside = self.given.results.with_suffix(".new")
        beside.write_text(json.dumps(self.results, indent=2) + "\n")
        beside.replace(self.given.results)


def tell(text):
    # Where the table does not go: that can be redirected into a file.
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def brief(figures):
    shown = {"images_per_s": "images/s", "first_step_s": "s to the first step", "peak_mib": "MiB"}
    parts = [f"{figures[key]:,.1f} {unit}" for key, unit in shown.items() if key in figures]
    return f"{', '.join(parts)}; other programs {100 * figures['other_load']:.0f} %"


def commit():
    """What of the repository is built, with a mark if it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    described = subprocess.run(command, cwd=environments.REPOSITORY, capture_output=True, text=True)
    return f"commit {described.stdout.strip()}" if described.stdout else "not a checkout"


if __name__ == "__main__":
    main()
