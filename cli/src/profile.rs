//! `infer bench --profile`: what each step takes, beside what the machine could do.

use std::fmt::Write;
use std::time::Duration;

use infer::cpu::Isa;
use infer::cpu::parallel::Gang;
use infer::cpu::peak::peak_flops;
use infer::error::Result;
use infer::exec::{Profile, ProfiledStep};
use infer::graph::{NodeKind, Program};
use infer::ops::{Op, TensorInfo, conv};
use serde_json::{Value, json};

/// The steps of a run.
pub struct Report {
    isa: Isa,
    /// Most floating-point operations per second that the same threads reach on the processor.
    peak: f64,
    steps: Vec<Row>,
    /// The steps of a class as one, the slowest class first.
    classes: Vec<Row>,
}

/// What a step, or all steps of a class, took and did.
struct Row {
    class: String,
    place: &'static str,
    name: String,
    output: String,
    count: usize,
    seconds: f64,
    flops: f64,
    bytes: f64,
}

/// Calls `run` with profiles some times and reports the median time of each step.
pub fn profile(
    program: &Program,
    threads: usize,
    runs: usize,
    mut run: impl FnMut(&Profile) -> Result<()>,
) -> Result<Report> {
    let isa = Isa::from_env()?;
    let peak = peak_flops(isa, &Gang::new(threads)?)?;
    let profiles = (0..runs).map(|_| {
        let profile = Profile::default();
        run(&profile).map(|()| profile.steps())
    });
    let profiles = profiles.collect::<Result<Vec<_>>>()?;
    // The inputs are the same each time, so the steps are.
    let steps: Vec<Row> = (0..profiles[0].len())
        .map(|i| {
            let mut times: Vec<Duration> = profiles.iter().map(|steps| steps[i].time).collect();
            times.sort();
            Row::new(program, &profiles[0][i], times[times.len() / 2])
        })
        .collect();
    Ok(Report { isa, peak, classes: classes(&steps), steps })
}

fn classes(steps: &[Row]) -> Vec<Row> {
    let mut classes: Vec<Row> = vec![];
    for step in steps {
        let same = |class: &Row| class.class == step.class && class.place == step.place;
        let at = classes.iter().position(same).unwrap_or_else(|| {
            let (class, name, output) = (step.class.clone(), String::new(), String::new());
            classes.push(Row {
                class,
                place: step.place,
                name,
                output,
                count: 0,
                seconds: 0.0,
                flops: 0.0,
                bytes: 0.0,
            });
            classes.len() - 1
        });
        let class = &mut classes[at];
        class.count += 1;
        class.seconds += step.seconds;
        class.flops += step.flops;
        class.bytes += step.bytes;
    }
    classes.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    classes
}

impl Row {
    fn new(program: &Program, step: &ProfiledStep, time: Duration) -> Row {
        let output = step.outputs.first().map_or_else(String::new, |info| extents(&info.dims));
        // A copy does nothing of what its node does.
        let (class, flops) = match step.place {
            "cpu" | "cuda" => (class(program, step), step.flops),
            _ => ("copy".to_owned(), 0),
        };
        Row {
            class,
            place: step.place,
            name: step.name.clone(),
            output,
            count: 1,
            seconds: time.as_secs_f64(),
            flops: flops as f64,
            bytes: step.bytes as f64,
        }
    }

    /// How much of the processor's peak it reached, if it ran there.
    fn percent_of(&self, peak: f64) -> Option<f64> {
        (self.place == "cpu").then(|| 100.0 * self.rate(self.flops) / peak)
    }

    /// How much of `all` per second; 0 where the clock has seen no time pass.
    fn rate(&self, all: f64) -> f64 {
        if self.seconds > 0.0 { all / self.seconds } else { 0.0 }
    }
}

/// The operator and, of convolutions, what decides how fast they can be.
fn class(program: &Program, step: &ProfiledStep) -> String {
    let nodes = &program.graphs[step.graph.0 as usize].nodes;
    let weights = |input: usize| step.inputs.get(input).copied().flatten();
    let class = class_of(&nodes[step.node].kind, weights(1));
    match step.fused {
        Some(first) => format!("{} + {class}", class_of(&nodes[first].kind, weights(conv::FIRST))),
        None => class,
    }
}

fn class_of(kind: &NodeKind, weights: Option<TensorInfo>) -> String {
    let (NodeKind::Op(Op::Conv(conv)), Some(weights)) = (kind, weights) else { return kind.name().to_owned() };
    let [outputs, taps @ .., inputs] = &weights.dims[..] else { return kind.name().to_owned() };
    let groups = match conv.groups {
        1 => "",
        groups if *inputs == 1 && *outputs == groups as usize => " depthwise",
        _ => " grouped",
    };
    format!("{} {}{groups}", kind.name(), extents(taps))
}

