"""Compiles CUDA sources to PTX with NVRTC: one `FOLDER/FILE.ARCHITECTURE.ptx` for each file and architecture.

No GPU and no CUDA toolkit is needed, only the wheel nvidia-cuda-nvrtc-cu12 in the same Python environment.
"""

import argparse
import ctypes
import faulthandler
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import nvidia.cuda_nvrtc

OPTIONS = ["--std=c++17", "-default-device"]

# Seconds after which a compiler that hangs is given up; all files take less than a minute.
LIMIT = 900


def load():
    folder = pathlib.Path(list(nvidia.cuda_nvrtc.__path__)[0])
    return ctypes.CDLL(str(next(folder.glob("lib/libnvrtc.so.*"))))


def text(size, get, program):
    """What one of the pairs of functions nvrtcGet…Size and nvrtcGet… has to say."""
    length = ctypes.c_size_t()
    size(program, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value)
    get(program, buffer)
    return buffer.value.decode()


def strings(texts):
    return (ctypes.c_char_p * len(texts))(*[text.encode() for text in texts])


def compile(nvrtc, file, architecture, include):
    """The PTX, or None if there are errors; and the compiler's log."""
    options = [*OPTIONS, f"--gpu-architecture={architecture}"]
    options += [f"--include-path={folder}" for folder in [pathlib.Path(file).parent, *include]]
    program = ctypes.c_void_p()
    source = pathlib.Path(file).read_bytes()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, file.encode(), 0, None, None):
        return None, "nvrtcCreateProgram fails"
    failed = nvrtc.nvrtcCompileProgram(program, len(options), strings(options))
    log = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
    ptx = None if failed else text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx, log


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--include", action="append", default=[])
    parser.add_argument("--architecture", action="append", required=True)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    nvrtc = load()
    jobs = [(file, architecture) for file in args.files for architecture in args.architecture]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda job: compile(nvrtc, *job, args.include), jobs))
    for (file, architecture), (ptx, log) in zip(jobs, results):
        if log.strip():
            print(f"{file} for {architecture}:\n{log}")
        if ptx is not None:
            path = args.out / f"{file}.{architecture}.ptx"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(ptx)
    sys.exit(any(ptx is None for ptx, _ in results))


if __name__ == "__main__":
    main()
