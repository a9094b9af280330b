//! Which of several kernels for a product is taken: the one that was fastest when they were timed.

use super::product::{Algorithm, Product};
use super::tuning::{Choice, Tuning};
use crate::cuda::{Address, Args, Device, Event, Kernel, Memory, Stream};
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Runs in one piece of captured work: so many that the time between two events is theirs rather than that of their launches.
const RUNS: u32 = 8;

/// How often the captured work is timed; the least time counts.
const REPEATS: usize = 3;

/// A kernel that takes this long is timed by itself, once.
const LONG: Duration = Duration::from_millis(1);

/// A kernel whose first run takes so many times the best time of others is not looked at any longer.
const HOPELESS: u32 = 3;

/// How much memory the operands of a product take, in bytes.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// Of each input; 0 where it is absent.
    pub inputs: Vec<usize>,
    /// Of the output.
    pub output: usize,
}

/// `own`, or cuBLASLt's kernel for the product, which is followed by `finish` if its result is [`Target::Sums`](super::Target).
///
/// What [`Tuning::process`] knows is taken; else the candidates are timed, in a stream of their own and on memory of their own, and
/// it knows then. Where cuBLASLt is not there, or does not do the product, `own` is returned at once.
pub fn faster(
    device: &Arc<Device>,
    product: Product,
    own: Box<dyn Kernel>,
    finish: Option<Box<dyn Kernel>>,
    scratch: &Scratch,
) -> Result<Box<dyn Kernel>> {
    let Ok(blas) = device.blas() else { return Ok(own) };
    let key = (blas.place.clone(), product.key());
    // What the library does not do, it refuses here.
    let algorithms = product.algorithms(device, blas).unwrap_or_default();
    if algorithms.is_empty() {
        return Ok(own);
    }
    let finish: Option<Arc<dyn Kernel>> = finish.map(Arc::from);
    let mut candidates = vec![(Choice::Own, own)];
    for (config, algorithm) in algorithms {
        let kernel: Box<dyn Kernel> = match &finish {
            Some(finish) => Box::new(Finished { algorithm, finish: finish.clone() }),
            None => Box::new(algorithm),
        };
        candidates.push((Choice::Algorithm(config), kernel));
    }
    // One at a time: kernels that run beside each other are slow.
    static TIMING: Mutex<()> = Mutex::new(());
    let _timing = TIMING.lock().unwrap_or_else(PoisonError::into_inner);
    let tuning = Tuning::process();
    let known = tuning.get(&key).and_then(|choice| candidates.iter().position(|(candidate, _)| *candidate == choice));
    let chosen = match known {
        Some(at) => at,
        None => match fastest(device, &candidates, scratch) {
            Ok(at) => {
                tuning.set(key, candidates[at].0);
                at
            }
            // There is no room to try, or the device fails, which the next who uses it will tell.
            Err(_) => 0,
        },
    };
    Ok(candidates.swap_remove(chosen).1)
}

/// A product whose sums another kernel finishes.
struct Finished {
    algorithm: Algorithm,
    finish: Arc<dyn Kernel>,
}

impl Kernel for Finished {
    fn workspace_bytes(&self) -> usize {
        self.algorithm.workspace_bytes().max(self.finish.workspace_bytes())
    }

    fn enqueue(&self, stream: &Stream, args: &Args<'_>) -> Result<()> {
        self.algorithm.enqueue(stream, args)?;
        self.finish.enqueue(stream, args)
    }
}

/// The place of the fastest; those that fail are passed over.
fn fastest(device: &Arc<Device>, candidates: &[(Choice, Box<dyn Kernel>)], scratch: &Scratch) -> Result<usize> {
    let stream = Arc::new(Stream::new(device)?);
    let memory = |bytes: usize| Memory::new(&stream, bytes);
    let inputs = scratch.inputs.iter().map(|&n| if n > 0 { memory(n).map(Some) } else { Ok(None) });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let output = memory(scratch.output)?;
    let workspace = memory(candidates.iter().map(|(_, kernel)| kernel.workspace_bytes()).max().unwrap_or(0))?;
    let inputs: Vec<Address> = inputs.iter().map(|m| m.as_ref().map_or(Address::default(), Memory::address)).collect();
    let args = Args { inputs: &inputs, outputs: &[output.address()], workspace: workspace.address() };
    let watch = Watch { stream: &stream, begin: Event::new(device)?, end: Event::new(device)? };
    let mut best = None;
    for (at, (_, kernel)) in candidates.iter().enumerate() {
        let limit = best.map_or(Duration::MAX, |(least, _): (Duration, usize)| least.saturating_mul(HOPELESS));
        match watch.time_of(&**kernel, &args, limit) {
            Ok(time) if best.is_none_or(|(least, _)| time < least) => best = Some((time, at)),
            _ => (),
        }
    }
    stream.synchronize()?;
    best.map(|(_, at)| at).ok_or_else(|| Error::internal("no kernel for a product runs"))
}

/// What times work in a stream.
struct Watch<'a> {
    stream: &'a Stream,
    begin: Event,
    end: Event,
}

impl Watch<'_> {
    /// How long a run of the kernel takes. The first run, which may wait for the kernel's code to be loaded, does not count.
    fn time_of(&self, kernel: &dyn Kernel, args: &Args<'_>, limit: Duration) -> Result<Duration> {
        let run = || kernel.enqueue(self.stream, args);
        run()?;
        let once = self.time(run)?;
        if once >= LONG || once > limit {
            return Ok(once);
        }
        let captured = self.stream.capture(|| (0..RUNS).try_for_each(|_| run()))?;
        captured.launch(self.stream)?;
        let mut least = Duration::MAX;
        for _ in 0..REPEATS {
            least = least.min(self.time(|| captured.launch(self.stream))?);
        }
        Ok(least / RUNS)
    }

    /// How long it takes.
    fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
        self.begin.record(self.stream)?;
        work()?;
        self.end.record(self.stream)?;
        self.end.synchronize()?;
        self.end.since(&self.begin)
    }
}