fn extents(dims: &[usize]) -> String {
    dims.iter().map(|dim| dim.to_string()).collect::<Vec<_>>().join("x")
}

impl Report {
    /// For people; the `slowest` so many steps.
    pub fn text(&self, slowest: usize) -> String {
        let total: f64 = self.steps.iter().map(|step| step.seconds).sum();
        let mut text = format!(
            "\n{} steps, {:.3} ms; the processor's peak is {:.1} GFLOP/s with {}\n\n",
            self.steps.len(),
            total * 1e3,
            self.peak / 1e9,
            self.isa
        );
        let head = format!("{:>9} {:>10} {:>6} {:>9} {:>7} {:>7}", "place", "ms", "%", "GFLOP/s", "% peak", "GB/s");
        let figures = |row: &Row| {
            let (flops, bytes) = (row.rate(row.flops), row.rate(row.bytes));
            let shown = |figure: Option<f64>| {
                figure.filter(|_| row.flops > 0.0).map_or_else(|| "-".into(), |figure| format!("{figure:.1}"))
            };
            format!(
                "{:>9} {:>10.3} {:>6.1} {:>9} {:>7} {:>7.1}",
                row.place,
                row.seconds * 1e3,
                100.0 * row.seconds / total.max(f64::MIN_POSITIVE),
                shown(Some(flops / 1e9)),
                shown(row.percent_of(self.peak)),
                bytes / 1e9
            )
        };
        let _ = writeln!(text, "  {:<24} {:>6} {head}", "operator", "steps");
        for row in &self.classes {
            let _ = writeln!(text, "  {:<24} {:>6} {}", row.class, row.count, figures(row));
        }
        let mut steps: Vec<&Row> = self.steps.iter().collect();
        steps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let _ = writeln!(text, "\n  {:<31} {head}  node", "slowest steps");
        for row in steps.into_iter().take(slowest) {
            let what = format!("{} -> {}", row.class, row.output);
            let _ = writeln!(text, "  {what:<31} {}  {}", figures(row), row.name);
        }
        text
    }

    /// All there is to tell; steps in the order in which they ran.
    pub fn json(&self) -> Value {
        let round = |value: f64| (value * 1e4).round() / 1e4;
        let figures = |row: &Row| {
            let mut figures = json!({
                "place": row.place,
                "ms": round(row.seconds * 1e3),
                "gflop": row.flops / 1e9,
                "mb": row.bytes / 1e6,
                "gflops": round(row.rate(row.flops) / 1e9),
                "gb_per_s": round(row.rate(row.bytes) / 1e9),
            });
            if let Some(percent) = row.percent_of(self.peak) {
                figures["percent_of_peak"] = json!(round(percent));
            }
            figures
        };
        let with = |mut value: Value, more: Vec<(&str, Value)>| {
            more.into_iter().for_each(|(key, more)| value[key] = more);
            value
        };
        let step = |row: &Row| {
            let more = vec![("operator", json!(row.class)), ("node", json!(row.name)), ("output", json!(row.output))];
            with(figures(row), more)
        };
        let class = |row: &Row| with(figures(row), vec![("operator", json!(row.class)), ("steps", json!(row.count))]);
        json!({
            "isa": self.isa.name(),
            "peak_gflops": round(self.peak / 1e9),
            "operators": self.classes.iter().map(class).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_a_gpu_are_not_compared_with_the_processor() {
        let row = |place| Row {
            class: "MatMul".into(),
            place,
            name: String::new(),
            output: String::new(),
            count: 1,
            seconds: 1e-3,
            flops: 1e6,
            bytes: 1e6,
        };
        let steps = vec![row("cpu"), row("cuda"), row("cuda")];
        let report = Report { isa: Isa::Scalar, peak: 1e10, classes: classes(&steps), steps };
        let json = report.json();
        let [cuda, cpu] = [0, 1].map(|i| &json["operators"][i]);
        assert_eq!((&cpu["steps"], &cpu["percent_of_peak"]), (&json!(1), &json!(10.0)));
        assert_eq!((&cuda["steps"], cuda.get("percent_of_peak")), (&json!(2), None));
        let line = |place: &str| report.text(0).lines().find(|line| line.contains(place)).unwrap().to_owned();
        assert!(line("cuda").contains(" - ") && !line(" cpu").contains(" - "));
    }
}
