"""Reads the event files of a folder as TensorBoard does and prints what is in them, as JSON."""

import io
import json
import math
import sys

# This file's own folder would hide the package of the same name.
del sys.path[0]

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util


def number(value):
    # JSON has no other numbers.
    return value if math.isfinite(value) else None


def shown(histogram):
    return {
        "min": histogram.min,
        "max": histogram.max,
        "num": histogram.num,
        "sum": histogram.sum,
        "sum_squares": histogram.sum_squares,
        "bucket_limit": list(histogram.bucket_limit),
        "bucket": list(histogram.bucket),
    }


def pixels(image):
    with Image.open(io.BytesIO(image.encoded_image_string)) as picture:
        return list(picture.convert("RGB").tobytes())


def text(event):
    return tensor_util.make_ndarray(event.tensor_proto)[0].decode()


def node(node):
    shapes = node.attr["_output_shapes"].list.shape
    return {
        "name": node.name,
        "op": node.op,
        "input": list(node.input),
        "shapes": [[dim.size for dim in shape.dim] for shape in shapes],
    }


def main(folder):
    # Zero keeps everything.
    sizes = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}
    events = EventAccumulator(folder, size_guidance=sizes)
    events.Reload()
    tags = events.Tags()
    at = lambda event: [event.step, event.wall_time]
    json.dump(
        {
            "file_version": events.file_version,
            "scalars": {
                tag: [at(e) + [number(e.value)] for e in events.Scalars(tag)] for tag in tags["scalars"]
            },
            "histograms": {
                tag: [at(e) + [shown(e.histogram_value)] for e in events.Histograms(tag)]
                for tag in tags["histograms"]
            },
            "images": {
                tag: [at(e) + [e.width, e.height, pixels(e)] for e in events.Images(tag)]
                for tag in tags["images"]
            },
            "texts": {
                tag: [at(e) + [text(e)] for e in events.Tensors(tag)]
                for tag in tags["tensors"]
            },
            "graph": [node(n) for n in events.Graph().node] if tags["graph"] else None,
        },
        sys.stdout,
    )


main(sys.argv[1])
