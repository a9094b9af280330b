//! Matrix products, convolutions and the functions that end them by themselves, on every instruction set of the list of
//! micro-kernels that this CPU has: how near each shape comes to what multiply-adds on registers reach. For a function,
//! each element counts as one operation.

use infer::cpu::conv::{Conv, ConvArgs, ConvShape, Expanded, InputLayout, WeightLayout, Window, winograd_len};
use infer::cpu::conv::{Pool, PoolArgs, PoolKind};
use infer::cpu::gemm::kernel::F32;
use infer::cpu::gemm::{Gemm, GemmShape, Output, StridedRows, packed_len};
use infer::cpu::parallel::{Gang, Ledger, Rank};
use infer::cpu::peak::peak_flops;
use infer::cpu::{Activation, Isa, Target};
use infer::error::{Error, Result};
use infer::tensor::Buffer;
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "Matrix products, convolutions and activations beside the FMA peak.

usage: cargo bench --bench kernels -- [options] [WORD ...]

  WORD            only kernels whose name contains one of the words
  --isa NAME      only this instruction set
  --threads N,..  thread counts (default: 1 and all cores)
  --seconds S     how long to measure each kernel (default: 0.1)
  --json          one line of JSON for each kernel

example: cargo bench --bench kernels -- --isa avx2 --threads 1 winograd";

/// Most samples of a kernel, of which the best counts.
const SAMPLES: usize = 10;

/// Rows, columns and depth of products: large ones, transformers with 128 and 197 tokens, ConvNeXt, rows by themselves,
/// and extents that no tile divides.
const PRODUCTS: [(usize, usize, usize); 17] = [
    (256, 256, 256),
    (1024, 1024, 1024),
    (128, 384, 384),
    (128, 1536, 384),
    (128, 384, 1536),
    (128, 768, 768),
    (128, 3072, 768),
    (128, 768, 3072),
    (197, 768, 768),
    (197, 3072, 768),
    (3136, 384, 96),
    (3136, 96, 384),
    (49, 3072, 768),
    (1, 1000, 2048),
    (1, 4096, 4096),
    (4, 2048, 512),
    (127, 255, 129),
];

/// Extent of the image, channels of input and output, extent of the window, stride, groups.
const CONVOLUTIONS: [[usize; 6]; 31] = [
    [224, 3, 64, 7, 2, 1],
    [224, 3, 16, 3, 2, 1],
    [224, 3, 32, 3, 2, 1],
    [224, 3, 64, 3, 2, 1],
    [224, 3, 96, 4, 4, 1],
    [224, 3, 768, 16, 16, 1],
    [224, 64, 64, 3, 1, 1],
    [56, 64, 64, 3, 1, 1],
    [28, 128, 128, 3, 1, 1],
    [14, 256, 256, 3, 1, 1],
    [7, 512, 512, 3, 1, 1],
    [56, 64, 128, 3, 2, 1],
    [14, 512, 512, 3, 2, 1],
    [56, 64, 256, 1, 1, 1],
    [28, 512, 128, 1, 1, 1],
    [14, 1024, 256, 1, 1, 1],
    [7, 320, 1280, 1, 1, 1],
    [56, 24, 144, 1, 1, 1],
    [17, 65, 97, 3, 1, 1],
    [112, 32, 32, 3, 1, 32],
    [112, 96, 96, 3, 2, 96],
    [28, 192, 192, 3, 1, 192],
    [28, 192, 192, 3, 2, 192],
    [14, 576, 576, 3, 1, 576],
    [28, 240, 240, 5, 1, 240],
    [7, 960, 960, 5, 1, 960],
    [56, 96, 96, 7, 1, 96],
    [28, 128, 128, 3, 1, 32],
    [14, 512, 512, 3, 1, 32],
    [28, 256, 256, 3, 1, 32],
    [14, 320, 320, 3, 1, 20],
];

/// Extent of the image, channels before and after the expansion, extent of the window and stride of inverted residuals.
const EXPANSIONS: [[usize; 5]; 6] = [
    [112, 16, 96, 3, 2],
    [112, 16, 64, 3, 2],
    [56, 24, 144, 3, 1],
    [56, 24, 72, 5, 2],
    [28, 40, 240, 3, 2],
    [28, 80, 480, 5, 1],
];

