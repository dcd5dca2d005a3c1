"""Writes small data sets as SciPy, NumPy and Pillow write them: `datasets.py FOLDER`."""

import gzip
import json
import os
import struct
import sys

import numpy
import scipy.io
from PIL import Image

folder = sys.argv[1]
random = numpy.random.default_rng(5)
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def below(*names):
    path = os.path.join(folder, *names)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def images(count, *shape):
    return random.integers(0, 256, (count, *shape), numpy.uint8)


def svhn(place, compressed, kinds):
    """MATLAB level 5: X with the images last, y with 10 for the digit 0."""
    first = {}
    for (name, count), kind in zip((("train", 60), ("test", 20)), kinds):
        all_images = images(count, 32, 32, 3)
        labels = numpy.arange(count) % 10
        written = numpy.where(labels == 0, 10, labels).astype(kind).reshape(-1, 1)
        x = numpy.ascontiguousarray(all_images.transpose(1, 2, 3, 0))
        path = below(place, f"{name}_32x32.mat")
        scipy.io.savemat(path, {"X": x, "y": written}, do_compression=compressed)
        first[name] = all_images[7].ravel()[:6].tolist()
    return first


def idx(place, packed):
    for name, count in (("train", 60), ("t10k", 20)):
        pixels, labels = images(count, 28, 28), (numpy.arange(count) % 10).astype(numpy.uint8)
        open_file, ending = (gzip.open, ".gz") if packed else (open, "")
        with open_file(below(place, f"{name}-images-idx3-ubyte{ending}"), "wb") as file:
            file.write(struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes())
        with open_file(below(place, f"{name}-labels-idx1-ubyte{ending}"), "wb") as file:
            file.write(struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes())


def cifar100(place):
    for name, count in (("train", 200), ("test", 100)):
        fine = numpy.arange(count, dtype=numpy.uint8) % 100
        records = numpy.concatenate(
            [(fine // 5)[:, None], fine[:, None], images(count, 3 * 1024)], axis=1
        )
        with open(below(place, "cifar-100-binary", f"{name}.bin"), "wb") as file:
            file.write(records.tobytes())


def photos(place):
    """Every kind of photo that Pillow writes, a few of each class."""
    for split, count in (("train", 6), ("test", 2)):
        for number, name in enumerate(CLASSES):
            for at in range(count):
                size = (32 + 9 * at, 40 + number)
                picture = Image.fromarray(images(1, size[1], size[0], 3)[0])
                mode = ("RGB", "L", "RGBA", "P", "LA", "RGB")[at]
                ending = "jpg" if at in (1, 5) else "png"
                path = below(place, split, name, f"{at}.{ending}")
                # One JPEG in several scans; a PNG is what it would be anyway.
                picture.convert(mode).save(path, progressive=at == 5)
    # One that ends in its middle.
    with open(below(place, "train", "cat", "5.jpg"), "r+b") as file:
        file.truncate(os.path.getsize(file.name) // 2)


print(
    json.dumps(
        {
            "packed": svhn("svhn-packed", True, (numpy.uint8, numpy.int64)),
            "plain": svhn("svhn-plain", False, (numpy.float64, numpy.uint64)),
        }
    )
)
idx("mnist-packed", True)
idx("mnist-plain", False)
cifar100("cifar100")
photos("photos")
