#!/usr/bin/env python3
"""What only a GPU can show of sessions on a GPU. The machine that has one needs PyTorch, torchvision, transformers, onnx, onnxscript
and numpy, and neither Rust nor a network.

gpu_check.py pack FOLDER    build what is needed and put it into FOLDER, this file too
gpu_check.py run FOLDER     on the machine with the GPU: run the stages; results.json, report.md and log.txt say what came out

Every step of a stage is a process of its own with a limit on its time. None stops another, and what is known is written at once.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import report

HERE = pathlib.Path(__file__).resolve().parent
MODELS = (
    "resnet50 mobilenet_v2 bert_base vit_b_16 resnet18 densenet121 efficientnet_b0 mobilenet_v3_large convnext_tiny swin_t "
    "shufflenet_v2 squeezenet1_1 minilm lstm vgg16"
).split()
TIMED = MODELS[:4]
# Programs that test sessions, and their sources in tests/.
SESSIONS = {"sessions": "cuda", "numbers": "check", "completion": "completion"}
STAGES = "probe operators models lifecycle speed profile sanitizer compile".split()
LOG_BYTES = 8 << 20
SKIPPED = "skipped"


def pack(arguments):
    """Builds and copies."""
    root = HERE.parent.parent
    folder = arguments.folder.resolve()
    if not arguments.no_build:
        subprocess.run(["cargo", "xtask", "dist"], cwd=root, check=True)
    build = ["cargo", "test", "--package", "infer", "--features", "write", "--no-run", "--lib"]
    build += [argument for name in SESSIONS.values() for argument in ("--test", name)]
    messages = subprocess.run(build + ["--message-format", "json"], cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout
    built = (json.loads(line) for line in messages.splitlines() if line.startswith("{"))
    tests = {message["target"]["name"]: message["executable"] for message in built if message.get("executable")}
    files = {path: path.name for path in HERE.glob("*.py")}
    files |= {path: f"infer/{path.name}" for path in (root / "python" / "infer").glob("*.py")}
    files |= {root / "bench" / "export.py": "export.py", root / "examples" / "digits" / "digits.onnx": "digits.onnx"}
    programs = {root / "dist/lib/libinfer.so.1": "infer/libinfer.so.1", root / "dist/bin/infer": "infer/infer"}
    programs |= {tests["infer"]: "tests/operators"} | {tests[test]: f"tests/{name}" for name, test in SESSIONS.items()}
    for source, name in (files | programs).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        if source in programs:
            subprocess.run(["strip", target], check=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**20:.1f} MiB")


class Checks:
    """A run of the stages."""

    def __init__(self, arguments):
        self.folder = arguments.folder.resolve()
        self.out = (arguments.out or self.folder / "out").resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="gpu_check_"))
        self.small = arguments.small
        self.end = time.monotonic() + 60 * arguments.minutes
        self.models = ["resnet18"] if self.small else MODELS
        self.timed = ["resnet18"] if self.small else TIMED
        self.batches = "1" if self.small else "1,8,64,256"
        self.stage, self.results, self.lock = "", {"stages": {}}, threading.Lock()
        self.log = open(self.out / "log.txt", "w", encoding="utf-8", errors="replace")
        self.environment = {**os.environ, "INFER_TEST_DEVICE": "cuda", "CUDA_CACHE_PATH": str(self.work / "cache")}
        self.environment.setdefault("INFER_CUDA_LIBRARIES", os.pathsep.join(wheels()))
        self.exports = {}

    def run(self, stages):
        self.results["machine"] = machine()
        self.say(json.dumps(self.results["machine"]))
        if {"models", "speed", "profile", "compile"} & set(stages):
            # While others use the GPU.
            pool = ThreadPoolExecutor(4)
            self.exports = {name: pool.submit(self.export, name) for name in self.models}
        for stage in stages:
            self.begin(stage)
            begun = time.monotonic()
            try:
                getattr(self, "stage_" + stage)()
            except Exception as error:
                self.add({"ok": False, "what": stage, "error": f"{type(error).__name__}: {error}"})
            self.results["stages"][stage]["seconds"] = round(time.monotonic() - begun, 1)
            self.write()
        shutil.rmtree(self.work, ignore_errors=True)
        self.say((self.out / "report.md").read_text())

    # What is kept.

    def say(self, text):
        with self.lock:
            print(text, flush=True)
            self.note(text)

    def note(self, text):
        if self.log.tell() < LOG_BYTES:
            self.log.write(text + "\n")
            self.log.flush()

    def begin(self, stage):
        self.stage = stage
        self.results["stages"][stage] = {"rows": [], "seconds": 0}
        self.say(f"== {stage}, {self.end - time.monotonic():.0f} s are left")

    def add(self, row):
        """A result: `ok` is whether it is as it should be, `what` names it."""
        with self.lock:
            self.results["stages"][self.stage]["rows"].append(row)
            self.note(json.dumps(row))
            if not row.get("ok", True):
                print("FAILED", json.dumps(row)[:400], flush=True)
        self.write()

    def write(self):
        with self.lock:
            for name, text in (("results.json", json.dumps(self.results, indent=1)), ("report.md", report.text(self.results))):
                part = self.out / f".{name}"
                part.write_text(text)
                part.replace(self.out / name)

    # Processes.

    def process(self, what, command, seconds, **variables):
        """Runs a command; lines of JSON that it prints are results. Returns its status, None if it was too slow, and its other lines.

        Without time for it the status is SKIPPED.
        """
        limit = min(seconds, self.end - time.monotonic())
        if limit < 2:
            self.add({"ok": True, "what": what, "skipped": "no time is left"})
            return SKIPPED, []
        child = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", cwd=self.work, env={**self.environment, **variables}, start_new_session=True,
        )  # fmt: skip
        late = []

        def stop():
            late.append(True)
            os.killpg(child.pid, signal.SIGKILL)

        timer = threading.Timer(limit, stop)
        timer.start()
        lines = []
        for line in child.stdout:
            line = line.rstrip("\n")
            if line.startswith('{"ok"'):
                self.add(json.loads(line))
            else:
                lines.append(line)
                with self.lock:
                    self.note(f"[{what}] {line}")
        status = child.wait()
        timer.cancel()
        return (None if late else status), lines

    def step(self, what, command, seconds, **variables):
        """As `process`; that it fails is a result too."""
        status, lines = self.process(what, command, seconds, **variables)
        if status not in (0, SKIPPED):
            why = "was too slow and stopped" if status is None else f"ended with status {status}"
            self.add({"ok": False, "what": what, "error": why, "text": "\n".join(lines[-12:])})
        return lines

    def python(self, what, script, *arguments, seconds, **variables):
        options = ["--small"] if self.small else []
        command = [sys.executable, self.folder / script, *arguments, *options]
        # The stand-in takes a thousand times as long.
        return self.step(what, command, 600 if self.small else seconds, **variables)

    def export(self, name):
        arguments = ["export", name, self.work] + (["--batches"] if name in TIMED else [])
        command = [sys.executable, self.folder / "stages.py", *arguments] + (["--small"] if self.small else [])
        status, lines = self.process(f"export {name}", command, 240, OMP_NUM_THREADS="4", CUDA_VISIBLE_DEVICES="")
        return "" if status == 0 else "\n".join(lines[-6:]) or f"status {status}"

    def exported(self, names):
        """Those of the models that are there, each when it is."""
        for name in names:
            error = self.exports[name].result()
            if error:
                self.add({"ok": False, "what": name, "error": "not exported", "text": error})
            else:
                yield name

    # The stages.

    def stage_probe(self):
        self.python("probe", "stages.py", "probe", self.folder / "digits.onnx", self.work, seconds=60)

    def stage_operators(self):
        """The operators' tests, those of a family in a process, and the sessions'."""
        jobs = []
        for program in ("operators", *SESSIONS):
            every, apart = (self.names(program, *options) for options in ((), ("--ignored",)))
            names = sorted(set(every) - set(apart))
            if program in SESSIONS:
                jobs.append((program, "", names))
                continue
            families = {re.match(r"(ops::\w+|cuda|plan|exec)::", name) for name in names} - {None}
            families = sorted({match.group() for match in families})
            families = families[:3] if self.small else families
            jobs += [(program, family, [name for name in names if name.startswith(family)]) for family in families]
        with ThreadPoolExecutor(2 if self.small else 4) as pool:
            list(pool.map(lambda job: self.tests(*job), jobs))

    def names(self, program, *options):
        """The tests that a program has."""
        _, lines = self.process(f"list {program}", [self.folder / "tests" / program, "--list", *options], 20)
        return [line.removesuffix(": test") for line in lines if line.endswith(": test")]

    def tests(self, program, family, names):
        """Runs tests; those that do not pass are run again, each by itself."""
        executable = self.folder / "tests" / program
        what = family.rstrip(":") or program
        status, lines = self.process(what, [executable, family, "--test-threads=4"], 150)
        if status == SKIPPED:
            return
        found = [re.match(r"test (\S+) .*?(ok|FAILED|ignored)\b", line) for line in lines]
        outcome = {match.group(1): match.group(2) for match in found if match}
        wrong = [name for name in names if outcome.get(name) not in ("ok", "ignored")]
        row = {"ok": not wrong, "what": what, "passed": sum(value == "ok" for value in outcome.values()), "failed": len(wrong)}
        if wrong:
            row |= {"status": status, "tests": wrong}
        self.add(row)
        for name in wrong[:8]:
            command = [executable, name, "--exact", "--nocapture"]
            status, lines = self.process(name, command, 30, INFER_CUDA_BLOCKING="1")
            again = "passes by itself" if status == 0 else f"status {status}"
            start = next((at for at, line in enumerate(lines) if "panicked" in line), max(0, len(lines) - 10))
            self.add({"ok": False, "what": name, "error": again, "text": "\n".join(lines[start : start + 10])[:1500]})

    def stage_models(self):
        with ThreadPoolExecutor(1 if self.small else 3) as pool:
            list(pool.map(self.model, self.models))

    def model(self, name):
        for found in self.exported([name]):
            self.python(name, "stages.py", "model", found, self.work, seconds=90)

    def stage_lifecycle(self):
        self.python("lifecycle", "stages.py", "lifecycle", self.folder / "digits.onnx", self.work, seconds=60)

    def stage_speed(self):
        peers = "autocast,half,graph,script"
        for name in self.exported(self.timed):
            self.python(name, "speed.py", "peers", name, self.work, self.batches, peers, seconds=70)
        for name in self.exported(self.timed[:1]):
            batch = "1" if self.small else "64"
            self.python(f"{name} precisions", "speed.py", "precisions", name, self.work, batch, seconds=40)

    def stage_profile(self):
        for name in self.exported(self.timed[:1]):
            for batch in ("1",) if self.small else ("1", "64"):
                size = 64 if self.small else 224
                command = [self.folder / "infer/infer", "bench", self.work / f"{name}.infer", "--device", "cuda"]
                command += ["--precision", "f16", "--profile", "--slowest", "25", "--seconds", "1"]
                lines = self.step(f"profile {name}", command + ["--shape", f"in0={batch}x3x{size}x{size}"], 60)
                if lines:
                    self.add({"ok": True, "what": f"{name}, batch {batch}", "profile": "\n".join(lines)})

    def stage_sanitizer(self):
        places = ("/usr/local/cuda/bin", "/opt/cuda/bin", "/usr/local/cuda/compute-sanitizer")
        tool = shutil.which("compute-sanitizer", path=os.pathsep.join((os.environ.get("PATH", ""), *places)))
        if not tool:
            self.add({"ok": True, "what": "sanitizer", "skipped": "compute-sanitizer is not installed"})
            return
        some = ["ops::softmax::", "ops::matmul::", "ops::conv::", "ops::reduce::", "ops::pool", "ops::norm"]
        for name, filters in (("sessions", []), ("operators", some)):
            for check in ("memcheck", "racecheck"):
                command = [tool, "--tool", check, "--error-exitcode", "9", self.folder / "tests" / name, *filters]
                status, lines = self.process(f"{check} {name}", command, 40)
                if status == SKIPPED:
                    return
                summary = [line for line in lines if "SUMMARY" in line][-1:]
                shown = [line for line in lines if line.startswith("=========")][:12]
                bad = status == 9 or any("ERROR" in line and " 0 errors" not in line for line in summary)
                row = {"ok": not bad, "what": f"{check} {name}", "summary": " ".join(summary) or f"status {status}"}
                self.add(row | ({"text": "\n".join(shown)} if bad else {}))

    def stage_compile(self):
        for name in self.exported(self.timed):
            for batch in self.batches.split(",")[::2]:
                self.python(f"{name} compiled", "speed.py", "peers", name, self.work, batch, "compile", seconds=150)


def wheels():
    """Folders of NVIDIA's libraries that came with PyTorch."""
    parents = (pathlib.Path(path) / "nvidia" for path in sys.path)
    return sorted({str(folder) for parent in parents for folder in parent.glob("*/lib")})


