"""Runs the models of a folder with onnxruntime: prints, as JSON, the logits of the floats in
images.bin, or of NAME.bin beside NAME.onnx, and what each file says of itself."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(sys.argv[1])
found = {}
for path in sorted(folder.glob("*.onnx")):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    own = path.with_suffix(".bin")
    values = np.fromfile(own if own.exists() else folder / "images.bin", "<f4")
    values = values.reshape(-1, *images.shape[1:])
    (logits,) = session.run(["logits"], {images.name: values})
    found[path.stem] = {
        "input": [images.name, images.shape[1:]],
        "metadata": session.get_modelmeta().custom_metadata_map,
        "logits": [float(value) for value in logits.ravel()],
    }
json.dump(found, sys.stdout)
