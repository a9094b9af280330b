#!/usr/bin/env python3
"""Measures libinfer beside other runtimes and writes a report.

Each measurement is a process of its own; each round takes the runtimes in another order, so that what else the machine does meets
all of them alike. Called by `make bench ARGS="..."`, which builds the library and creates the Python environment.
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import environment
import report
from environment import Failure
from runtimes import RUNTIMES

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = ["onnxruntime", "openvino", "ncnn"]
EXAMPLE = """example:
  make bench ARGS="--models exported --only resnet18,minilm --threads 1,2"
  make bench ARGS="--torch --export"        everything, with models that PyTorch exports first"""


def arguments():
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    build = ROOT / "build" / "bench"
    names = lambda text: [name for name in text.split(",") if name]
    numbers = lambda text: [int(number) for number in names(text)]
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--models",
        type=pathlib.Path,
        default=build / "models",
        metavar="DIR",
        help="folder with NAME.onnx, and NAME.npz with inputs in0, in1, ... and the output out0 (default: build/bench/models)",
    )
    parser.add_argument("--only", type=names, metavar="NAME,...", help="only these models")
    parser.add_argument(
        "--runtimes",
        type=names,
        metavar="NAME,...",
        help=f"of {', '.join(RUNTIMES)} (default: infer,{','.join(PEERS)}, with --torch also torchscript)",
    )
    parser.add_argument(
        "--threads", type=numbers, default=sorted({1, cores}), metavar="N,...", help="thread counts (default: 1 and all cores)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each runtime (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each (default: %(default)s)")
    parser.add_argument("--python", metavar="PATH", help="an interpreter that has the peers already; nothing is installed for them")
    parser.add_argument("--torch", action="store_true", help="also PyTorch, which is several GB")
    parser.add_argument("--export", action="store_true", help="first export the models that are missing; needs PyTorch")
    parser.add_argument("--no-build", action="store_true", help="measure what is in dist/ as it is")
    parser.add_argument("--no-profile", action="store_true", help="leave out the table of operators")
    parser.add_argument("--out", type=pathlib.Path, default=build, metavar="DIR", help="where the report goes (default: build/bench)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead of the report")
    options = parser.parse_args()
    options.runtimes = options.runtimes or ["infer", *PEERS] + ["torchscript"] * options.torch
    unknown = set(options.runtimes) - set(RUNTIMES)
    if unknown:
        parser.error(f"unknown runtimes {', '.join(sorted(unknown))}")
    return options


def say(text):
    print(text, file=sys.stderr, flush=True)


def models(options, python):
    """Names of the models, after the export of those that are missing."""
    if options.export:
        command = [python, str(HERE / "export.py"), str(options.models), *(options.only or [])]
        if subprocess.run(command).returncode:
            raise Failure("not all models could be exported")
    there = sorted(path.stem for path in options.models.glob("*.onnx") if path.with_suffix(".npz").is_file())
    names = options.only or there
    missing = sorted(set(names) - set(there))
    if missing or not names:
        what = ", ".join(missing) or "no model"
        raise Failure(f"{options.models} has {what if not missing else 'no ' + what}: export them with --torch --export")
    return names


class Bench:
    def __init__(self, options, python):
        self.options, self.python = options, python
        self.command = os.environ.get("INFER_CLI") or str(ROOT / "dist" / "bin" / "infer")
        self.folder = options.out / "converted"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.errors = {}

    def convert(self, name):
        """Makes the files that the runtimes read beside ONNX ones."""
        source = self.options.models / f"{name}.onnx"
        if "infer" in self.options.runtimes:
            target = self.folder / f"{name}.infer"
            self.tool([self.command, "convert", "--quiet", str(source), str(target)], "infer", name)
        if "ncnn" in self.options.runtimes and not self.file(name, "ncnn").is_file():
            self.convert_ncnn(name, source)

    def convert_ncnn(self, name, source):
        import numpy

        pnnx = environment.pnnx(self.python)
        if pnnx is None:
            self.errors[name, "ncnn"] = "pnnx is not there"
            return
        arrays = numpy.load(source.with_suffix(".npz"))
        inputs = [arrays[key] for key in sorted(arrays.files) if key.startswith("in")]
        shapes = [f"[{','.join(map(str, array.shape))}]{array.dtype.kind}{8 * array.dtype.itemsize}" for array in inputs]
        with tempfile.TemporaryDirectory() as folder:
            link = pathlib.Path(folder) / source.name
            link.symlink_to(source.resolve())
            if self.tool([str(pnnx), str(link), "inputshape=" + ",".join(shapes), "fp16=0"], "ncnn", name):
                for suffix in (".ncnn.param", ".ncnn.bin"):
                    shutil.copy(link.with_suffix(suffix), self.folder)

    def tool(self, command, runtime, name):
        """Runs a converter; whether it succeeded."""
        say(f"{name}: converting for {runtime}")
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            self.errors[name, runtime] = last_line(done.stderr) or f"status {done.returncode}"
        return not done.returncode

    def file(self, name, runtime):
        """The file of a model that a runtime reads."""
        suffix = RUNTIMES[runtime].suffix
        given = self.options.models / f"{name}{suffix}"
        return self.folder / f"{name}{suffix}" if runtime == "infer" or not given.is_file() else given

    def measure(self, name, runtime, threads):
        file = self.file(name, runtime)
        if (name, runtime) in self.errors or not file.is_file():
            return {"failure": self.errors.get((name, runtime), f"there is no {file.name}")}
        model = str(file).removesuffix(RUNTIMES[runtime].suffix)
        data = str(self.options.models / f"{name}.npz")
        seconds = self.options.seconds
        command = [self.python, str(HERE / "measure.py"), runtime, model, data, str(threads), str(seconds)]
        path = os.pathsep.join([str(ROOT / "python"), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONPATH=path)
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, timeout=300 + 10 * seconds)
        except subprocess.TimeoutExpired:
            return {"failure": "it took more than five minutes"}
        if done.returncode:
            return {"failure": last_line(done.stderr) or f"status {done.returncode}"}
        return json.loads(done.stdout.splitlines()[-1])

    def rounds(self, name, threads, progress):
        """All measurements of one model, in rounds that begin with another runtime each."""
        runtimes = self.options.runtimes
        results = {runtime: [] for runtime in runtimes}
        for turn in range(self.options.rounds):
            shift = turn % len(runtimes)
            for runtime in runtimes[shift:] + runtimes[:shift]:
                result = self.measure(name, runtime, threads)
                results[runtime].append(result)
                figure = f"{result['p50_ms']:.2f} ms" if "p50_ms" in result else result["failure"]
                progress(f"{name}, {threads} threads, round {turn + 1}: {runtime} {figure}")
        return {runtime: summary(results[runtime]) for runtime in runtimes} | {"ratios": ratios(results)}

    def profile(self, name, threads):
        """What `infer bench` says of the operators of a model."""
        model = str(self.folder / f"{name}.infer")
        command = [self.command, "bench", model, "--threads", str(threads), "--seconds", "1", "--profile", "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
        return None if done.returncode else json.loads(done.stdout)["profile"]


def last_line(text):
    return (text.strip().splitlines() or [""])[-1][:200]


def summary(results):
    """The median of each figure over the rounds; the failure, if one failed."""
    failed = [result for result in results if "failure" in result]
    if failed:
        return failed[0]
    figures = [key for key, value in results[0].items() if not isinstance(value, str)]
    return {key: statistics.median(result[key] for result in results) for key in figures} | {"version": results[0]["version"]}


def ratios(results):
    """How many times our latency each peer's is: the median over the rounds, within which the machine was the same."""
    ours = results.get("infer", [])
    if not ours or any("failure" in result for result in ours):
        return {}
    good = {runtime: theirs for runtime, theirs in results.items() if not any("failure" in result for result in theirs)}
    return {
        runtime: statistics.median(b["p50_ms"] / a["p50_ms"] for a, b in zip(ours, theirs))
        for runtime, theirs in good.items()
        if runtime != "infer"
    }


