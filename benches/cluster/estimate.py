"""Estimates how training scales over processes, from constants that were measured, and draws it.

    python3 benches/cluster/estimate.py            prints the table of docs/cluster.md
    python3 benches/cluster/estimate.py FILE.svg   draws its picture as well

The constants are those of the tutorial's network on the machine that docs/cluster.md names. Measure
yours with `runtime bench` and the example `exchange`, and put them here.
"""

import math
import sys

NUMBERS = 1_068_298  # of the gradient
IMAGES = 128  # of each process
IMAGE_S = 1 / 4_039  # forward and backward, measured: `runtime bench`, 2 cores
UPDATE_S = 1.4e-3  # measured: `runtime bench --adapters`
PASS_S = 0.16e-6  # an image of another process on its way through reader and shuffler, measured
MESSAGE_S = 1e-6  # assumed: what a process spends on each of the n - 1 messages of a piece
MEETING_S = 7e-6  # of two processes, measured over TCP; a factor of log2(n) for more, assumed
MEETINGS = 2  # of a step
PIECE = 1 << 18  # numbers that are summed at a time, or more:
LEAST_BLOCK = 1 << 12  # at least so many of each process

# Bytes a second to and from each process. The first is measured, the others are what such a network
# is said to carry.
NETWORKS = [
    ("TCP as measured, 0.79 GB/s", 0.79e9, "#b4552d"),
    ("25 Gbit/s", 25e9 / 8, "#2d6cb4"),
    ("200 Gbit/s", 200e9 / 8, "#2d8a4e"),
]
RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


def step_s(ranks, bytes_per_s):
    """The seconds of a step, each process with as many images as one alone."""
    compute = IMAGES * IMAGE_S + UPDATE_S
    others = (ranks - 1) * IMAGES * PASS_S
    if ranks == 1:
        return compute
    pieces = math.ceil(NUMBERS / max(PIECE, ranks * LEAST_BLOCK))
    data = 2 * (ranks - 1) / ranks * 4 * NUMBERS / bytes_per_s
    messages = 2 * pieces * (ranks - 1) * MESSAGE_S
    meetings = MEETINGS * MEETING_S * math.log2(ranks)
    return compute + others + data + messages + meetings


def efficiency(ranks, bytes_per_s):
    return step_s(1, bytes_per_s) / step_s(ranks, bytes_per_s)


def table():
    names = " | ".join(name for name, _, _ in NETWORKS)
    print(f"| processes | MB to and from each, a step | {names} |")
    print("|--:|--:|" + "--:|" * len(NETWORKS))
    for ranks in RANKS:
        data = 2 * (ranks - 1) / ranks * 4 * NUMBERS / 1e6
        cells = [
            f"{1e3 * step_s(ranks, rate):.1f} ms, {100 * efficiency(ranks, rate):.0f} %"
            for _, rate, _ in NETWORKS
        ]
        print(f"| {ranks:,} | {data:.2f} | " + " | ".join(cells) + " |")


def drawing():
    width, height, left, bottom = 720, 420, 70, 370
    right, top = 560, 30
    x = lambda ranks: left + (right - left) * math.log2(ranks) / math.log2(RANKS[-1])
    y = lambda share: bottom - (bottom - top) * share
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{y(share):.1f}" y2="{y(share):.1f}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{100 * share:.0f} %</text>'
        )
    for ranks in RANKS:
        parts.append(
            f'<text x="{x(ranks):.1f}" y="{bottom + 20}" text-anchor="middle">{ranks}</text>'
        )
    lowest = 0.0
    for name, rate, colour in sorted(NETWORKS, key=lambda network: -network[1]):
        points = " ".join(f"{x(n):.1f},{y(efficiency(n, rate)):.1f}" for n in RANKS)
        last = y(efficiency(RANKS[-1], rate))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        label = name.split(",")[0]
        lowest = max(last + 4, lowest + 16)
        parts.append(f'<text x="{right + 8}" y="{lowest:.1f}" fill="{colour}">{label}</text>')
    parts.append(
        f'<text x="{(left + right) / 2}" y="{height - 8}" text-anchor="middle">'
        f"processes, each with {IMAGES} images of a batch</text>"
        f'<text x="{left}" y="18">estimated images/s, as a part of so many times one process</text>'
        "</svg>"
    )
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    table()
    for path in sys.argv[1:]:
        with open(path, "w", encoding="utf-8") as file:
            file.write(drawing())
