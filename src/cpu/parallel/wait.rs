//! Waiting for other threads: spinning while that pays, else sleeping.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long workers spin for the next run before they sleep: a caller that runs again and again, even in Python, is back by
/// then, and waking a thread takes some 20 microseconds.
pub(super) const SPIN_IDLE: Duration = Duration::from_micros(100);
/// How long ranks spin for each other inside a run while that works, and when it does not.
pub(super) const SPIN_RUN: Duration = Duration::from_micros(400);
pub(super) const SPIN_LEAST: Duration = Duration::from_micros(2);
/// When spinning does not work, a wait this long is tried this often. It is long enough for the system's scheduler to
/// notice that two ranks share a core while another is free.
pub(super) const SPIN_TRIAL: Duration = Duration::from_millis(5);
pub(super) const TRIAL_EVERY: Duration = Duration::from_millis(100);

/// How long the ranks of a gang spin for each other.
///
/// Spinning is best while every rank has a core to itself. Where other programs want the cores too, it keeps the awaited
/// rank from running, and sleeping is better. So the time is halved each time it was spent in vain and doubled when the
/// peer came within it. Ranks that sleep may end up on one core, where spinning never succeeds, so that a long wait is
/// tried now and then.
pub(super) struct Patience {
    /// False if there are more ranks than cores: then nobody spins.
    allowed: bool,
    nanos: AtomicU32,
    /// When to try a long wait, in nanoseconds after `began`.
    trial: AtomicU64,
    began: Instant,
}

impl Patience {
    pub(super) fn new(allowed: bool) -> Patience {
        let spin = if allowed { SPIN_RUN } else { Duration::ZERO };
        let nanos = AtomicU32::new(spin.as_nanos() as u32);
        Patience { allowed, nanos, trial: AtomicU64::new(0), began: Instant::now() }
    }

    pub(super) fn spin(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed).into())
    }

    pub(super) fn wait(&self, sleepers: &Sleepers, ready: impl Fn() -> bool) {
        let now = self.spin();
        let spun = sleepers.wait_until(now, ready);
        if self.allowed && !(spun && now == SPIN_RUN) {
            self.nanos.store(self.next(now, spun).as_nanos() as u32, Relaxed);
        }
    }

    /// How long to spin after spinning for up to `now` was enough or was not.
    pub(super) fn next(&self, now: Duration, enough: bool) -> Duration {
        if enough {
            return (now * 2).min(SPIN_RUN);
        }
        let time = self.began.elapsed();
        if now == SPIN_LEAST && time.as_nanos() as u64 >= self.trial.load(Relaxed) {
            self.trial.store((time + TRIAL_EVERY).as_nanos() as u64, Relaxed);
            return SPIN_TRIAL;
        }
        if now > SPIN_RUN { SPIN_LEAST } else { (now / 2).max(SPIN_LEAST) }
    }
}

/// The threads that gave up waiting actively.
pub(super) struct Sleepers {
    count: AtomicU32,
    lock: Mutex<()>,
    bell: Condvar,
}

impl Sleepers {
    pub(super) fn new() -> Sleepers {
        Sleepers { count: AtomicU32::new(0), lock: Mutex::new(()), bell: Condvar::new() }
    }

    /// Returns when `ready` is true, and whether that came while spinning for at most `spin`.
    ///
    /// Whoever makes it true does so with a `SeqCst` write and then calls [`Sleepers::wake`]; `ready` reads it `SeqCst`.
    /// Then either the sleeper sees the write, or the writer sees that somebody sleeps.
    pub(super) fn wait_until(&self, spin: Duration, ready: impl Fn() -> bool) -> bool {
        if spin_until(spin, &ready) {
            return true;
        }
        let mut guard = lock(&self.lock);
        self.count.fetch_add(1, SeqCst);
        while !ready() {
            guard = self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.count.fetch_sub(1, Relaxed);
        false
    }

    /// Wakes all sleepers to look again; cheap while nobody sleeps.
    pub(super) fn wake(&self) {
        if self.count.load(SeqCst) != 0 {
            // A sleeper that has counted itself holds the lock until it waits for the bell.
            drop(lock(&self.lock));
            self.bell.notify_all();
        }
    }
}

/// Spins for at most about `limit`; returns whether `ready` came true.
fn spin_until(limit: Duration, ready: impl Fn() -> bool) -> bool {
    let spin = || {
        // So many turns that looking at the clock after them adds little.
        (0..64).any(|_| {
            std::hint::spin_loop();
            ready()
        })
    };
    if ready() || (!limit.is_zero() && spin()) {
        return true;
    }
    let began = Instant::now();
    while began.elapsed() < limit {
        if spin() {
            return true;
        }
    }
    false
}

/// Locks a mutex whose holders cannot panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
