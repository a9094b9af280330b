//! `infer run`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use infer::error::{Error, Result};
use infer::exec::Control;
use infer::ops::TensorInfo;
use infer::session::{Input, Model, OpenOptions, Output, Session, SessionOptions};
use infer::tensor::{DType, Element, View};

use crate::device::DeviceArguments;
use crate::image::Pixels;
use crate::shapes::{self, ShapeArgument};
use crate::tensor::{self, Tensor};
use crate::{npy, output};

/// Run a model once on inputs from files
#[derive(clap::Args)]
#[command(
    after_help = "Files: .npy and .npz arrays, .raw and .bin bytes, .png .jpg .pgm .ppm images (resized to what the
model wants, then 0 to 1, then --mean and --std). An .npz holds several inputs or outputs by name.

Example: infer run resnet50.infer --input cat.jpg --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
         infer run bert.infer --input inputs.npz --output hidden=hidden.npy"
)]
pub struct Arguments {
    /// The model file
    model: PathBuf,
    /// Where an input comes from; the name may be left out if there is only one, and for .npz
    #[arg(long, short, value_name = "[NAME=]FILE", value_parser = file, required = true)]
    input: Vec<FileArgument>,
    /// Where an output goes; without any, its first and largest values are shown
    #[arg(long, short, value_name = "[NAME=]FILE", value_parser = file)]
    output: Vec<FileArgument>,
    /// Extents of an input that comes from raw bytes or an image, where the model leaves them open
    #[arg(long, value_name = "[NAME=]1x3x224x224", value_parser = shapes::shape)]
    shape: Vec<ShapeArgument>,
    /// Taken from the pixels of images, one number or one for each channel
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f32>,
    /// By which the pixels of images are divided after that
    #[arg(long, value_delimiter = ',')]
    std: Vec<f32>,
    /// Threads that work on it; 0 = one for each core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    device: DeviceArguments,
    /// End with an error that names the node at the first NaN or infinity; slow
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Debug)]
struct FileArgument {
    name: Option<String>,
    path: PathBuf,
}

fn file(text: &str) -> Result<FileArgument, String> {
    let (name, path) = text.split_once('=').map_or((None, text), |(name, path)| (Some(name.to_owned()), path));
    if path.is_empty() { Err("it names no file".into()) } else { Ok(FileArgument { name, path: path.into() }) }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let model = Model::open(&arguments.model, &OpenOptions::default())?;
    let inputs = read_inputs(&model, arguments)?;
    for file in arguments.output.iter().filter(|file| !is_archive(&file.path)) {
        shapes::find(model.outputs(), file.name.as_deref(), "--output")?;
    }
    let session = Session::new(
        &model,
        &SessionOptions { check: arguments.check, ..arguments.device.options(arguments.threads) },
    )?;
    let outputs = run_once(&session, &inputs)?;
    if arguments.output.is_empty() {
        let text: String = outputs.iter().map(|(name, tensor)| summary(name, tensor)).collect();
        return output::print(&text);
    }
    for file in &arguments.output {
        if is_archive(&file.path) {
            npy::write_archive(&file.path, &outputs)?;
        } else {
            let index = shapes::find(model.outputs(), file.name.as_deref(), "--output")?;
            tensor::write(&file.path, &outputs[index].1)?;
        }
    }
    Ok(())
}

fn is_archive(path: &Path) -> bool {
    tensor::ending(path) == "npz"
}

