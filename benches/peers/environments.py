"""Makes what is measured: the peers' environments, `runtime`, Burn's program, and the data."""

import random
import subprocess
import sys
import tarfile
from pathlib import Path

from process import Failed

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
RECORDS_PER_FILE = 10_000
FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def python(folder, library):
    """The Python of an environment that has what `requirements-LIBRARY.txt` pins."""
    environment = folder / {"tensorflow": "venv-tf", "torch": "venv-torch"}[library]
    requirements = HERE / f"requirements-{library}.txt"
    # Written last: it says that everything is there.
    installed = environment / "requirements.txt"
    binary = environment / "bin" / "python"
    if installed.is_file() and installed.read_bytes() == requirements.read_bytes():
        return binary
    if not binary.exists():
        do([sys.executable, "-m", "venv", environment])
    pip = [binary, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    do([*pip, "-r", requirements])
    installed.write_bytes(requirements.read_bytes())
    return binary


def runtime():
    """The command of this repository, as it is now."""
    do(["cargo", "build", "--release", "--bin", "runtime"])
    return REPOSITORY / "target" / "release" / "runtime"


def burn(folder):
    """Burn's program. The first time its build takes half an hour on two processors."""
    target = folder / "burn"
    manifest = HERE / "burn" / "Cargo.toml"
    build = ["cargo", "build", "--release", "--locked", "--manifest-path", manifest]
    do([*build, "--target-dir", target])
    return target / "release" / "burn-peer"


def do(command):
    print("peers:", *command, file=sys.stderr, flush=True)
    try:
        # What is printed on the way does not belong between the lines of the table.
        status = subprocess.run(command, cwd=REPOSITORY, stdout=sys.stderr).returncode
    except OSError as error:
        raise Failed(f"{command[0]} cannot be started: {error}") from error
    if status != 0:
        raise Failed(f"`{' '.join(map(str, command))}` failed")


def data(given, folder):
    """A folder with the unpacked CIFAR-10, and what its images are.

    Without any data, records of noise in the same format and number stand in: they are read and
    distorted in the same time, but nothing can be learned from them.
    """
    name = "cifar-10-batches-bin"
    if given is None:
        noise(folder / "noise" / name)
        return folder / "noise", "noise in the format of CIFAR-10"
    if (given / name).is_dir():
        return given, "CIFAR-10"
    archive = given / "cifar-10-binary.tar.gz"
    if not archive.is_file():
        sys.exit(f"{given} holds neither {name} nor {archive.name}")
    if not all((folder / "data" / name / file).is_file() for file in FILES):
        with tarfile.open(archive) as packed:
            packed.extractall(folder / "data", filter="data")
    return folder / "data", "CIFAR-10"


def noise(folder):
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(0)
    size_bytes = RECORDS_PER_FILE * 3073
    for name in FILES:
        path = folder / name
        if path.is_file() and path.stat().st_size == size_bytes:
            continue
        with path.open("wb") as file:
            for _ in range(RECORDS_PER_FILE):
                file.write(bytes([generator.randrange(10)]) + generator.randbytes(3072))