/// Extent of the image, channels, extent of the window and stride of maxima; each element under a window counts as one
/// operation.
const POOLS: [[usize; 4]; 3] = [[112, 64, 3, 2], [55, 128, 3, 2], [20, 256, 5, 1]];

/// Functions applied to elements in the first-level cache.
const ACTIVATIONS: [Activation; 10] = [
    Activation::Relu,
    Activation::Elu { alpha: 1.0 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Silu,
    Activation::HardSwish,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Softplus,
    Activation::Mish,
];
const ELEMENTS: usize = 2048;

struct Options {
    isa: Option<Isa>,
    threads: Vec<usize>,
    seconds: f64,
    json: bool,
    words: Vec<String>,
}

/// What a kernel computes.
enum Work {
    Product(GemmShape),
    Convolution(ConvShape),
    Winograd(ConvShape),
    /// So many input channels, and the depthwise convolution of what they expand to.
    Expanded(usize, ConvShape),
    Pool([usize; 4]),
    Activation(Activation),
}

/// A kernel with its operands.
struct Kernel {
    /// Floating-point operations of the direct algorithm.
    flops: f64,
    /// Parts of each phase.
    phases: Vec<usize>,
    scratch_bytes: usize,
    /// Runs a part of a phase with the given scratch memory.
    run: Box<dyn Fn(usize, usize, Address) + Sync>,
    /// What `run` has the addresses of.
    _operands: Vec<Buffer>,
}

/// Memory that the threads of a kernel share.
#[derive(Clone, Copy)]
struct Address(*mut u8);

// SAFETY: an address; the kernels keep what their parts write apart.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl Address {
    fn of(buffer: &mut Buffer) -> Address {
        Address(buffer.as_mut_ptr())
    }

    fn bytes(self) -> *mut u8 {
        self.0
    }

    fn floats(self) -> *mut f32 {
        self.0.cast()
    }
}

fn main() -> ExitCode {
    match options().and_then(|options| options.map_or(Ok(()), |options| measure_all(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kernels: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for; None if it is help.
fn options() -> Result<Option<Options>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut threads = vec![1, cores];
    threads.dedup();
    let mut options = Options { isa: None, threads, seconds: 0.1, json: false, words: vec![] };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| Error::invalid(format!("{argument} needs a value")));
        let number = |text: &str| Error::invalid(format!("{argument}: '{text}' is no number"));
        match argument.as_str() {
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(None);
            }
            // Cargo adds it.
            "--bench" => {}
            "--json" => options.json = true,
            "--isa" => options.isa = Some(value()?.parse()?),
            "--seconds" => options.seconds = value().and_then(|text| text.parse().map_err(|_| number(&text)))?,
            "--threads" => {
                let parse = |text: &str| text.parse().map_err(|_| number(text));
                options.threads = value()?.split(',').map(parse).collect::<Result<_>>()?;
            }
            unknown if unknown.starts_with('-') => return Err(Error::invalid(format!("unknown option {unknown}"))),
            word => options.words.push(word.to_owned()),
        }
    }
    Ok(Some(options))
}

fn measure_all(options: &Options) -> Result<()> {
    let wanted = |name: &str| options.words.is_empty() || options.words.iter().any(|word| name.contains(word.as_str()));
    for micro in F32.iter().filter(|micro| micro.isa.is_available()) {
        if options.isa.is_some_and(|isa| isa != micro.isa) {
            continue;
        }
        for &threads in &options.threads {
            let gang = Gang::new(threads)?;
            let peak = peak_flops(micro.isa, &gang)?;
            if !options.json {
                println!("\n{}, {threads} threads, peak {:.1} GFLOP/s", micro.isa, peak / 1e9);
                println!("  {:<44} {:>12} {:>9} {:>7}", "", "microseconds", "GFLOP/s", "% peak");
            }
            for work in Work::all().filter(|work| wanted(&work.name())) {
                if let Some(kernel) = work.kernel(Target { isa: micro.isa, threads: gang.size() })? {
                    let seconds = time(&gang, &kernel, options.seconds)?;
                    show(options.json, (micro.isa, threads), peak, (&work.name(), kernel.flops), seconds);
                }
            }
        }
    }
    Ok(())
}

