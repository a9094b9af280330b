"""The report: tables in Markdown, and plots."""

import statistics

from runtimes import RUNTIMES


def markdown(result, runtimes):
    """All tables."""
    parts = [f"{result['date']}, {result['machine']}; {versions(result, runtimes)}. Medians of {result['rounds']} interleaved rounds."]
    for threads, rows in result["threads"].items():
        plural = "" if threads == "1" else "s"
        parts.append(f"## {threads} thread{plural}\n\nMedian latency in ms, and how many times that of libinfer it is.")
        parts.append(latency(rows, runtimes))
        parts.append("Load, and load with the first run, in ms; private memory in MB.")
        parts.append(costs(rows, runtimes))
        profiles = {name: row["profile"] for name, row in rows.items() if row.get("profile")}
        if profiles:
            parts.append(operators(profiles))
    missing = failures(result)
    if missing:
        parts.append("## Not measured\n\n" + "\n".join(missing))
    return "\n\n".join(parts) + "\n"


def versions(result, runtimes):
    found = {}
    for rows in result["threads"].values():
        for row in rows.values():
            found.update({runtime: row[runtime]["version"] for runtime in runtimes if row[runtime].get("version")})
    return ", ".join(f"{RUNTIMES[runtime].title} {version}" for runtime, version in found.items()) or "no peers"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def number(value):
    """Three digits or so."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def latency(rows, runtimes):
    peers = [runtime for runtime in runtimes if runtime != "infer"]
    body = []
    for name, row in rows.items():
        cells = [name, number(row["infer"]["p50_ms"]) if "p50_ms" in row.get("infer", {}) else "-"]
        for peer in peers:
            ratio = f" ({row['ratios'][peer]:.2f})" if peer in row["ratios"] else ""
            cells.append(number(row[peer]["p50_ms"]) + ratio if "p50_ms" in row[peer] else "-")
        body.append(cells + [f"**{min(row['ratios'].values()):.2f}**" if row["ratios"] else "-"])
    mean = ["geometric mean", ""]
    for peer in peers:
        ratios = [row["ratios"][peer] for row in rows.values() if peer in row["ratios"]]
        mean.append(f"({statistics.geometric_mean(ratios):.2f})" if ratios else "-")
    best = [min(row["ratios"].values()) for row in rows.values() if row["ratios"]]
    mean.append(f"**{statistics.geometric_mean(best):.2f}**" if best else "-")
    return table(["model", "libinfer", *(RUNTIMES[peer].title for peer in peers), "best peer / libinfer"], body + [mean])


def costs(rows, runtimes):
    def cell(figures):
        if "p50_ms" not in figures:
            return "-"
        return f"{figures['load_ms']:.0f} / {figures['first_ms']:.0f} / {figures['private_mb']:.0f}"

    head = ["model", *(RUNTIMES[runtime].title for runtime in runtimes)]
    return table(head, [[name, *(cell(row[runtime]) for runtime in runtimes)] for name, row in rows.items()])


def operators(profiles):
    """Time and rate of each class of operators over all models, and in each model the share of the peak."""
    peak = statistics.median(profile["peak_gflops"] for profile in profiles.values())
    isa = next(iter(profiles.values()))["isa"]
    totals = {}
    for profile in profiles.values():
        for row in profile["operators"]:
            total = totals.setdefault(row["operator"], {"ms": 0.0, "gflop": 0.0, "mb": 0.0})
            for key in total:
                total[key] += row[key]
    all_ms = sum(total["ms"] for total in totals.values()) or 1.0
    body = []
    for operator, total in sorted(totals.items(), key=lambda item: -item[1]["ms"]):
        # Shares of the peak that was measured beside each model.
        at_peak = sum(
            row["gflop"] / profile["peak_gflops"]
            for profile in profiles.values()
            for row in profile["operators"]
            if row["operator"] == operator
        )
        seconds = max(total["ms"], 1e-6) / 1e3
        rates = [f"{total['gflop'] / seconds:.1f}", f"{100 * at_peak / seconds:.0f} %"] if total["gflop"] else ["", ""]
        body.append(
            [operator, number(total["ms"]), f"{100 * total['ms'] / all_ms:.1f} %", *rates, f"{total['mb'] / 1e3 / seconds:.1f}"]
        )
    title = f"Operators over these models, beside the {peak:.0f} GFLOP/s that multiply-adds on registers reach ({isa}):\n\n"
    return title + table(["operator", "ms", "of the time", "GFLOP/s", "of the peak", "GB/s"], body)


def failures(result):
    lines = []
    for rows in result["threads"].values():
        for name, row in rows.items():
            lines += [f"- {name}, {RUNTIMES[key].title}: {value['failure']}" for key, value in row.items() if key in RUNTIMES and "failure" in value]
    return sorted(set(lines))


def plot(result, runtimes, folder):
    """Writes one plot for each thread count, as SVG and PNG; returns the files' names."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    files = []
    for threads, rows in result["threads"].items():
        shown = [runtime for runtime in runtimes if any("p50_ms" in row[runtime] for row in rows.values())]
        figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.17 * len(rows) * (len(shown) + 1)), layout="constrained")
        height = 0.85 / max(len(shown), 1)
        for place, runtime in enumerate(shown):
            at, widths, labels = [], [], []
            for index, row in enumerate(rows.values()):
                ratio = row["ratios"].get(runtime, 1.0 if runtime == "infer" and "p50_ms" in row[runtime] else None)
                if ratio is not None:
                    at.append(index + (place - (len(shown) - 1) / 2) * height)
                    widths.append(ratio)
                    labels.append(f" {number(row[runtime]['p50_ms'])} ms")
            bars = axes.barh(at, widths, height * 0.9, label=RUNTIMES[runtime].title)
            axes.bar_label(bars, labels, fontsize=7)
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(rows)), rows.keys())
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel(f"latency as a multiple of libinfer's, {threads} thread(s), batch 1, f32; shorter is faster")
        axes.set_title(result["machine"] + ", " + result["date"], fontsize=9)
        axes.legend(fontsize=8)
        for suffix in ("svg", "png"):
            files.append(f"latency-{threads}.{suffix}")
            figure.savefig(folder / files[-1], dpi=150)
        pyplot.close(figure)
    return files