def machine():
    """What there is."""
    facts = {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()}
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    try:
        facts["gpu"] = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        facts["gpu"] = "nvidia-smi does not run"
    code = "import importlib.metadata as m\nfor n in 'torch torchvision transformers onnx onnxscript numpy'.split():\n try: print(n, m.version(n))\n except Exception: print(n, '-')"
    versions = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    return facts | dict(line.split() for line in versions.splitlines())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="build what is needed and put it into a folder")
    packing.add_argument("folder", type=pathlib.Path)
    packing.add_argument("--no-build", action="store_true", help="take the library and the command that are in dist/")
    running = commands.add_parser("run", help="run the stages")
    running.add_argument("folder", type=pathlib.Path)
    running.add_argument("--out", type=pathlib.Path, help="where the results go (default FOLDER/out)")
    running.add_argument("--only", default=",".join(STAGES), help=f"some of {','.join(STAGES)}")
    running.add_argument("--minutes", type=float, default=9, help="when to be done (default 9)")
    running.add_argument("--small", action="store_true", help="one small model and few runs: to try this without a GPU, on the stand-in")
    arguments = parser.parse_args()
    if arguments.command == "pack":
        return pack(arguments)
    stages = arguments.only.split(",")
    if unknown := set(stages) - set(STAGES):
        parser.error(f"there is no stage {', '.join(sorted(unknown))}")
    Checks(arguments).run([stage for stage in STAGES if stage in stages])


if __name__ == "__main__":
    main()
