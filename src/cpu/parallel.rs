//! The gang: a fixed set of threads that walks a run's steps together.
//!
//! A run has hundreds of steps of a few microseconds each, so handing every step to a work-stealing pool would cost
//! more than the work. The gang's workers instead enter one loop when it is created and stay: a run publishes one job,
//! every rank executes it, and a [`Ledger`] tells them which parts are theirs and when a step is done. Waiting is
//! bounded spinning, then sleeping, so an idle gang uses no CPU and an oversubscribed machine makes progress.
//!
//! A gang never changes results: work is cut into parts by shape alone, and a job sees only how many ranks share those
//! parts. That is why a busy gang may run a job on its caller alone.
//!
//! This is the only user of `rayon`, which owns the threads; they are joined when the gang is dropped.

#![allow(unsafe_code, reason = "workers call a job that borrows from its caller's stack")]

mod ledger;
mod members;
#[cfg(test)]
mod tests;
mod wait;

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use members::Members;
use wait::{Patience, SPIN_IDLE, Sleepers, lock};

pub use ledger::Ledger;

/// The largest gang that can be asked for.
pub const MAX_THREADS: usize = 1024;

/// A group of threads, the caller of [`Gang::run`] among them, that execute one job together.
///
/// It may be shared by any number of threads; one job at a time has the workers, the others run on their callers
/// alone. Dropping the gang joins its threads.
pub struct Gang {
    size: usize,
    shared: Arc<Shared>,
    crew: Option<Crew>,
    /// The process that owns the threads: a forked child inherits this object without them.
    process: u32,
}

/// The threads of a gang of more than one.
struct Crew {
    pool: ThreadPool,
    threads: Vec<JoinHandle<()>>,
}

/// One thread's place in a running job.
///
/// It stays on its thread (neither `Send` nor `Sync`), as what it is to do must be done by one thread.
pub struct Rank<'a> {
    /// This thread's number, `0..size`; rank 0 is the caller of [`Gang::run`].
    pub index: usize,
    /// How many ranks execute the job: the gang's size, or 1 where the job runs on its caller alone.
    pub size: usize,
    others: Option<(&'a Members, &'a Patience)>,
    thread_bound: PhantomData<*const ()>,
}

