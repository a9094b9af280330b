//! `infer convert`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use infer::error::{Error, Result};
use infer::graph::Program;
use infer_convert::Options;

use crate::output;

/// Make a model file from a file of a training framework
#[derive(clap::Args)]
#[command(after_help = "Example: infer convert resnet50.onnx resnet50.infer --metadata labels=imagenet.txt")]
pub struct Arguments {
    /// The model to convert: an ONNX file
    source: PathBuf,
    /// The file to write; an older one stays as it is unless the conversion succeeds
    destination: PathBuf,
    /// Store a text that applications can read under a name; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Translate node by node, without optimising
    #[arg(long)]
    no_optimize: bool,
    /// Align weights for machines whose memory pages have this many bytes: 4096, 16384 or 65536
    #[arg(long, value_name = "BYTES", default_value = "4096", value_parser = page)]
    page: usize,
    /// Show no progress and no summary
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the command.
pub fn convert(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let mut options = Options { optimize: !arguments.no_optimize, ..Options::default() };
    options.metadata = arguments.metadata.clone();
    options.write.page = arguments.page;
    let bar = bar(arguments.quiet);
    let program =
        infer_convert::convert(&arguments.source, &arguments.destination, &options, &mut |stage, done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            bar.set_message(stage.to_owned());
        });
    bar.finish_and_clear();
    if arguments.quiet { program.map(drop) } else { output::print(&summary(arguments, &program?, start)?) }
}

fn summary(arguments: &Arguments, program: &Program, start: Instant) -> Result<String> {
    let size = |path: &PathBuf| path.metadata().map(|file| file.len()).map_err(|e| Error::io(path.display(), &e));
    let nodes: usize = program.graphs.iter().map(|graph| graph.nodes.len()).sum();
    Ok(format!(
        "{}: {nodes} operations, {} from {}, {:.1} s\n",
        arguments.destination.display(),
        output::bytes(size(&arguments.destination)?),
        output::bytes(size(&arguments.source)?),
        start.elapsed().as_secs_f64()
    ))
}

/// Shown on terminals only, and only by conversions long enough to be waited for.
fn bar(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}");
    let bar = ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it has no '='")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn page(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(page @ (4096 | 16384 | 65536)) => Ok(page),
        _ => Err("it is none of 4096, 16384 and 65536".into()),
    }
}
