//! The gang under every size on few cores, under contention, panics, forks and idleness.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::wait::{SPIN_LEAST, SPIN_RUN, SPIN_TRIAL};
use super::*;
use std::time::{Duration, Instant};

/// Sizes below, at and far above the number of cores of a small machine.
const SIZES: [usize; 5] = [1, 2, 3, 5, 8];

fn gang(threads: usize) -> Gang {
    Gang::new(threads).expect("a gang starts")
}

/// A place where all ranks wait for each other: a phase with a part for each of them.
#[derive(Default)]
struct Meeting(Ledger);

impl Meeting {
    fn of(ranks: usize) -> Meeting {
        let mut meeting = Meeting::default();
        meeting.0.open(ranks);
        meeting
    }

    /// The `nth` meeting of a run, counted from 1; false if somebody will not come.
    fn meet(&self, rank: &Rank<'_>, nth: usize) -> bool {
        let all = (nth * rank.size) as u64;
        self.0.finish(rank, 1, all);
        self.0.wait(rank, all)
    }
}

fn count(ranks: &AtomicUsize) -> usize {
    ranks.load(SeqCst)
}

#[test]
fn every_rank_runs_once() {
    for size in SIZES {
        let gang = gang(size);
        assert_eq!(gang.size(), size);
        for _ in 0..100 {
            let calls: Vec<AtomicUsize> = (0..size).map(|_| AtomicUsize::new(0)).collect();
            gang.run(&|rank| {
                assert_eq!(rank.size, size);
                calls[rank.index].fetch_add(1, Relaxed);
            })
            .unwrap();
            assert!(calls.iter().all(|c| c.load(Relaxed) == 1));
        }
    }
}

#[test]
fn the_caller_is_rank_zero() {
    let gang = gang(2);
    let caller = std::thread::current().id();
    gang.run(&|rank| assert_eq!(rank.index == 0, std::thread::current().id() == caller)).unwrap();
}

#[test]
fn zero_threads_means_all_cores() {
    assert_eq!(gang(0).size(), std::thread::available_parallelism().unwrap().get().min(MAX_THREADS));
}

#[test]
fn absurd_sizes_are_refused() {
    for threads in [MAX_THREADS + 1, usize::MAX] {
        let message = Gang::new(threads).unwrap_err().to_string();
        assert!(message.contains("1024"), "{message}");
    }
}

/// Each phase reads what other ranks wrote, without atomics' own ordering, in the phase before.
#[test]
fn a_phase_sees_what_the_one_before_wrote() {
    const PHASES: usize = 50;
    for size in SIZES {
        let gang = gang(size);
        let cells: Vec<AtomicUsize> = (0..size).map(|_| AtomicUsize::new(0)).collect();
        for _ in 0..20 {
            cells.iter().for_each(|c| c.store(0, Relaxed));
            let meeting = Meeting::of(size);
            gang.run(&|rank| {
                for phase in 0..PHASES {
                    let next = cells[(rank.index + 1) % rank.size].load(Relaxed);
                    assert_eq!(next, phase);
                    assert!(meeting.meet(rank, 2 * phase + 1));
                    cells[rank.index].store(phase + 1, Relaxed);
                    assert!(meeting.meet(rank, 2 * phase + 2));
                }
            })
            .unwrap();
            assert!(cells.iter().all(|c| c.load(Relaxed) == PHASES));
        }
    }
}

#[test]
fn many_tiny_runs() {
    for (size, runs) in [(1, 100_000), (2, 100_000), (3, 20_000), (5, 10_000), (8, 5_000)] {
        let gang = gang(size);
        let total = AtomicUsize::new(0);
        let mut meeting = Meeting::default();
        for _ in 0..runs {
            meeting.0.open(size);
            gang.run(&|rank| {
                assert!(meeting.meet(rank, 1));
                total.fetch_add(1, Relaxed);
                assert!(meeting.meet(rank, 2));
            })
            .unwrap();
        }
        assert_eq!(count(&total), size * runs);
    }
}

/// A run finds the workers spinning, about to sleep, or asleep.
#[test]
fn runs_after_pauses_of_any_length() {
    let gang = gang(2);
    for round in 0..400 {
        std::thread::sleep(Duration::from_micros(round));
        let (ranks, meeting) = (AtomicUsize::new(0), Meeting::of(2));
        gang.run(&|rank| {
            assert!(meeting.meet(rank, 1));
            ranks.fetch_add(1, Relaxed);
        })
        .unwrap();
        assert_eq!(count(&ranks), 2);
    }
}

/// Ranks that wait for a slow peer fall asleep inside the run, and wake.
#[test]
fn a_slow_rank_is_waited_for() {
    let gang = gang(3);
    for slow in 0..3 {
        let (arrived, meeting) = (AtomicUsize::new(0), Meeting::of(3));
        gang.run(&|rank| {
            if rank.index == slow {
                std::thread::sleep(Duration::from_millis(20));
            }
            arrived.fetch_add(1, Relaxed);
            assert!(meeting.meet(rank, 1));
            assert_eq!(count(&arrived), 3);
        })
        .unwrap();
    }
}

