"""The results as a page of Markdown."""


def text(results):
    """results.json in short."""
    machine = results.get("machine", {})
    stages = results["stages"]
    parts = [f"GPU: {machine.get('gpu')}; PyTorch {machine.get('torch')}\n", overview(stages)]
    parts += [failures(stages), models(rows_of(stages, "models")), speed(rows_of(stages, "speed") + rows_of(stages, "compile"))]
    parts += [precisions(rows_of(stages, "speed")), profiles(rows_of(stages, "profile"))]
    return "\n".join(part for part in parts if part)


def rows_of(stages, name):
    return stages.get(name, {}).get("rows", [])


def table(head, rows):
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def overview(stages):
    rows = []
    for name, stage in stages.items():
        wrong = sum(not row["ok"] for row in stage["rows"])
        skipped = [f"{row['what']}: {row['skipped']}" for row in stage["rows"] if "skipped" in row]
        passed = sum(row.get("passed", 0) for row in stage["rows"])
        notes = ([f"{passed} tests passed"] if passed else []) + skipped[:3]
        notes += [f"{row['what']}: {row['summary']}" for row in stage["rows"] if "summary" in row]
        verdict = f"{wrong} FAILED" if wrong else "ok" if stage["rows"] else "nothing"
        rows.append([name, verdict, stage["seconds"], "; ".join(notes).replace("|", "/")])
    return table(["stage", "result", "s", "notes"], rows)


def failures(stages):
    lines = []
    for name, stage in stages.items():
        for row in stage["rows"]:
            if not row["ok"]:
                facts = {key: value for key, value in row.items() if key not in ("ok", "what")}
                lines.append(f"- {name}, {row['what']}: {str(facts)[:400]}\n")
    return "Failures:\n\n" + "".join(lines[:60]) if lines else ""


def models(rows):
    head = ["model", "error", "limit", "PyTorch's error", "other bytes", "steps", "on the processor"]
    return table(
        head,
        [
            [
                row["what"],
                *(f"{row[key]:.1e}" for key in ("error", "tolerance", "pytorch")),
                f"{row['different']} of {row['runs']}",
                row["steps"],
                on_cpu(row),
            ]
            for row in rows
            if "pytorch" in row
        ],
    )


def on_cpu(row):
    return f"{row['on_cpu']} ({', '.join(row['cpu_operators'])})" if row["on_cpu"] else 0


def speed(rows):
    """A line for each model and batch: ours and the best peer, and the peer's time relative to ours."""
    groups = {}
    for row in rows:
        if "runtime" in row:
            group = groups.setdefault((row["model"], row["batch"]), {})
            # What a later stage measures again of ours is kept out: ratios have been taken beside the peer.
            group.setdefault(row["runtime"], row)
    lines = []
    for (model, batch), group in groups.items():
        ours = group["infer"]
        peers = [row for name, row in group.items() if name != "infer"]
        line = [model, batch, f"{ours['latency_ms']:.3f}", f"{ours['per_second']:.0f}"]
        for key in ("latency_ratio", "throughput_ratio"):
            best = min(peers, key=lambda row: row[key], default=None)
            line.append(f"{best[key]:.2f} ({best['runtime']})" if best else "-")
        every = (f"{row['runtime']} {row['latency_ms']:.2f} ms {row['per_second']:.0f}/s" for row in peers)
        lines.append([*line, "; ".join(every)])
    return table(["model, f16", "batch", "ms", "per s", "latency, best peer/us", "time, best peer/us", "peers"], lines)


def precisions(rows):
    head = ["model", "precision", "batch", "ms", "per s", "MB used", "MB reserved"]
    return table(
        head,
        [
            [row["what"], row["precision"], row["batch"], f"{row['latency_ms']:.3f}", f"{row['per_second']:.0f}"]
            + [f"{row[key] / 1e6:.1f}" for key in ("used_bytes", "reserved_bytes")]
            for row in rows
            if "precision" in row
        ],
    )


def profiles(rows):
    return "\n".join(f"{row['what']}:\n\n```\n{row['profile']}\n```\n" for row in rows if "profile" in row)
