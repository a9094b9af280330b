//! What a run costs beside its arithmetic, and how runs share a machine: chains of tiny steps, and two sessions that are
//! busy at the same time, in one process and in two.

use infer::error::{Error, Result};
use infer::exec::Control;
use infer::graph::{Constant, Program};
use infer::ops::pack::pack;
use infer::ops::unary::UnaryKind;
use infer::ops::{MatMul, Op, Tensor, Unary};
use infer::session::{Input, Model, Output, Session, SessionOptions};
use infer::tensor::{DType, Dims, Layout, Shape, TensorType};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const HELP: &str = "What a run costs beside its arithmetic, and how runs share a machine.

usage: cargo bench --features write --bench runs -- [options]

  --seconds S     how long to measure each case (default: 1)

example: cargo bench --features write --bench runs -- --seconds 3";

/// Steps of a chain, and elements of each: nothing, what one thread does alone, what all threads share.
const STEPS: usize = 100;
const ELEMENTS: [usize; 3] = [1, 1024, 256 * 1024];

/// Rows, extent and number of the products of the model that keeps all threads busy: some milliseconds.
const ROWS: usize = 128;
const EXTENT: usize = 512;
const PRODUCTS: usize = 10;

/// The argument with which this program measures as the second of two processes.
const SECOND: &str = "--second";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        [SECOND, threads, seconds] => parse(threads).and_then(|threads| second(threads, parse(seconds)?)),
        ["--seconds", seconds] => parse(seconds).and_then(measure),
        [] => measure(1.0),
        _ => Err(Error::invalid("see --help for the arguments")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("runs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::invalid(format!("'{text}' is no number")))
}

fn measure(seconds: f64) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("chains of {STEPS} steps: microseconds of a run, nanoseconds of a step\n");
    println!("{:>10} {:>8} {:>12} {:>12}", "elements", "threads", "run", "step");
    for elements in ELEMENTS {
        for threads in [1, cores] {
            let us = 1e6 / rate(&Task::new(chain(elements)?, threads)?, seconds)?;
            println!("{elements:>10} {threads:>8} {us:>12.1} {:>12.0}", us * 1e3 / STEPS as f64);
        }
    }
    println!("\nproducts of {ROWS} x {EXTENT} x {EXTENT}: runs in a second of the first, of the second\n");
    println!("{:>8} {:>26} {:>10} {:>10}", "threads", "", "first", "second");
    for threads in [1, cores] {
        let tasks = [Task::new(products()?, threads)?, Task::new(products()?, threads)?];
        let show = |case: &str, first: f64, second: f64| {
            println!("{threads:>8} {case:>26} {first:>10.0} {second:>10.0}");
        };
        show("alone", rate(&tasks[0], seconds)?, 0.0);
        let [first, second] = both(&tasks, seconds)?;
        show("two sessions of a process", first, second);
        let child = start_second(threads, seconds)?;
        let first = rate(&tasks[0], seconds)?;
        show("two processes", first, finish_second(child)?);
    }
    Ok(())
}

/// A session with memory for what it reads and writes.
struct Task {
    session: Arc<Session>,
    dims: Dims,
    bytes: usize,
}

impl Task {
    fn new((program, dims): (Program, Dims), threads: usize) -> Result<Task> {
        let model = Model::from_program(program);
        let session = Session::new(&model, &SessionOptions { threads, ..Default::default() })?;
        let bytes = dims.iter().product::<usize>() * size_of::<f32>();
        Ok(Task { session, dims, bytes })
    }
}

/// Runs in a second, after a first one that prepares.
fn rate(task: &Task, seconds: f64) -> Result<f64> {
    let (data, mut result) = (vec![0; task.bytes], vec![0; task.bytes]);
    let mut run = || {
        let input = Input { dtype: DType::F32, dims: task.dims, data: &data, ..Input::default() };
        let mut outputs = [Output { data: Some(&mut result), ..Output::default() }];
        task.session.run(&[input], &mut outputs, Control::default())
    };
    run()?;
    let (start, length) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut runs = 0;
    while start.elapsed() < length {
        run()?;
        runs += 1;
    }
    Ok(f64::from(runs) / start.elapsed().as_secs_f64())
}

/// Both at the same time, each called by a thread of its own.
fn both(tasks: &[Task; 2], seconds: f64) -> Result<[f64; 2]> {
    std::thread::scope(|scope| {
        let second = scope.spawn(|| rate(&tasks[1], seconds));
        let first = rate(&tasks[0], seconds)?;
        let second = second.join().map_err(|_| Error::invalid("the second session's thread failed"))??;
        Ok([first, second])
    })
}

/// Measures and tells the first process, which reads the standard output.
fn second(threads: usize, seconds: f64) -> Result<()> {
    println!("{}", rate(&Task::new(products()?, threads)?, seconds)?);
    Ok(())
}

fn start_second(threads: usize, seconds: f64) -> Result<Child> {
    let failed = |error| Error::io("the second process", &error);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args([SECOND, &threads.to_string(), &seconds.to_string()]).stdout(Stdio::piped());
    command.spawn().map_err(failed)
}

fn finish_second(child: Child) -> Result<f64> {
    let output = child.wait_with_output().map_err(|error| Error::io("the second process", &error))?;
    parse(String::from_utf8_lossy(&output.stdout).trim())
}

/// A program of `steps` times `op`, each on the result of the one before and on `weights`.
fn repeated(dims: &[usize], steps: usize, op: impl Into<Op>, weights: Option<Constant>) -> Result<(Program, Dims)> {
    let op = op.into();
    let mut program = Program::default();
    let graph = program.add_graph("main");
    let mut value = program.add_input(graph, "x", TensorType::new(DType::F32, Shape::fixed(dims)?));
    let weights = weights.map(|weights| program.graphs[0].add_constant("weights", weights));
    for _ in 0..steps {
        let inputs = [Some(value), weights];
        value = program.add_op(graph, "step", op.clone(), &inputs[..1 + usize::from(weights.is_some())])?[0];
    }
    program.add_output("y", value);
    program.verify()?;
    Ok((program, Dims::new(dims)))
}

fn chain(elements: usize) -> Result<(Program, Dims)> {
    repeated(&[elements], STEPS, Unary::from(UnaryKind::Neg), None)
}

fn products() -> Result<(Program, Dims)> {
    let weights = Tensor::new(&[EXTENT, EXTENT], &vec![0f32; EXTENT * EXTENT])?;
    let weights = Constant::new(weights.info, Layout::Panels, pack(&weights, Layout::Panels)?)?;
    repeated(&[ROWS, EXTENT], PRODUCTS, MatMul::default(), Some(weights))
}
