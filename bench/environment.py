"""The Python environment with the peers, and the program that makes ncnn's files."""

import importlib.util
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PLOT = "matplotlib>=3.9,<4"
PNNX = "pnnx==20261020"


class Failure(Exception):
    """Something that the user can do something about."""


def prepare(python, torch):
    """The interpreter to measure with: `python`, or this one with everything installed into its environment."""
    if importlib.util.find_spec("matplotlib") is None:
        _install([PLOT])
    if python:
        return python
    _install(["-r", str(HERE / "requirements.txt")])
    _install(["--no-deps", PNNX])
    if torch:
        _install(["-r", str(HERE / "requirements-torch.txt")])
    return sys.executable


def pnnx(python):
    """The converter from ONNX to ncnn of that interpreter's environment; None where there is none."""
    code = "import importlib.util as u; s = u.find_spec('pnnx'); print(s.submodule_search_locations[0] if s else '')"
    folder = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    program = pathlib.Path(folder) / "pnnx"
    return program if folder and program.is_file() else None


def _install(arguments):
    if sys.prefix == sys.base_prefix:
        raise Failure("this Python is not that of a virtual environment: call `make bench`, which makes one")
    print(f"Installing {' '.join(arguments)}", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run(pip + arguments).returncode:
        raise Failure(f"pip cannot install {' '.join(arguments)}")
    importlib.invalidate_caches()
