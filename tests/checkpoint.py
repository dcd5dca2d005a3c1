"""Opens a checkpoint with the safetensors package and prints what is in it, as JSON."""

import json
import sys

import numpy as np
from safetensors import safe_open

with safe_open(sys.argv[1], framework="np") as file:
    tensors = {name: file.get_tensor(name) for name in file.keys()}
    json.dump(
        {
            "metadata": sorted(file.metadata()),
            "tensors": {
                name: {
                    "shape": list(values.shape),
                    "type": str(values.dtype),
                    "finite": bool(np.isfinite(values).all()),
                    "deviation": float(values.std()),
                }
                for name, values in tensors.items()
            },
        },
        sys.stdout,
    )
