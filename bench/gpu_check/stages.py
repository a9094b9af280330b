"""Steps that gpu_check.py runs as processes; each prints its results, a line of JSON for each.

stages.py export NAME FOLDER [--batches]       from PyTorch to NAME.infer, NAME.npz, NAME.pth
stages.py probe|lifecycle DIGITS.onnx FOLDER
stages.py model NAME FOLDER                    the converted model on the GPU beside PyTorch's output in f32; in smaller floats it
                                               may be off by as much as PyTorch is in them
"""

import argparse
import copy
import json
import pathlib
import subprocess
import sys
import time

import numpy as np

import infer

TOLERANCES = {"f32": 1e-4, "f16": 2e-2, "bf16": 2e-2}
RUNS, CYCLES, WARM_UP = 100, 1000, 20
# Memory of the process and of the GPU that may be there after all cycles and was not before.
RESIDENT_SLACK, DEVICE_SLACK = 8 << 20, 4 << 20


def say(ok, what, **facts):
    print(json.dumps({"ok": bool(ok), "what": what, **facts}), flush=True)


def error_of(got, wanted):
    """Relative to the largest value; infinite if anything is not a number."""
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    if got.shape != wanted.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))


def small_image():
    import torch

    return (torch.randn(1, 3, 64, 64),)


def inputs_maker(name, small):
    """What makes inputs of the model, and the model."""
    import export

    new, inputs_of = export.MODELS[name]
    return new, (small_image if small else inputs_of)


def rounding(torch, model, inputs, dtype):
    """What smaller floats do to this model, whoever computes: the error of PyTorch's result."""
    with torch.no_grad():
        output = copy.deepcopy(model).to(dtype)(*(tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in inputs))
        return error_of(output.float().numpy(), model(*inputs).numpy())


def pytorch_error(name, folder, precision):
    """What PyTorch's own result in this precision is off by; 0 for f32."""
    return json.loads((folder / f"{name}.json").read_text()).get(precision, 0)


def export_model(arguments):
    import export
    import torch

    name, folder = arguments.name, arguments.folder
    export.MODELS[name] = inputs_maker(name, arguments.small)
    model, inputs = export.make(name, folder)
    torch.save(model.state_dict(), folder / f"{name}.pth")
    errors = {precision: rounding(torch, model, inputs, dtype) for precision, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16))}
    (folder / f"{name}.json").write_text(json.dumps(errors))
    path = folder / f"{name}.onnx"
    with torch.no_grad():
        try:
            batch = [{0: torch.export.Dim("batch", min=1, max=1024)} for _ in inputs] if arguments.batches else None
            twice = tuple(torch.cat([tensor, tensor]) for tensor in inputs) if batch else inputs
            export.save_onnx(model, twice, path, **({"dynamic_shapes": tuple(batch)} if batch else {}))
        except Exception as error:
            if not arguments.batches:
                raise
            print(f"{name}: one batch size only: {error}", file=sys.stderr)
            export.save_onnx(model, inputs, path)
    infer.convert(path, folder / f"{name}.infer")
    path.unlink()


def probe(arguments):
    from driver import Gpu, Resident, describe

    path = arguments.folder / "digits.infer"
    infer.convert(arguments.name, path)
    info = describe()
    capability, memory = info.capability / 1000, info.memory / 2**30
    say(True, "device", name=info.name.decode(), capability=capability, units=info.units, memory_gib=round(memory, 1))
    libraries = [f"{row['name']} {row['version']}" if row["version"] else row["reason"] for row in inspect(path)["libraries"]]
    say(True, "libraries", summary=", ".join(libraries))
    images = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    begun = time.perf_counter()
    session = infer.Session(path, device="cuda")
    created = time.perf_counter()
    [got] = session.run({"image": images})
    ran = time.perf_counter()
    [wanted] = infer.Session(path).run({"image": images})
    times = {"session_ms": 1e3 * (created - begun), "first_run_ms": 1e3 * (ran - created)}
    say(error_of(got, wanted) < 1e-4, "digits", error=error_of(got, wanted), **times)
    resident = Resident(Gpu(), session, [images])
    for _ in range(4):
        resident.run()
    error = error_of(resident.results()[0], wanted)
    say(error < 1e-4, "digits in the GPU's memory", error=error)
    dlpack(session, images, wanted)


