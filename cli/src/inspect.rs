//! `infer inspect`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use infer::error::Result;
use infer::graph::Program;
use infer::model::{self, Header, MAJOR, Mode};
use infer::ops::TensorInfo;
use infer::session::{LibraryFacts, Model, OpenOptions, PlacedStep, Planned, Port, PortDim, Session};
use serde_json::{Value, json};

use crate::device::DeviceArguments;
use crate::output;
use crate::shapes::{self, ShapeArgument};

/// Show what is in a model file: inputs, outputs, operators, sizes, memory
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer inspect resnet50.infer --shape image=8x3x224x224
  infer inspect resnet50.infer --device cuda")]
pub struct Arguments {
    /// The model file
    model: PathBuf,
    /// Plan memory for an input of these extents, where the model leaves them open (otherwise 1)
    #[arg(long, value_name = "[NAME=]1x3x224x224", value_parser = shapes::shape)]
    shape: Vec<ShapeArgument>,
    #[command(flatten)]
    device: DeviceArguments,
    /// Also every constant and node, in execution order
    #[arg(long, conflicts_with = "json")]
    graph: bool,
    /// JSON
    #[arg(long)]
    json: bool,
}

/// What there is to tell.
struct Report {
    path: String,
    header: Header,
    model: std::sync::Arc<Model>,
    /// Operators and how often each occurs, the most frequent first.
    operators: Vec<(&'static str, usize)>,
    /// Number of constants' elements, and their bytes as stored.
    parameters: (u64, u64),
    /// Extents, bytes of activations and workspace, and the least that any plan would need; or why there is no plan.
    memory: Result<(Vec<TensorInfo>, Planned)>,
    /// Bytes of weights in the memory of a device other than the processor.
    device_weights: u64,
    /// The steps of a run on a device other than the processor.
    placement: Option<Vec<PlacedStep>>,
    /// The libraries that take part in it.
    libraries: Vec<LibraryFacts>,
}

/// Runs the command.
pub fn inspect(arguments: &Arguments) -> Result<()> {
    let report = report(arguments)?;
    if arguments.json {
        return output::print(&format!("{:#}\n", report.json()));
    }
    let graph = if arguments.graph { report.model.program().text() } else { String::new() };
    output::print(&format!("{}{graph}", report.text()))
}

fn report(arguments: &Arguments) -> Result<Report> {
    let path = arguments.model.display().to_string();
    let file = model::open_path(&arguments.model, Mode::Map)?;
    let header = Header::read(&file).map_err(|e| e.context(&path))?;
    let model = Model::open_bytes(&file, &OpenOptions::default()).map_err(|e| e.context(&path))?;
    let (operators, parameters) = (operators(model.program()), parameters(model.program()));
    let session = Session::new(&model, &arguments.device.options(1))?;
    let memory = shapes::inputs(&model, &arguments.shape).and_then(|inputs| {
        let planned = session.plan(&inputs)?;
        Ok((inputs, planned))
    });
    // Without a wish of the caller's it is no failure that there is no plan.
    if !arguments.shape.is_empty() || arguments.device.is_device() {
        memory.as_ref().map_err(Clone::clone)?;
    }
    let placement = match &memory {
        Ok((inputs, ..)) if arguments.device.is_device() => Some(session.placement(inputs)?),
        _ => None,
    };
    let libraries = if placement.is_some() { arguments.device.libraries() } else { vec![] };
    let device_weights = session.memory().device_weights;
    Ok(Report { path, header, model, operators, parameters, memory, device_weights, placement, libraries })
}

fn operators(program: &Program) -> Vec<(&'static str, usize)> {
    let mut counts = BTreeMap::new();
    for node in program.graphs.iter().flat_map(|graph| &graph.nodes) {
        *counts.entry(node.kind.name()).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn parameters(program: &Program) -> (u64, u64) {
    let constants = program.graphs.iter().flat_map(|graph| &graph.values).filter_map(|value| value.constant.as_ref());
    constants.fold((0, 0), |(count, bytes), c| (count + c.info.numel() as u64, bytes + c.data.len() as u64))
}

impl Report {
    fn text(&self) -> String {
        let program = self.model.program();
        let mut text = format!("{}\n", self.path);
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line("format", &format!("{MAJOR}.{}, {}", self.header.minor, output::bytes(self.header.file_len as u64)));
        if !program.producer.is_empty() {
            line("made by", &program.producer);
        }
        for (kind, ports) in [("input", self.model.inputs()), ("output", self.model.outputs())] {
            for port in ports {
                line(kind, &format!("{}: {}{}", port.name, port.dtype, extents(port)));
            }
        }
        for state in self.model.states() {
            let (output, input) = (&program.output_names[state.output], &program.input_names[state.input]);
            line("state", &format!("{output} of a run is {input} of the next"));
        }
        for (key, value) in self.model.metadata() {
            line("metadata", &format!("{key} = {value}"));
        }
        let (count, bytes) = self.parameters;
        let count = if count < 100_000 { format!("{count}") } else { format!("{:.2} million", count as f64 / 1e6) };
        line("parameters", &format!("{count}, {}", output::bytes(bytes)));
        match &self.memory {
            Ok((inputs, planned)) => {
                let shapes = self.model.inputs().iter().zip(inputs);
                let shapes: Vec<_> =
                    shapes.map(|(port, i)| format!("{}={}", port.name, shapes::text(&i.dims))).collect();
                let bytes = |n: usize| output::bytes(n as u64);
                let (arena, least, shapes) = (bytes(planned.arena), bytes(planned.least), shapes.join(" "));
                line("memory", &format!("{arena} for {shapes}; at least {least} is alive at once"));
                if self.placement.is_some() {
                    line("on the GPU", &self.on_gpu(planned));
                }
            }
            Err(error) => line("memory", &format!("not planned: {error}")),
        }
        if self.model.rearranged_bytes() > 0 {
            let bytes = output::bytes(self.model.rearranged_bytes() as u64);
            line("rearranged", &format!("{bytes} of weights, when first needed, for all runs"));
        }
        let total: usize = self.operators.iter().map(|(_, count)| count).sum();
        let each: Vec<_> = self.operators.iter().map(|(name, count)| format!("{count} {name}")).collect();
        line("operations", &format!("{total}: {}", each.join(", ")));
        for library in &self.libraries {
            line("library", &library_text(library));
        }
        if let Some(steps) = &self.placement {
            line("steps", &placement_summary(steps));
            for (number, step) in steps.iter().enumerate() {
                let bytes = output::bytes(step.bytes as u64);
                let _ =
                    writeln!(text, "{number:5}  {:<9} {:<18} {bytes:>10}  {}", step.place, step.operator, step.node);
            }
        }
        text
    }

    /// What a run needs of a GPU.
    fn on_gpu(&self, planned: &Planned) -> String {
        let [arena, staging] = [planned.device_arena, planned.staging].map(|n| output::bytes(n as u64));
        format!("{arena}, and {} of weights; {staging} of the host's for copies", output::bytes(self.device_weights))
    }

    fn json(&self) -> Value {
        let program = self.model.program();
        let ports = |ports: &[Port]| ports.iter().map(port_json).collect::<Vec<_>>();
        let state = |s: &infer::graph::State| json!({"input": program.input_names[s.input], "output": program.output_names[s.output]});
        let memory = match &self.memory {
            Ok((inputs, planned)) => {
                let shapes = self.model.inputs().iter().zip(inputs);
                let shapes: serde_json::Map<_, _> =
                    shapes.map(|(port, i)| (port.name.clone(), json!(i.dims[..]))).collect();
                json!({
                    "shapes": shapes,
                    "planned_bytes": planned.arena,
                    "least_bytes": planned.least,
                    "device_planned_bytes": planned.device_arena,
                    "device_weight_bytes": self.device_weights,
                    "staging_bytes": planned.staging,
                })
            }
            Err(error) => json!({"error": error.to_string()}),
        };
        json!({
            "path": self.path,
            "format": format!("{MAJOR}.{}", self.header.minor),
            "file_bytes": self.header.file_len,
            "graph_bytes": self.header.graph.len(),
            "producer": program.producer,
            "rearranged_bytes": self.model.rearranged_bytes(),
            "inputs": ports(self.model.inputs()),
            "outputs": ports(self.model.outputs()),
            "states": self.model.states().iter().map(state).collect::<Vec<_>>(),
            "metadata": self.model.metadata().iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>(),
            "parameters": {"count": self.parameters.0, "bytes": self.parameters.1},
            "memory": memory,
            "libraries": self.libraries.iter().map(library_json).collect::<Vec<_>>(),
            "steps": self.placement.as_ref().map(|steps| steps.iter().map(step_json).collect::<Vec<_>>()),
            "operations": self.operators.iter().map(|(name, n)| ((*name).to_owned(), json!(n))).collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// How many steps are where.
fn placement_summary(steps: &[PlacedStep]) -> String {
    let count = |place: &str| steps.iter().filter(|step| step.place == place).count();
    let each = ["cuda", "cpu", "to cuda", "from cuda"].map(|place| format!("{} {place}", count(place)));
    format!("{} until the shapes of what follows depend on data: {}", steps.len(), each.join(", "))
}

/// A library's version or why it is not used, and what is left to other kernels.
fn library_text(library: &LibraryFacts) -> String {
    let mut text = match &library.version {
        Ok(version) => format!("{} {version}", library.name),
        Err(reason) => reason.clone(),
    };
    for (what, why) in &library.refused {
        let _ = write!(text, "\n{:<12}   does not do {what}: {why}", "");
    }
    text
}

fn library_json(library: &LibraryFacts) -> Value {
    let refused: Vec<_> = library.refused.iter().map(|(what, why)| json!({"what": what, "why": why})).collect();
    let (version, reason) = (library.version.as_ref().ok(), library.version.as_ref().err());
    json!({"name": library.name, "version": version, "reason": reason, "refused": refused})
}

fn step_json(step: &PlacedStep) -> Value {
    json!({"place": step.place, "operator": step.operator, "node": step.node, "bytes": step.bytes})
}

fn extents(port: &Port) -> String {
    let each = port.dims.iter().map(|dim| match dim {
        PortDim::Fixed(n) => n.to_string(),
        PortDim::Named { name, min, max } => match (min, max) {
            (0 | 1, None) => name.clone(),
            (min, None) => format!("{name} from {min}"),
            (min, Some(max)) => format!("{name} from {min} to {max}"),
        },
        PortDim::Expr(formula) => formula.clone(),
    });
    format!("[{}]", each.collect::<Vec<_>>().join(", "))
}

fn port_json(port: &Port) -> Value {
    let dims = port.dims.iter().map(|dim| match dim {
        PortDim::Fixed(n) => json!(n),
        PortDim::Named { name, min, max } => json!({"name": name, "min": min, "max": max}),
        PortDim::Expr(formula) => json!({"formula": formula}),
    });
    json!({"name": port.name, "dtype": port.dtype.name(), "shape": dims.collect::<Vec<_>>()})
}