type Job<'a> = &'a (dyn Fn(&Rank<'_>) + Sync);

impl Gang {
    /// Starts a gang of `threads` ranks, of which `threads - 1` are new threads. 0 means as many as this process may
    /// use (its affinity mask and CPU quota).
    ///
    /// Errors: more than [`MAX_THREADS`], or the system refuses to start a thread.
    pub fn new(threads: usize) -> Result<Gang> {
        if threads > MAX_THREADS {
            return Err(Error::invalid(format!(
                "{threads} threads were asked for; at most {MAX_THREADS} are allowed (0 = automatic)"
            )));
        }
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get()).min(MAX_THREADS);
        let size = if threads == 0 { cores } else { threads };
        let shared = Arc::new(Shared::new(size, size <= cores));
        let crew = if size > 1 { Some(Crew::start(&shared)?) } else { None };
        Ok(Gang { size, shared, crew, process: std::process::id() })
    }

    /// Calls `job` once, on the calling thread, as rank 0 of 1.
    ///
    /// Errors: a panic in `job`.
    pub fn alone(job: &(dyn Fn(&Rank<'_>) + Sync)) -> Result<()> {
        let rank = Rank { index: 0, size: 1, others: None, thread_bound: PhantomData };
        catch_unwind(AssertUnwindSafe(|| job(&rank))).map_err(|payload| panic_error(&describe(payload)))
    }

    /// How many ranks a job has when the gang is free, the caller included.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Calls `job` once on every rank, at the same time, and returns when all calls have returned; rank 0 is the
    /// calling thread.
    ///
    /// Where the workers are not to be had, because the gang is running another job or because this call comes from
    /// inside one of its jobs, `job` is called once, on the calling thread, as rank 0 of 1. A job must therefore do
    /// all its work for any `size`.
    ///
    /// A job catches the panics of its parts itself. One that reaches this function all the same ends the waiting of the
    /// other ranks, so that nothing hangs, and becomes the returned error; the job's results are then worthless.
    ///
    /// Errors: a panic in `job`; a call in a forked child, where the workers do not exist (a gang of one has none to
    /// miss).
    pub fn run(&self, job: &(dyn Fn(&Rank<'_>) + Sync)) -> Result<()> {
        if self.crew.is_none() {
            return Gang::alone(job);
        }
        if self.process != std::process::id() {
            return Err(Error::state(
                "the process was forked after the session's threads were started, and they do not exist in the child; \
                 create the session in the child",
            ));
        }
        if self.shared.start.busy.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            return Gang::alone(job);
        }
        let outcome = self.shared.lead(&job);
        self.shared.start.busy.store(false, Release);
        outcome
    }
}

impl Drop for Gang {
    fn drop(&mut self) {
        let Some(crew) = self.crew.take() else { return };
        if self.process == std::process::id() {
            self.shared.start.stop.store(true, Relaxed);
            self.shared.publish();
            crew.join();
        } else {
            // The threads are the parent's: waiting for them would hang, and the pool's locks may be held for ever.
            std::mem::forget(crew);
        }
    }
}

impl std::fmt::Debug for Gang {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gang").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Rank<'_> {
    /// Waits until `ready`, which other ranks make true by a `SeqCst` write before they call [`Rank::wake`]; false if one
    /// of them has left by a panic, so that it may never be.
    fn wait(&self, ready: impl Fn() -> bool) -> bool {
        match self.others {
            Some((members, patience)) => members.wait(patience, ready),
            None => ready(),
        }
    }

    /// Lets waiting ranks look again.
    fn wake(&self) {
        if let Some((members, _)) = self.others {
            members.wake();
        }
    }
}

impl Crew {
    /// Starts the workers of a gang of `shared.size` ranks and sends them into their loop.
    fn start(shared: &Arc<Shared>) -> Result<Crew> {
        let mut threads = Vec::new();
        let pool = ThreadPoolBuilder::new()
            .num_threads(shared.size - 1)
            .spawn_handler(|thread| {
                let named = std::thread::Builder::new().name(format!("infer-{}", thread.index() + 1));
                threads.push(named.spawn(|| thread.run())?);
                Ok(())
            })
            .build();
        match pool {
            Ok(pool) => {
                let shared = Arc::clone(shared);
                pool.spawn_broadcast(move |worker| shared.serve(worker.index() + 1));
                Ok(Crew { pool, threads })
            }
            Err(error) => {
                // The pool has told those that did start to end.
                threads.into_iter().for_each(join);
                Err(Error::no_memory(format!("cannot start {} threads: {error}; ask for fewer", shared.size - 1)))
            }
        }
    }

    /// Waits until all workers, told to stop, have ended.
    fn join(self) {
        drop(self.pool);
        self.threads.into_iter().for_each(join);
    }
}

/// Waits for one worker. It cannot have panicked: jobs are caught, and nothing else in the loop can.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}

/// What the ranks of a gang share.
struct Shared {
    size: usize,
    patience: Patience,
    start: Start,
    members: Members,
    /// The first panic of the current run.
    fault: Mutex<Option<String>>,
}

/// What begins a run. One cache line, so that a worker has all it needs to begin as soon as it sees the run's number.
#[repr(align(128))]
struct Start {
    /// The number of the current run: idle workers wait for it to change.
    run: AtomicU32,
    /// Whether a run has the workers.
    busy: AtomicBool,
    /// Set once, when the gang is dropped.
    stop: AtomicBool,
    /// The current run's job; the pointee lives on rank 0's stack until all ranks have left the run.
    job: AtomicPtr<Job<'static>>,
    sleepers: Sleepers,
}

impl Shared {
    fn new(size: usize, spin: bool) -> Shared {
        Shared {
            size,
            patience: Patience::new(spin),
            start: Start {
                run: AtomicU32::new(0),
                busy: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                job: AtomicPtr::new(std::ptr::null_mut()),
                sleepers: Sleepers::new(),
            },
            members: Members::new(),
            fault: Mutex::new(None),
        }
    }

    /// Rank 0's side of a run: hands the job out, takes part, waits for the others. The caller holds `busy`.
    fn lead(&self, job: &Job<'_>) -> Result<()> {
        self.start.job.store(std::ptr::from_ref(job).cast_mut().cast(), Relaxed);
        self.members.open(self.size);
        self.publish();
        self.take_part(0, *job);
        self.members.wait_for_end(&self.patience);
        match lock(&self.fault).take() {
            Some(what) => Err(panic_error(&what)),
            None => Ok(()),
        }
    }

    /// Lets the workers see a new run, or that the gang stops.
    fn publish(&self) {
        self.start.run.fetch_add(1, SeqCst);
        self.start.sleepers.wake();
    }

    /// A worker's life: one job after the other until the gang is dropped.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            let spin = self.patience.spin().min(SPIN_IDLE);
            self.start.sleepers.wait_until(spin, || self.start.run.load(SeqCst) != seen);
            // No run is missed: the next is published after this rank has left the one it sees here.
            seen = self.start.run.load(Acquire);
            if self.start.stop.load(Relaxed) {
                return;
            }
            // SAFETY: `lead` stored a pointer to a `Job` before it published this run, and does not return, so the job
            // and what it borrows stay alive, until every rank has left the run; this rank leaves it at the end of
            // `take_part`.
            let job: Job<'_> = unsafe { *self.start.job.load(Relaxed) };
            self.take_part(index, job);
        }
    }

    /// Calls the job as rank `index` and leaves the run, whatever happens in the job.
    fn take_part(&self, index: usize, job: Job<'_>) {
        let others = Some((&self.members, &self.patience));
        let rank = Rank { index, size: self.size, others, thread_bound: PhantomData };
        let panic = catch_unwind(AssertUnwindSafe(|| job(&rank))).err();
        let by_panic = panic.is_some();
        if let Some(payload) = panic {
            lock(&self.fault).get_or_insert(describe(payload));
        }
        self.members.leave(by_panic);
    }
}

fn panic_error(what: &str) -> Error {
    Error::internal(format!("a kernel panicked: {what}"))
}

/// The message of a panic.
fn describe(payload: Box<dyn Any + Send>) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_string(),
        (_, Some(text)) => text.clone(),
        _ => "(no message)".to_string(),
    };
    // A payload of the job's own type may panic when dropped, here where nothing may.
    std::mem::forget(payload);
    text
}
