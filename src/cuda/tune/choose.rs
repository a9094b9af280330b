//! Which of several kernels is taken: the one that was fastest when they were timed.

use super::tuning::{Choice, Key, Tuning};
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

/// How much memory the operands of a kernel take, in bytes.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// Of each input; 0 where it is absent.
    pub inputs: Vec<usize>,
    /// Of the output.
    pub output: usize,
}

/// A kernel that may be taken, and what tells it apart.
pub type Candidate = (Choice, Box<dyn Kernel>);

/// The kernels of a library for something that another kernel computes too.
pub trait Offers {
    /// Those that the library proposes, best first; none if it does not do this.
    fn all(&self) -> Vec<Candidate>;

    /// The kernel that was chosen before, if there still is such a one.
    fn again(&self, choice: &Choice) -> Option<Box<dyn Kernel>> {
        self.all().into_iter().find(|(candidate, _)| candidate == choice).map(|(_, kernel)| kernel)
    }

    /// Takes note of one that did not run.
    fn fails(&self, _choice: &Choice, _error: &Error) {}
}

/// `own`, or a library's kernel in its place.
///
/// What [`Tuning::process`] knows is taken; else the candidates are timed, in a stream of their own and on memory of their own, and
/// it knows then. Where the library offers nothing, `own` is returned at once.
pub fn faster(
    device: &Arc<Device>,
    key: Key,
    own: Box<dyn Kernel>,
    offers: &dyn Offers,
    scratch: &Scratch,
) -> Box<dyn Kernel> {
    // One at a time: kernels that run beside each other are slow.
    static TIMING: Mutex<()> = Mutex::new(());
    let _timing = TIMING.lock().unwrap_or_else(PoisonError::into_inner);
    let tuning = Tuning::process();
    match tuning.get(&key) {
        Some(Choice::Own) => return own,
        Some(choice) => {
            if let Some(kernel) = offers.again(&choice) {
                return kernel;
            }
        }
        None => (),
    }
    let mut candidates = vec![(Choice::Own, own)];
    candidates.extend(offers.all());
    if candidates.len() == 1 {
        return candidates.swap_remove(0).1;
    }
    let chosen = match fastest(device, &candidates, offers, scratch) {
        Ok(at) => {
            tuning.set(key, candidates[at].0.clone());
            at
        }
        // There is no room to try, or the device fails, which the next who uses it will tell.
        Err(_) => 0,
    };
    candidates.swap_remove(chosen).1
}

/// The place of the fastest; those that fail are passed over.
fn fastest(device: &Arc<Device>, candidates: &[Candidate], offers: &dyn Offers, scratch: &Scratch) -> Result<usize> {
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
    for (at, (choice, kernel)) in candidates.iter().enumerate() {
        let limit = best.map_or(Duration::MAX, |(least, _): (Duration, usize)| least.saturating_mul(HOPELESS));
        match watch.time_of(&**kernel, &args, limit) {
            Ok(time) if best.is_none_or(|(least, _)| time < least) => best = Some((time, at)),
            Ok(_) => (),
            Err(e) => offers.fails(choice, &e),
        }
    }
    stream.synchronize()?;
    best.map(|(_, at)| at).ok_or_else(|| Error::internal("none of the kernels runs"))
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