#[test]
fn callers_share_one_gang() {
    let gang = gang(2);
    let (together, alone) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let (ranks, size) = (AtomicUsize::new(0), AtomicUsize::new(0));
                    let meeting = Meeting::of(2);
                    gang.run(&|rank| {
                        assert!(meeting.meet(rank, 1));
                        size.store(rank.size, Relaxed);
                        ranks.fetch_add(1, Relaxed);
                        assert!(meeting.meet(rank, 2));
                    })
                    .unwrap();
                    assert_eq!(count(&ranks), count(&size));
                    if count(&size) == 2 { &together } else { &alone }.fetch_add(1, Relaxed);
                }
            });
        }
    });
    assert_eq!(count(&together) + count(&alone), 40_000);
    assert!(count(&together) > 0);
}

#[test]
fn a_nested_run_stays_on_its_rank() {
    let gang = gang(2);
    let inner = AtomicUsize::new(0);
    gang.run(&|_| {
        let meeting = Meeting::of(1);
        gang.run(&|rank| {
            assert_eq!((rank.index, rank.size), (0, 1));
            assert!(meeting.meet(rank, 1));
            inner.fetch_add(1, Relaxed);
        })
        .unwrap();
    })
    .unwrap();
    assert_eq!(count(&inner), 2);
}

#[test]
fn a_gang_may_run_inside_another() {
    let (outer, inner) = (gang(2), gang(2));
    let calls = AtomicUsize::new(0);
    for _ in 0..1000 {
        outer
            .run(&|_| {
                let meeting = Meeting::of(2);
                inner
                    .run(&|rank| {
                        assert!(meeting.meet(rank, 1));
                        calls.fetch_add(1, Relaxed);
                    })
                    .unwrap();
            })
            .unwrap();
    }
    assert!((2000..=4000).contains(&count(&calls)));
}

#[test]
fn dropping_joins_threads_in_any_state() {
    for size in SIZES {
        drop(gang(size)); // not yet started
        for pause in [0, 10, 100, 5000] {
            let gang = gang(size);
            let meeting = Meeting::of(size);
            gang.run(&|rank| assert!(meeting.meet(rank, 1))).unwrap();
            std::thread::sleep(Duration::from_micros(pause)); // spinning, falling asleep, asleep
        }
    }
}

/// Runs `body` with the panic report of this test's own panics suppressed.
fn quietly(body: impl FnOnce()) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some("on purpose") {
                loud(info);
            }
        }));
    });
    body();
}

#[test]
fn a_panic_becomes_an_error_and_hangs_nobody() {
    quietly(|| {
        for size in SIZES {
            let gang = gang(size);
            for culprit in 0..size {
                for at in 0..3 {
                    let (told, meeting) = (AtomicUsize::new(0), Meeting::of(size));
                    let error = gang
                        .run(&|rank| {
                            for phase in 0..3 {
                                if rank.index == culprit && phase == at {
                                    panic!("on purpose");
                                }
                                if !meeting.meet(rank, phase + 1) {
                                    told.fetch_add(1, Relaxed);
                                    return;
                                }
                            }
                        })
                        .unwrap_err();
                    assert!(error.to_string().contains("on purpose"), "{error}");
                    assert_eq!(count(&told), size - 1);
                }
            }
            let meeting = Meeting::of(size);
            gang.run(&|rank| assert!(meeting.meet(rank, 1))).expect("a gang outlives a panic");
        }
    });
}

#[test]
fn all_ranks_may_panic() {
    quietly(|| {
        let gang = gang(3);
        for _ in 0..200 {
            assert!(gang.run(&|_| panic!("on purpose")).is_err());
        }
        gang.run(&|_| ()).unwrap();
    });
}

/// Every part of every phase is taken once, whatever the ranks' speeds, and none before the phase before is done.
#[test]
fn parts_are_taken_once_and_in_time() {
    const PHASES: u32 = 40;
    for (size, parts) in [(1, 3), (2, 7), (3, 2), (5, 24), (8, 64)] {
        let gang = gang(size);
        let mut ledger = Ledger::default();
        for round in 0..20 {
            ledger.open(size);
            let taken: Vec<AtomicUsize> = (0..PHASES as usize * parts).map(|_| AtomicUsize::new(0)).collect();
            let share = |owner: usize| parts * owner / size..parts * (owner + 1) / size;
            gang.run(&|rank| {
                for phase in 0..PHASES {
                    let before = phase as usize * parts;
                    assert!(ledger.wait(rank, before as u64));
                    assert!(taken[..before].iter().all(|t| t.load(Relaxed) == 1), "a phase begins too early");
                    if (rank.index + phase as usize + round).is_multiple_of(7) {
                        std::thread::yield_now();
                    }
                    let mut mine = 0;
                    for owner in (0..rank.size).map(|turn| (rank.index + turn) % rank.size) {
                        while let Some(nth) = ledger.take(owner, phase + 1, share(owner).len()) {
                            taken[before + share(owner).start + nth].fetch_add(1, Relaxed);
                            mine += 1;
                        }
                    }
                    ledger.finish(rank, mine, (before + parts) as u64);
                }
            })
            .unwrap();
            assert!(taken.iter().all(|t| t.load(Relaxed) == 1));
        }
    }
}