def cpu():
    """The name of the processor."""
    with open("/proc/cpuinfo") as info:
        names = [line.split(":")[1].strip() for line in info if line.startswith("model name")]
    return f"{names[0] if names else 'unknown CPU'}, {len(os.sched_getaffinity(0))} cores"


def main():
    options = arguments()
    python = environment.prepare(options.python, options.torch)
    names = models(options, python)
    bench = Bench(options, python)
    total = len(names) * len(options.threads) * options.rounds * len(options.runtimes)
    done = 0

    def progress(text):
        nonlocal done
        done += 1
        say(f"[{done}/{total}] {text}")

    result = {"date": datetime.date.today().isoformat(), "machine": cpu(), "rounds": options.rounds, "threads": {}}
    for name in names:
        bench.convert(name)
    for threads in options.threads:
        rows = {}
        for name in names:
            rows[name] = bench.rounds(name, threads, progress)
            if "infer" in options.runtimes and not options.no_profile:
                rows[name]["profile"] = bench.profile(name, threads)
        result["threads"][str(threads)] = rows
        # After each part, so that a long run that is stopped leaves something.
        (options.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    text = report.markdown(result, options.runtimes)
    (options.out / "report.md").write_text(text)
    plots = report.plot(result, options.runtimes, options.out)
    print(json.dumps(result) if options.json else text)
    say(f"Written to {options.out}: results.json, report.md, {', '.join(plots)}")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