/// The least time of one call.
fn time(gang: &Gang, kernel: &Kernel, seconds: f64) -> Result<f64> {
    let size = kernel.scratch_bytes.next_multiple_of(64).max(64);
    let mut scratch = (0..gang.size()).map(|_| Buffer::zeroed(size)).collect::<Result<Vec<_>>>()?;
    let scratch: Vec<Address> = scratch.iter_mut().map(Address::of).collect();
    let mut ledger = Ledger::default();
    let mut calls = |count: usize| -> Result<f64> {
        ledger.open(gang.size());
        let start = Instant::now();
        gang.run(&|rank| walk(kernel, count, rank, &ledger, scratch[rank.index]))?;
        Ok(start.elapsed().as_secs_f64() / count as f64)
    };
    calls(1)?;
    let once = calls(1)?;
    let count = (seconds / SAMPLES as f64 / once.max(1e-9)).clamp(1.0, 1e6) as usize;
    let (mut best, start) = (once, Instant::now());
    for sample in 0..SAMPLES {
        // Slow kernels make do with fewer samples.
        if sample >= 3 && start.elapsed().as_secs_f64() > 2.0 * seconds {
            break;
        }
        best = best.min(calls(count)?);
    }
    Ok(best)
}

/// One thread's way through the phases of some calls, as in a run of a model.
fn walk(kernel: &Kernel, calls: usize, rank: &Rank<'_>, ledger: &Ledger, scratch: Address) {
    let phases = (0..calls).flat_map(|_| kernel.phases.iter().enumerate());
    let mut before = 0;
    for (number, (phase, &parts)) in (1..).zip(phases) {
        if !ledger.wait(rank, before) {
            return;
        }
        let mut finished = 0;
        for owner in (0..rank.size).map(|turn| (rank.index + turn) % rank.size) {
            let share = parts * owner / rank.size..parts * (owner + 1) / rank.size;
            while let Some(nth) = ledger.take(owner, number, share.len()) {
                (kernel.run)(phase, share.start + nth, scratch);
                finished += 1;
            }
        }
        before += parts as u64;
        ledger.finish(rank, finished, before);
    }
}

fn show(json: bool, (isa, threads): (Isa, usize), peak: f64, (name, flops): (&str, f64), seconds: f64) {
    let (us, rate, share) = (seconds * 1e6, flops / seconds / 1e9, 100.0 * flops / seconds / peak);
    if json {
        println!(
            r#"{{"kernel":"{name}","isa":"{isa}","threads":{threads},"us":{us:.3},"gflops":{rate:.2},"percent_of_peak":{share:.2}}}"#
        );
    } else {
        println!("  {name:<44} {us:>12.1} {rate:>9.1} {share:>7.1}");
    }
}

impl Work {
    fn all() -> impl Iterator<Item = Work> {
        let products = PRODUCTS.iter().map(|&(m, n, k)| Work::Product(GemmShape::matrix(m, n, k)));
        let convolutions =
            CONVOLUTIONS.iter().flat_map(|&[extent, in_channels, out_channels, taps, stride, groups]| {
                let input = [1, extent, extent];
                let shape =
                    ConvShape { batch: 1, groups, in_channels, out_channels, input, window: window(taps, stride) };
                [Work::Convolution(shape), Work::Winograd(shape)]
            });
        let expansions = EXPANSIONS.iter().map(|&[extent, in_channels, channels, taps, stride]| {
            let (input, window) = ([1, extent, extent], window(taps, stride));
            let (batch, groups, out_channels) = (1, channels, channels);
            Work::Expanded(in_channels, ConvShape { batch, groups, in_channels: channels, out_channels, input, window })
        });
        products
            .chain(convolutions)
            .chain(expansions)
            .chain(POOLS.into_iter().map(Work::Pool))
            .chain(ACTIVATIONS.into_iter().map(Work::Activation))
    }

