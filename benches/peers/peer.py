"""What the peers' scripts share: the images, how time is taken, and what they print.

Time is taken as `runtime bench` takes it: each step, or each batch scored, from its beginning
until its result is on the host, and the rate is that of the median.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

BATCH = 128
BATCHES = 4
CROP_PX = 24
RECORD_BYTES = 1 + 3 * 32 * 32

# The tutorial's constants.
LEARNING_RATE = 0.1
WEIGHT_DECAY = 0.004
AVERAGE_DECAY = 0.9999
LRN_RADIUS, LRN_ALPHA, LRN_BETA = 4, 0.001 / 9, 0.75

# How weights are drawn: shape in TensorFlow's order, deviation of the truncated normal
# distribution, value of the biases.
LAYERS = {
    "conv1": ((5, 5, 3, 64), 0.05, 0.0),
    "conv2": ((5, 5, 64, 64), 0.05, 0.1),
    "local3": ((2304, 384), 0.04, 0.1),
    "local4": ((384, 192), 0.04, 0.1),
    "softmax_linear": ((192, 10), 1 / 192, 0.0),
}


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="of the measurement itself")
    return parser


def net_arguments(description):
    parser = arguments(description)
    parser.add_argument("what", choices=["train", "score"])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--bf16", action="store_true")
    lrn = "as the library has it, or as a 1x1 convolution with a band matrix, which is faster"
    parser.add_argument("--lrn", choices=["builtin", "band"], default="builtin", help=lrn)
    return parser.parse_args()


def images(data, count):
    """The first training images, cropped and whitened, [count, 24, 24, 3], and their labels.

    Only these records are read. That favours the peers: `runtime run` reads the whole set.
    """
    file = data / "cifar-10-batches-bin" / "data_batch_1.bin"
    records = np.fromfile(file, np.uint8, count * RECORD_BYTES).reshape(count, RECORD_BYTES)
    border = (32 - CROP_PX) // 2
    pixels = records[:, 1:].reshape(count, 3, 32, 32).transpose(0, 2, 3, 1)
    pixels = pixels[:, border:-border, border:-border].astype(np.float32)
    mean = pixels.mean((1, 2, 3), keepdims=True)
    floor = pixels[0].size ** -0.5
    deviation = np.maximum(pixels.std((1, 2, 3), keepdims=True), floor)
    return (pixels - mean) / deviation, records[:, 0].astype(np.int64)


def training_images(data):
    """The whole training set as bytes, [50000, 32, 32, 3], and its labels."""
    files = [data / "cifar-10-batches-bin" / f"data_batch_{n}.bin" for n in range(1, 6)]
    records = np.concatenate([np.fromfile(file, np.uint8) for file in files])
    records = records.reshape(-1, RECORD_BYTES)
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), records[:, 0].astype(np.int64)


def band(channels):
    """1 where two channels are neighbours in local response normalisation, [channels, channels]."""
    index = np.arange(channels)
    return (np.abs(index[:, None] - index[None, :]) <= LRN_RADIUS).astype(np.float32)


def batches(data, size):
    pixels, labels = images(data, BATCHES * size)
    return [(pixels[i : i + size], labels[i : i + size]) for i in range(0, len(labels), size)]


def trained(step, seconds):
    """The rate of `step(number)`, which trains on a batch and returns its loss on the host."""
    # The runner takes the time of this line: the same words as in the log of `runtime run`.
    print(f"step 0, loss = {step(0):.4f}", flush=True)
    number = 0

    def next_step():
        nonlocal number
        number += 1
        return step(number)

    return rate(next_step, BATCH, seconds)


def rate(work, count, seconds, warm_up_s=1.0):
    """Images per second of `work()`, which does `count` of them, by the median of its times."""
    repeat(work, min(warm_up_s, seconds), 2)
    return count / statistics.median(repeat(work, seconds, 5))


def rate_of_many(work, count, seconds, warm_up_s=1.0):
    """The same by the whole time: where batches are made ahead, the time of one says little."""
    repeat(work, min(warm_up_s, 3 * seconds), 2)
    times = repeat(work, seconds, 5)
    return count * len(times) / sum(times)


def repeat(work, seconds, least):
    times = []
    begin = time.perf_counter()
    while len(times) < least or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def report(**figures):
    """The last line that a peer prints."""
    print(json.dumps(figures), flush=True)