/// A rank that is kept from running holds up nobody.
#[test]
fn others_do_the_parts_of_a_rank_that_is_late() {
    const PARTS: usize = 8;
    let gang = gang(2);
    let mut ledger = Ledger::default();
    ledger.open(2);
    let (done, late) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    gang.run(&|rank| {
        if rank.index == 1 {
            std::thread::sleep(Duration::from_millis(100));
            late.store(count(&done), SeqCst);
        }
        for phase in 0..5 {
            assert!(ledger.wait(rank, (phase as usize * PARTS) as u64));
            let mut mine = 0;
            for owner in [rank.index, 1 - rank.index] {
                while ledger.take(owner, phase + 1, PARTS / 2).is_some() {
                    mine += 1;
                }
            }
            done.fetch_add(mine, SeqCst);
            ledger.finish(rank, mine as u64, (phase as usize + 1) as u64 * PARTS as u64);
        }
    })
    .unwrap();
    assert_eq!((count(&done), count(&late)), (5 * PARTS, 5 * PARTS));
}

/// CPU time this thread has used.
#[cfg(unix)]
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(unix)]
#[test]
fn idle_workers_use_no_cpu() {
    let gang = gang(3);
    let times: Vec<Mutex<Duration>> = (0..3).map(|_| Mutex::new(Duration::ZERO)).collect();
    gang.run(&|rank| *lock(&times[rank.index]) = thread_time()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    gang.run(&|rank| {
        let idle = thread_time() - *lock(&times[rank.index]);
        assert!(idle < Duration::from_millis(2), "rank {} used {idle:?} of an idle second", rank.index);
    })
    .unwrap();
}

#[cfg(unix)]
#[test]
fn a_forked_child_gets_an_error_and_can_drop_the_gang() {
    let (lone, gang) = (gang(1), gang(2));
    // SAFETY: the child only runs gangs, drops them and ends without returning into the test harness.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let forked = gang.run(&|_| ()).is_err_and(|e| e.to_string().contains("fork"));
        let ran = AtomicBool::new(false);
        let alone = lone.run(&|_| ran.store(true, Relaxed)).is_ok() && ran.load(Relaxed);
        drop((lone, gang));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(!(forked && alone))) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid to write to; `child` is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "the child ended with {status:#x}");
    let meeting = Meeting::of(2);
    gang.run(&|rank| assert!(meeting.meet(rank, 1))).unwrap();
}

/// Not a test: prints what a run and the end of a phase cost, at best and in the median of many batches.
#[test]
#[ignore = "measures"]
fn cost() {
    const RUNS: u32 = 400;
    const MEETINGS: usize = 20;
    for size in [1, 2] {
        let gang = gang(size);
        let time = |job: &(dyn Fn(&Rank<'_>) + Sync)| {
            let mut batches: Vec<Duration> = (0..100)
                .map(|_| {
                    let began = Instant::now();
                    (0..RUNS).for_each(|_| gang.run(job).unwrap());
                    began.elapsed() / RUNS
                })
                .collect();
            batches.sort();
            [batches[0], batches[50]]
        };
        let empty = time(&|_| ());
        let meeting = Meeting::of(size);
        let met = AtomicUsize::new(0);
        let meetings = time(&|rank| {
            // Runs follow one another on one ledger: each begins where the one before has ended.
            let first = count(&met);
            (1..=MEETINGS).for_each(|i| assert!(meeting.meet(rank, first + i)));
            if rank.index == 0 {
                met.store(first + MEETINGS, SeqCst);
            }
        });
        let each = [0, 1].map(|i| meetings[i].saturating_sub(empty[i]) / MEETINGS as u32);
        println!("{size} threads: empty run {empty:?}, phase {each:?} (best, median)");
    }
}

#[test]
fn ranks_learn_whether_spinning_pays() {
    let patience = Patience::new(true);
    assert_eq!(patience.spin(), SPIN_RUN);
    assert_eq!(patience.next(SPIN_RUN, true), SPIN_RUN);
    assert_eq!(patience.next(SPIN_RUN, false), SPIN_RUN / 2);
    assert_eq!(patience.next(SPIN_RUN / 4, true), SPIN_RUN / 2);
    assert_eq!(patience.next(SPIN_LEAST, false), SPIN_TRIAL);
    assert_eq!(patience.next(SPIN_TRIAL, false), SPIN_LEAST);
    assert_eq!(patience.next(SPIN_LEAST, false), SPIN_LEAST, "the next trial comes later");
    assert_eq!(patience.next(SPIN_TRIAL, true), SPIN_RUN);
    assert_eq!(Patience::new(false).spin(), Duration::ZERO);
}