    fn name(&self) -> String {
        let convolution = |algorithm: &str, shape: &ConvShape| {
            let ConvShape { groups, in_channels, out_channels, input, window, .. } = shape;
            let [.., extent] = input;
            let ([.., taps], [.., stride]) = (window.kernel, window.stride);
            format!(
                "{algorithm} {taps}x{taps}/{stride} {extent}x{extent} {in_channels}->{out_channels} groups {groups}"
            )
        };
        match self {
            Work::Product(shape) => format!("gemm {}x{}x{}", shape.m, shape.n, shape.depth),
            Work::Convolution(shape) => convolution("conv", shape),
            Work::Winograd(shape) => convolution("winograd", shape),
            Work::Expanded(from, shape) => convolution(&format!("conv 1x1 {from}-> +"), shape),
            Work::Pool([extent, channels, taps, stride]) => {
                format!("pool {taps}x{taps}/{stride} {extent}x{extent} {channels}")
            }
            Work::Activation(activation) => format!("activation {activation:?}"),
        }
    }

    /// The kernel with operands; None where the algorithm does not apply.
    fn kernel(&self, target: Target) -> Result<Option<Kernel>> {
        let isa = target.isa;
        match self {
            Work::Product(shape) => product(target, *shape).map(Some),
            Work::Convolution(shape) => {
                let conv = Conv::new(target, shape, layout(shape))?;
                let k = shape.window.taps() * shape.group_in();
                let weights = WeightLayout::of_shape(shape).len(shape.groups, shape.out_channels, k)?;
                convolution(shape, conv, weights).map(Some)
            }
            Work::Winograd(shape) => match Conv::winograd(isa, shape, layout(shape))? {
                Some(conv) => convolution(shape, conv, winograd_len(shape)?).map(Some),
                None => Ok(None),
            },
            Work::Expanded(from, shape) => match Expanded::new(target, *from, shape)? {
                Some(plan) => expansion(*from, shape, plan).map(Some),
                None => Ok(None),
            },
            Work::Pool(extents) => pool(isa, *extents).map(Some),
            Work::Activation(function) => activation(isa, *function).map(Some),
        }
    }
}

/// As in models: the first convolution reads an image as it comes.
fn layout(shape: &ConvShape) -> InputLayout {
    match shape.in_channels {
        3 if Conv::reads_channels_first(shape) => InputLayout::ChannelsFirst,
        stride => InputLayout::ChannelsLast { stride },
    }
}

fn product(target: Target, shape: GemmShape) -> Result<Kernel> {
    let GemmShape { m, n, depth: k, .. } = shape;
    let gemm = Gemm::new(target, shape)?;
    let mut operands = vec![values(m * k)?, values(packed_len(n, k)?)?, values(m * n)?];
    let [a, b, c] = [0, 1, 2].map(|i| Address::of(&mut operands[i]));
    let run = move |_, part, scratch: Address| {
        let rows = StridedRows { data: a.floats(), stride: k };
        // SAFETY: the operands have the extents of the product and live as long as the kernel; each rank has scratch
        // memory of its own, and each part runs on one rank.
        unsafe { gemm.run_part(part, &rows, b.floats(), &Output::new(c.floats(), n), scratch.bytes()) }
    };
    let flops = 2.0 * (m * n * k) as f64;
    let (phases, scratch_bytes) = (vec![gemm.parts()], gemm.scratch_bytes());
    Ok(Kernel { flops, phases, scratch_bytes, run: Box::new(run), _operands: operands })
}

fn convolution(shape: &ConvShape, conv: Conv, weights: usize) -> Result<Kernel> {
    let pixels = |extents: [usize; 3]| shape.batch * extents.iter().product::<usize>();
    let (from, to) = (pixels(shape.input), pixels(shape.output()?));
    let mut operands = vec![values(from * shape.in_channels)?, values(weights)?, values(to * shape.out_channels)?];
    operands.push(Buffer::zeroed(conv.shared_bytes().max(64))?);
    let [input, weights, output, shared] = [0, 1, 2, 3].map(|i| Address::of(&mut operands[i]));
    let stride = shape.out_channels;
    let run = move |phase, part, scratch: Address| {
        let output = Output::new(output.floats(), stride);
        let args = ConvArgs { input: input.floats(), weights: weights.floats(), output };
        // SAFETY: as in `product`; a barrier ends each phase.
        unsafe { conv.run(phase, part, &args, shared.bytes(), scratch.bytes()) }
    };
    let flops = 2.0 * (to * shape.out_channels * shape.window.taps() * shape.group_in()) as f64;
    let phases = (0..conv.phases()).map(|phase| conv.parts(phase)).collect();
    Ok(Kernel { flops, phases, scratch_bytes: conv.scratch_bytes(), run: Box::new(run), _operands: operands })
}