fn read_inputs(model: &Arc<Model>, arguments: &Arguments) -> Result<Vec<Tensor>> {
    let pixels = Pixels { mean: arguments.mean.clone(), std: arguments.std.clone() };
    let mut found: Vec<Option<Tensor>> = model.inputs().iter().map(|_| None).collect();
    for file in &arguments.input {
        if is_archive(&file.path) {
            for (name, tensor) in npy::decode_archive(&file.path)? {
                found[shapes::find(model.inputs(), Some(&name), "--input")?] = Some(tensor);
            }
            continue;
        }
        let index = shapes::find(model.inputs(), file.name.as_deref(), "--input")?;
        // A NumPy array has a type and extents of its own.
        let wanted = if tensor::ending(&file.path) == "npy" {
            TensorInfo { dtype: model.inputs()[index].dtype, dims: Default::default() }
        } else {
            shapes::inputs(model, &arguments.shape)?[index]
        };
        found[index] = Some(tensor::read(&file.path, &wanted, &pixels)?);
    }
    let named = model.inputs().iter().zip(found);
    let missing = |name: &str| Error::invalid(format!("input '{name}' is missing: add --input {name}=FILE"));
    named.map(|(port, tensor)| tensor.ok_or_else(|| missing(&port.name))).collect()
}

fn run_once(session: &Session, inputs: &[Tensor]) -> Result<Vec<(String, Tensor)>> {
    let input = |tensor: &'_ Tensor| tensor.info;
    let inputs: Vec<Input<'_>> = inputs
        .iter()
        .map(|tensor| Input {
            dtype: input(tensor).dtype,
            dims: input(tensor).dims,
            data: &tensor.data,
            ..Input::default()
        })
        .collect();
    let ports = session.model().outputs();
    let mut outputs: Vec<Output<'_>> = ports.iter().map(|_| Output::default()).collect();
    session.run(&inputs, &mut outputs, Control::default())?;
    let results = ports.iter().zip(outputs).map(|(port, output)| {
        let (info, data) = output.info.zip(output.owned).ok_or_else(|| Error::internal("an output was not written"))?;
        Ok((port.name.clone(), Tensor { info, data }))
    });
    results.collect()
}

/// Type, extents, and the first values; of a float vector the largest ones with their positions, as of a classifier.
fn summary(name: &str, tensor: &Tensor) -> String {
    const SHOWN: usize = 8;
    let values = numbers(tensor);
    let mut text = format!("{name}: {} {}\n", tensor.info.dtype, shapes::text(&tensor.info.dims));
    let more = if values.len() > SHOWN { " …" } else { "" };
    let first: Vec<String> = values.iter().take(SHOWN).map(|value| number(*value)).collect();
    let _ = writeln!(text, "  {}{more}", first.join(" "));
    let leading = tensor.info.dims.iter().rev().skip(1).all(|&extent| extent == 1);
    if leading && values.len() > SHOWN && tensor.info.dtype.is_float() {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        let best: Vec<String> = order.iter().take(5).map(|&at| format!("[{at}] {}", number(values[at]))).collect();
        let _ = writeln!(text, "  largest: {}", best.join("  "));
    }
    text
}

fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 { format!("{value}") } else { format!("{value:.6}") }
}

/// The elements as numbers; large 64-bit integers lose their last digits.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    fn of<T: Element>(tensor: &Tensor, to: impl Fn(T) -> f64) -> Vec<f64> {
        View::new(&tensor.data, tensor.info.dtype).slice::<T>().iter().map(|&value| to(value)).collect()
    }
    match tensor.info.dtype {
        DType::F32 => of(tensor, |value: f32| value.into()),
        DType::F64 => of(tensor, |value: f64| value),
        DType::F16 => of(tensor, half::f16::to_f64),
        DType::BF16 => of(tensor, half::bf16::to_f64),
        DType::I8 => of(tensor, |value: i8| value.into()),
        DType::I16 => of(tensor, |value: i16| value.into()),
        DType::I32 => of(tensor, |value: i32| value.into()),
        DType::I64 => of(tensor, |value: i64| value as f64),
        DType::U8 | DType::Bool => of(tensor, |value: u8| value.into()),
        DType::U16 => of(tensor, |value: u16| value.into()),
        DType::U32 => of(tensor, |value: u32| value.into()),
        DType::U64 => of(tensor, |value: u64| value as f64),
    }
}
