"""Writes CIFAR-10 as folders of PNG files, for `examples/my-images.yaml`.

usage: cifar10_to_png.py BATCHES FOLDER

BATCHES holds data_batch_1.bin and so on; FOLDER, which must not be there yet, gets train/CLASS/N.png
and test/CLASS/N.png. Needs NumPy and Pillow.
"""

import os
import sys

import numpy
from PIL import Image

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def main(batches, folder):
    os.makedirs(folder)
    for split, names in (
        ("train", [f"data_batch_{number}.bin" for number in range(1, 6)]),
        ("test", ["test_batch.bin"]),
    ):
        for name in CLASSES:
            os.makedirs(os.path.join(folder, split, name))
        records = [numpy.fromfile(os.path.join(batches, name), numpy.uint8) for name in names]
        records = numpy.concatenate(records).reshape(-1, 3073)
        for number, record in enumerate(records):
            pixels = numpy.ascontiguousarray(record[1:].reshape(3, 32, 32).transpose(1, 2, 0))
            name = os.path.join(folder, split, CLASSES[record[0]], f"{number:05}.png")
            Image.fromarray(pixels).save(name, compress_level=1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