/// Both convolutions end in the activation that networks with inverted residuals have.
fn expansion(from: usize, shape: &ConvShape, plan: Expanded) -> Result<Kernel> {
    let pixels = |extents: [usize; 3]| shape.batch * extents.iter().product::<usize>();
    let (input, output, channels) = (pixels(shape.input), pixels(shape.output()?), shape.out_channels);
    let (dense, taps) = (packed_len(channels, from)?, packed_len(channels, shape.window.taps())?);
    let mut operands = vec![values(input * from)?, values(dense)?, values(taps)?, values(output * channels)?];
    let [x, dense, taps, y] = [0, 1, 2, 3].map(|i| Address::of(&mut operands[i]));
    let run = move |_, part, scratch: Address| {
        let activation = Activation::Clip { lo: 0.0, hi: 6.0 };
        let output = Output { activation, ..Output::new(y.floats(), channels) };
        let expand = ConvArgs { input: x.floats(), weights: dense.floats(), output };
        let depthwise = ConvArgs { input: x.floats(), weights: taps.floats(), output };
        // SAFETY: as in `product`.
        unsafe { plan.run(part, &expand, &depthwise, scratch.bytes()) }
    };
    let flops = 2.0 * (channels * (input * from + output * shape.window.taps())) as f64;
    let (phases, scratch_bytes) = (vec![plan.parts()], plan.scratch_bytes());
    Ok(Kernel { flops, phases, scratch_bytes, run: Box::new(run), _operands: operands })
}

/// A square window with half of it as padding.
fn window(taps: usize, stride: usize) -> Window {
    Window::new([1, taps, taps]).padded([0, taps / 2, taps / 2]).strided([1, stride, stride])
}

fn pool(isa: Isa, [extent, channels, taps, stride]: [usize; 4]) -> Result<Kernel> {
    let (input, window) = ([1, extent, extent], window(taps, stride));
    let output = window.output(input)?;
    let pool = Pool::new(isa, PoolKind::Max, &window, (1, input, channels), channels, output)?;
    let elements = |extents: [usize; 3]| extents.iter().product::<usize>() * channels;
    let mut operands = vec![values(elements(input))?, values(elements(output))?];
    let [from, to] = [0, 1].map(|i| Address::of(&mut operands[i]));
    let run = move |_, part, scratch: Address| {
        let args = PoolArgs { input: from.floats(), output: to.floats(), output_stride: channels };
        // SAFETY: as in `product`.
        unsafe { pool.run(part, &args, scratch.bytes()) }
    };
    let (flops, scratch_bytes) = ((elements(output) * window.taps()) as f64, pool.scratch_bytes());
    Ok(Kernel { flops, phases: vec![pool.parts()], scratch_bytes, run: Box::new(run), _operands: operands })
}

fn activation(isa: Isa, function: Activation) -> Result<Kernel> {
    let mut operands = vec![values(ELEMENTS)?, values(ELEMENTS)?];
    let [from, to] = [0, 1].map(|i| Address::of(&mut operands[i]));
    let run = move |_, _, _: Address| {
        // SAFETY: the operands are two buffers of this size; the only part runs on one rank.
        let (from, to) = unsafe {
            let from = std::slice::from_raw_parts(from.floats(), ELEMENTS);
            (from, std::slice::from_raw_parts_mut(to.floats(), ELEMENTS))
        };
        to.copy_from_slice(from);
        function.apply_to(isa, to);
    };
    Ok(Kernel { flops: ELEMENTS as f64, phases: vec![1], scratch_bytes: 0, run: Box::new(run), _operands: operands })
}

/// Repeatable numbers between -1 and 1.
fn values(len: usize) -> Result<Buffer> {
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) >> 8 & 0xffff) as f32 / 32768.0 - 1.0;
    Buffer::from_elements(&(0..len).map(number).collect::<Vec<f32>>())
}
