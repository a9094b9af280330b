"""How fast a model is beside PyTorch, with inputs and outputs in the GPU's memory.

speed.py peers NAME FOLDER BATCHES PEERS      f16; rounds in which all take turns; ratios are taken within rounds
speed.py precisions NAME FOLDER BATCH         throughput and memory of each precision
"""

import argparse
import copy
import pathlib
import statistics
import time

import infer
from driver import Gpu, Resident, describe, trim
from stages import TOLERANCES, error_of, inputs_maker, pytorch_error, say

ROUNDS = 5
SECONDS = 0.08  # of a measurement
LEAST_RUNS = 3


def measure(run, wait, seconds):
    """Milliseconds of a run that is waited for, and of each of many that follow one another."""
    run()
    wait()
    times = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_RUNS or time.perf_counter() < end:
        begun = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - begun)
    latency = statistics.median(times)
    count = max(LEAST_RUNS, int(seconds / latency))
    begun = time.perf_counter()
    for _ in range(count):
        run()
    wait()
    return 1e3 * latency, 1e3 * (time.perf_counter() - begun) / count


# The peers: what makes a function that puts a run into PyTorch's stream. Those in f16 are given their inputs in f16.


def channels_last(torch, value):
    return value.to(memory_format=torch.channels_last) if value.ndim == 4 else value


def halves(torch, model, inputs):
    model = copy.deepcopy(model).half().to(memory_format=torch.channels_last)
    return model, [channels_last(torch, x.half() if x.is_floating_point() else x) for x in inputs]


def autocast(torch, model, inputs):
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    inputs = [channels_last(torch, x) for x in inputs]

    def run():
        with torch.autocast("cuda", torch.float16):
            return model(*inputs)

    return run


def half(torch, model, inputs):
    model, inputs = halves(torch, model, inputs)
    return lambda: model(*inputs)


def graph(torch, model, inputs):
    """As `half`, captured in a CUDA graph."""
    run = half(torch, model, inputs)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        output = run()

    def replay():
        captured.replay()
        return output

    return replay


def script(torch, model, inputs):
    model, inputs = halves(torch, model, inputs)
    traced = torch.jit.freeze(torch.jit.trace(model, inputs, strict=False, check_trace=False))
    return lambda: traced(*inputs)


def compile(torch, model, inputs):
    model, inputs = halves(torch, model, inputs)
    compiled = torch.compile(model, mode="max-autotune")
    return lambda: compiled(*inputs)


PEERS = {peer.__name__: peer for peer in (autocast, half, graph, script, compile)}


def draw(torch, inputs_of, batch):
    """Inputs of a batch, on the CPU."""
    return [torch.cat(parts) for parts in zip(*(inputs_of() for _ in range(batch)))]


def load(torch, arguments, device):
    new, inputs_of = inputs_maker(arguments.name, arguments.small)
    model = new().eval()
    model.load_state_dict(torch.load(arguments.folder / f"{arguments.name}.pth"))
    return model.to(device), inputs_of


def peers(arguments):
    import torch

    torch.set_grad_enabled(False)
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    with_peers = torch.cuda.is_available()
    if not with_peers:
        say(True, arguments.name, skipped="PyTorch has no GPU: it is compared on the processor, and not timed")
    model, inputs_of = load(torch, arguments, "cuda" if with_peers else "cpu")
    gpu = Gpu()
    session = infer.Session(arguments.folder / f"{arguments.name}.infer", device="cuda", precision="f16")
    for batch in map(int, arguments.batches.split(",")):
        inputs = draw(torch, inputs_of, batch)
        try:
            compare(torch, arguments, gpu, session, model, inputs, with_peers)
        except (infer.Error, RuntimeError) as error:
            say(False, f"{arguments.name}, batch {batch}", error=str(error).splitlines()[0])


def compare(torch, arguments, gpu, session, model, inputs, with_peers):
    what, batch = f"{arguments.name}, batch {len(inputs[0])}", len(inputs[0])
    ours = Resident(gpu, session, [tensor.numpy() for tensor in inputs])
    for _ in range(3):
        ours.run()
    inputs = [tensor.to(next(model.parameters()).device) for tensor in inputs]
    wanted = model(*inputs).float().cpu().numpy()
    error = error_of(ours.results()[0], wanted)
    # Only whether the work that is timed is the right work: the stage of the models measures how exact it is.
    tolerance = max(TOLERANCES["f16"], pytorch_error(arguments.name, arguments.folder, "f16"))
    say(error <= tolerance, what, error=error, tolerance=tolerance)
    runs = {"infer": (ours.run, ours.wait)}
    for name in arguments.peers.split(",") if with_peers else []:
        try:
            run = PEERS[name](torch, model, inputs)
            for _ in range(3):
                output = run()
            say(True, what, peer=name, error=error_of(output.float().cpu().numpy(), wanted))
            runs[name] = run, torch.cuda.synchronize
        except Exception as failure:
            say(True, what, peer=name, skipped=(str(failure).splitlines() or [type(failure).__name__])[0][:200])
    figures = {name: [] for name in runs}
    for round_ in range(1 if arguments.small else ROUNDS):
        order = list(runs)
        for name in order[round_ % len(order) :] + order[: round_ % len(order)]:
            figures[name].append(measure(*runs[name], 0 if arguments.small else SECONDS))
    ours.close()
    for name, rounds in figures.items():
        latency, each = (statistics.median(column) for column in zip(*rounds))
        ratios = [[theirs / us for theirs, us in zip(*pair)] for pair in zip(rounds, figures["infer"])]
        ratio = [statistics.median(column) for column in zip(*ratios)]
        facts = {"model": arguments.name, "batch": batch, "runtime": name, "latency_ms": latency, "per_second": 1e3 * batch / each}
        say(True, what, **facts, latency_ratio=ratio[0], throughput_ratio=ratio[1])


def precisions(arguments):
    import torch

    _, inputs_of = inputs_maker(arguments.name, arguments.small)
    batch = int(arguments.batches)
    arrays = [tensor.numpy() for tensor in draw(torch, inputs_of, batch)]
    gpu = Gpu()
    for precision in ("f32", "tf32", "f16", "bf16"):
        session = infer.Session(arguments.folder / f"{arguments.name}.infer", device="cuda", precision=precision)
        ours = Resident(gpu, session, arrays)
        latency, each = measure(ours.run, ours.wait, 0 if arguments.small else 0.5)
        info = describe()
        facts = {"precision": precision, "batch": batch, "latency_ms": latency, "per_second": 1e3 * batch / each}
        say(True, arguments.name, **facts, used_bytes=info.memory_used, reserved_bytes=info.memory_reserved)
        ours.close()
        del ours, session
        trim()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=("peers", "precisions"))
    parser.add_argument("name")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("batches")
    parser.add_argument("peers", nargs="?", default="")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    {"peers": peers, "precisions": precisions}[arguments.step](arguments)


if __name__ == "__main__":
    main()
