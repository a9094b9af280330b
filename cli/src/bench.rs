//! `infer bench`.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use infer::error::{Error, Result};
use infer::exec::{Control, Profile};
use infer::ops::TensorInfo;
use infer::session::{Context, Input, MemoryReport, Model, OpenOptions, Output, Session, SessionOptions};
use infer::tensor::{Buffer, DType};
use serde_json::json;

use crate::device::{self, DeviceArguments};
use crate::output;
use crate::profile::{self, Report};
use crate::shapes::{self, ShapeArgument};

/// Measure how fast a model runs, on made-up inputs
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer bench resnet50.infer --threads 4 --shape image=8x3x224x224
  infer bench resnet50.infer --profile --slowest 5
  infer bench resnet50.infer --device cuda --precision f16 --batch 1,8,64,256")]
pub struct Arguments {
    /// The model file
    model: PathBuf,
    /// Threads that work on it; 0 = one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    device: DeviceArguments,
    /// End with an error that names the node at the first NaN or infinity; slow
    #[arg(long)]
    check: bool,
    /// How long to measure
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Extents of an input, where the model leaves them open (otherwise 1)
    #[arg(long, value_name = "[NAME=]1x3x224x224", value_parser = shapes::shape)]
    shape: Vec<ShapeArgument>,
    /// Measure with each of these as the first extent of the inputs, where the model leaves it open
    #[arg(long, value_delimiter = ',', value_name = "1,8,64", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Vec<u32>,
    /// Also what each step takes, beside what the machine could do
    #[arg(long)]
    profile: bool,
    /// How many of the slowest steps to show
    #[arg(long, default_value_t = 15, requires = "profile")]
    slowest: usize,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it is no number from 0 to 3600".into()),
    }
}

/// What was measured, in milliseconds and megabytes.
struct Figures {
    threads: usize,
    /// Opening the file and creating the session.
    load: f64,
    /// That and the first run.
    first: f64,
    /// Of each later run, ascending.
    runs: Vec<f64>,
    /// Memory that the process shares with nobody, more than before.
    private: f64,
    memory: MemoryReport,
    profile: Option<Report>,
}

/// Most runs of which steps are profiled.
const PROFILED_RUNS: usize = 50;

/// Runs the command.
pub fn bench(arguments: &Arguments) -> Result<()> {
    if arguments.batch.is_empty() {
        return show(arguments, measure(arguments, None)?, None);
    }
    let each = |&batch: &u32| {
        let batch = Some(batch as usize);
        show(arguments, measure(arguments, batch)?, batch)
    };
    arguments.batch.iter().try_for_each(each)
}

fn show(arguments: &Arguments, figures: Figures, batch: Option<usize>) -> Result<()> {
    let p50 = figures.runs[figures.runs.len() / 2];
    let min = figures.runs[0];
    // Items of the batch in a second.
    let throughput = batch.map(|batch| batch as f64 / p50 * 1e3);
    if arguments.json {
        let round = |value: f64| (value * 1e4).round() / 1e4;
        let mut line = json!({
            "model": arguments.model.display().to_string(),
            "threads": figures.threads,
            "load_ms": round(figures.load),
            "first_ms": round(figures.first),
            "p50_ms": round(p50),
            "min_ms": round(min),
            "private_mb": round(figures.private),
            "memory": device::memory_json(&figures.memory),
            "runs": figures.runs.len(),
        });
        if let (Some(batch), Some(throughput)) = (batch, throughput) {
            (line["batch"], line["items_per_s"]) = (json!(batch), json!(round(throughput)));
        }
        if let Some(profile) = &figures.profile {
            line["profile"] = profile.json();
        }
        return output::print(&format!("{line}\n"));
    }
    let title = batch.map_or_else(String::new, |batch| format!(", batch {batch}"));
    let items = throughput.map_or_else(String::new, |n| format!("  throughput  {n:10.1} items/s\n"));
    output::print(&format!(
        "{}{title}, {} threads\n  median run  {p50:10.3} ms\n  best run    {min:10.3} ms  of {}\n{items}  load        {:10.3} ms\n  \
         + first run {:10.3} ms\n  private     {:10.1} MB\n{}{}",
        arguments.model.display(),
        figures.threads,
        figures.runs.len(),
        figures.load,
        figures.first,
        figures.private,
        device::memory_text(&figures.memory),
        figures.profile.map_or_else(String::new, |profile| profile.text(arguments.slowest))
    ))
}