def dlpack(session, images, wanted):
    """Tensors of PyTorch's, made just before."""
    import torch

    if not torch.cuda.is_available():
        return say(True, "DLPack", skipped="PyTorch has no GPU")
    for stream in (torch.cuda.current_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(stream):
            for _ in range(4):
                tensor = torch.from_numpy(images).pin_memory().to("cuda", non_blocking=True) * 2 / 2
                error = error_of(session.run({"image": tensor})[0], wanted)
                if error >= 1e-4:
                    return say(False, "DLPack", error=error)
    return say(True, "DLPack", error=error)


def model(arguments):
    name, folder = arguments.name, arguments.folder
    path, runs = folder / f"{name}.infer", 3 if arguments.small else RUNS
    arrays = np.load(folder / f"{name}.npz")
    for precision in TOLERANCES:
        what, tolerance = f"{name} {precision}", TOLERANCES[precision]
        try:
            session = infer.Session(path, device="cuda", precision=precision)
            feed = {port.name: arrays[f"in{index}"] for index, port in enumerate(session.inputs)}
            first = session.run(feed)[0]
            error = error_of(first, arrays["out0"])
            different = sum(session.run(feed)[0].tobytes() != first.tobytes() for _ in range(runs))
            facts = steps(path, precision, arrays)
            ok = error <= tolerance and different == 0
            pytorch = pytorch_error(name, folder, precision)
            say(ok, what, error=error, tolerance=tolerance, pytorch=pytorch, runs=runs, different=different, **facts)
        except (infer.Error, OSError, ValueError, subprocess.CalledProcessError) as failure:
            say(False, what, error=str(failure), node=getattr(failure, "node", ""))


def inspect(path, *options):
    """What the command tells of a model on the GPU."""
    command = [infer._library.find_command(), "inspect", path, "--device", "cuda", "--json", *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def steps(path, precision, arrays):
    """How many steps there are, those of the processor by operator, and what NVIDIA's libraries refuse."""
    options = ["--precision", precision]
    for index in range(sum(name.startswith("in") for name in arrays.files)):
        options += ["--shape", f"in{index}=" + "x".join(map(str, arrays[f"in{index}"].shape))]
    report = inspect(path, *options)
    on_cpu = [step["operator"] for step in report["steps"] if step["place"] == "cpu"]
    facts = {"steps": len(report["steps"]), "on_cpu": len(on_cpu), "cpu_operators": sorted(set(on_cpu))}
    refused = [row for library in report["libraries"] for row in library["refused"]]
    return facts | ({"refused": len(refused), "refusals": refused[:4]} if refused else {})


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def lifecycle(arguments):
    from driver import Gpu, describe, trim

    path, cycles = arguments.folder / "digits.infer", 20 if arguments.small else CYCLES
    if not path.is_file():
        infer.convert(arguments.name, path)
    # It keeps the context, as an application that uses the GPU itself does.
    gpu = Gpu()
    images = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    before = None
    begun = time.perf_counter()
    for cycle in range(WARM_UP + cycles):
        if cycle == WARM_UP:
            trim()
            before = resident_bytes(), gpu.free()
        session = infer.Session(path, threads=1, device="cuda", precision=("f32", "f16")[cycle % 2])
        for count in (1, 1, 3, 3):
            session.run({"image": images[:count]})
        del session
    each = 1e3 * (time.perf_counter() - begun) / (WARM_UP + cycles)
    trim()
    host, device = resident_bytes() - before[0], before[1] - gpu.free()
    facts = {"host_bytes": host, "device_bytes": device, "used_bytes": describe().memory_used, "cycle_ms": each}
    ok = host <= RESIDENT_SLACK and device <= DEVICE_SLACK and facts["used_bytes"] == 0
    say(ok, f"{cycles} sessions", **facts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=("export", "probe", "lifecycle", "model"))
    parser.add_argument("name")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--batches", action="store_true")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    {"export": export_model, "probe": probe, "lifecycle": lifecycle, "model": model}[arguments.step](arguments)


if __name__ == "__main__":
    main()
