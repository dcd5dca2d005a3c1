"""`python3 -m unittest discover benches/peers`; `cargo test --test peers` does the same."""

import unittest

import programs
import table
from table import Row

FASTER = Row("training", "training, images/s", "images_per_s", "bench", "tensorflow")
SOONER = Row("start", "start, s", "first_step_s", "run", "tensorflow", less_is_better=True)


def measured(**figures):
    return {name: {"images_per_s": value, "other_load": 0.0} for name, value in figures.items()}


def results(rounds, failures=()):
    return {
        "date": "2026-11-24",
        "machine": {"processor": "X", "processors": 2, "memory_gib": 24.4, "system": "Linux"},
        "gradflow": "commit abc",
        "data": "CIFAR-10",
        "groups": ["training"],
        "programs": {
            program.name: {"title": program.title, "command": program.command, "version": "2.21.0"}
            for program in programs.PROGRAMS
        },
        "failures": list(failures),
        "rounds": rounds,
    }


def cells(text, peer):
    """The row of the table that names a peer exactly so."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return next(row for row in rows if len(row) == 6 and row[2] == peer)


class Ratios(unittest.TestCase):
    def test_a_ratio_compares_what_was_measured_in_the_same_round(self):
        rounds = [measured(bench=100, tensorflow=50), measured(bench=30, tensorflow=10)]
        self.assertEqual(table.ratios(FASTER, rounds), [2, 3])

    def test_a_round_without_both_has_no_ratio(self):
        rounds = [measured(bench=100), measured(tensorflow=10), measured(bench=6, tensorflow=3)]
        self.assertEqual(table.ratios(FASTER, rounds), [2])

    def test_less_time_is_better(self):
        rounds = [{"run": {"first_step_s": 0.5}, "tensorflow": {"first_step_s": 2.0}}]
        self.assertEqual(table.ratios(SOONER, rounds), [4])


class Markdown(unittest.TestCase):
    ROUNDS = [
        measured(bench=3000, tensorflow=1500),
        measured(bench=3300, tensorflow=1000),
        measured(bench=1200, tensorflow=1200),
    ]

    def test_figures_are_medians_and_the_ratio_is_the_median_of_ratios(self):
        row = cells(table.markdown(results(self.ROUNDS)), "TensorFlow 2.21.0")
        # Not 3,000 / 1,200, which is no ratio of any round.
        self.assertEqual(row[1], "3,000")
        self.assertEqual(row[3:5], ["1,200", "**2.00** (1.00 to 3.30)"])
        self.assertEqual(row[5], "`runtime bench benches/peers/tutorial.yaml --data DIR --adapter cpu`")

    def test_only_rows_of_the_groups_that_were_asked_for_are_shown(self):
        lines = table.markdown(results(self.ROUNDS)).splitlines()
        rows = [line for line in lines if line.startswith("| ")][1:]
        self.assertEqual(len(rows), sum(row.group == "training" for row in table.ROWS))
        self.assertTrue(all(line.startswith("| training") for line in rows))

    def test_what_was_not_measured_is_said_once(self):
        failure = {"program": "burn", "when": "any round", "reason": "left out"}
        text = table.markdown(results(self.ROUNDS, [failure, failure]))
        row = cells(text, "Burn 2.21.0, flex")
        self.assertEqual(row[3:5], ["not measured", "-"])
        self.assertEqual(text.count("Not measured in any round: Burn 2.21.0, flex: left out"), 1)

    def test_what_else_the_machine_did_is_said(self):
        rounds = [measured(bench=1), measured(bench=1)]
        rounds[1]["bench"]["other_load"] = 0.5
        said = "took 25 % of the processors' time (median; 50 % at most)"
        self.assertIn(said, table.markdown(results(rounds)))


class Numbers(unittest.TestCase):
    def test_as_many_digits_as_mean_something(self):
        shown = [table.number(value) for value in [0.4567, 12.345, 345.6, 85959.1]]
        self.assertEqual(shown, ["0.46", "12.3", "346", "85,959"])


class Rows(unittest.TestCase):
    def test_each_row_compares_a_program_of_ours_with_one_of_a_peer(self):
        peers = {program.name: program.peer for program in programs.PROGRAMS}
        for row in table.ROWS:
            self.assertEqual(peers[row.ours], "gradflow", row)
            self.assertNotEqual(peers[row.peer], "gradflow", row)

    def test_every_program_and_every_group_is_in_a_row(self):
        names = {program.name for program in programs.PROGRAMS}
        self.assertEqual(table.needed(table.GROUPS), names)
        self.assertEqual({row.group for row in table.ROWS}, set(table.GROUPS))


if __name__ == "__main__":
    unittest.main()