fn measure(arguments: &Arguments, batch: Option<usize>) -> Result<Figures> {
    let before = private_memory()?;
    let start = Instant::now();
    let milliseconds = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let model = Model::open(&arguments.model, &OpenOptions::default())?;
    let session = Session::new(
        &model,
        &SessionOptions { check: arguments.check, ..arguments.device.options(arguments.threads) },
    )?;
    let load = milliseconds(start);

    let mut infos = shapes::inputs(&model, &arguments.shape)?;
    if let Some(batch) = batch {
        shapes::set_batch(&model, &mut infos, batch)?;
    }
    let data = infos.iter().map(made_up).collect::<Result<Vec<Buffer>>>()?;
    let inputs: Vec<Input<'_>> = infos
        .iter()
        .zip(&data)
        .map(|(info, data)| Input { dtype: info.dtype, dims: info.dims, data, ..Input::default() })
        .collect();
    let mut context = Context::new(&session);
    let mut results: Vec<Option<Buffer>> = model.outputs().iter().map(|_| None).collect();
    let start = Instant::now();
    run(&mut context, &inputs, &mut results, None)?;
    let first = load + milliseconds(start);

    let end = Instant::now() + Duration::from_secs_f64(arguments.seconds);
    let mut runs = Vec::new();
    while runs.len() < 5 || Instant::now() < end {
        let start = Instant::now();
        run(&mut context, &inputs, &mut results, None)?;
        runs.push(milliseconds(start));
    }
    let private = (private_memory()? - before).max(0.0);
    let memory = session.memory();
    let threads = session.threads();
    let profiled = |profile: &Profile| run(&mut context, &inputs, &mut results, Some(profile));
    let count = runs.len().min(PROFILED_RUNS);
    let profile = arguments.profile.then(|| profile::profile(model.program(), threads, count, profiled)).transpose()?;
    runs.sort_by(f64::total_cmp);
    Ok(Figures { threads, load, first, runs, private, memory, profile })
}

/// Runs into the memory of the results before, as an application would.
fn run(
    context: &mut Context,
    inputs: &[Input<'_>],
    results: &mut [Option<Buffer>],
    profile: Option<&Profile>,
) -> Result<()> {
    let memory = results.iter_mut().map(|result| Output { data: result.as_deref_mut(), ..Output::default() });
    let mut outputs: Vec<Output<'_>> = memory.collect();
    context.run(inputs, &mut outputs, Control { profile, ..Control::default() })?;
    let owned: Vec<Option<Buffer>> = outputs.into_iter().map(|output| output.owned).collect();
    for (result, owned) in results.iter_mut().zip(owned) {
        *result = owned.or(result.take());
    }
    Ok(())
}

/// Numbers between -1 and 1, or 0 and 1 for integers, that are the same each time.
fn made_up(info: &TensorInfo) -> Result<Buffer> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut data = Buffer::zeroed(info.byte_len()?)?;
    for element in data.chunks_exact_mut(info.dtype.size()) {
        let value = next();
        match info.dtype {
            DType::F32 => element.copy_from_slice(&value.to_le_bytes()),
            DType::F64 => element.copy_from_slice(&f64::from(value).to_le_bytes()),
            DType::F16 => element.copy_from_slice(&half::f16::from_f32(value).to_le_bytes()),
            DType::BF16 => element.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes()),
            _ => element[0] = u8::from(value > 0.0),
        }
    }
    Ok(data)
}

/// Megabytes of anonymous memory of this process; 0 where the system does not tell.
fn private_memory() -> Result<f64> {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return Ok(0.0) };
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.map(|kilobytes| kilobytes / 1024.0).ok_or_else(|| Error::internal("/proc/self/status has no RssAnon"))
}
