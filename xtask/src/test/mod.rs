//! `make test`: everything that CI runs, in stages. A failing stage does not hide the ones after it.

mod count;
mod native;
mod stages;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::count::Counts;

/// One named part of the test run.
struct Stage {
    name: &'static str,
    /// Part of `check` as well: seconds once everything is compiled.
    quick: bool,
    /// What the stage is about; it is absent where this is.
    input: &'static str,
    run: fn() -> Result<Counts>,
}

/// Runs all stages, or those whose name contains one of the words.
pub fn test(only: &[String]) -> Result<()> {
    let wanted = |stage: &&Stage| only.is_empty() || only.iter().any(|word| stage.name.contains(word.as_str()));
    run(stages::all().filter(wanted))
}

/// Runs the quick stages.
pub fn check() -> Result<()> {
    run(stages::all().filter(|stage| stage.quick))
}

fn run(stages: impl Iterator<Item = &'static Stage>) -> Result<()> {
    let mut total = Counts::default();
    let mut rows = Vec::new();
    let start = Instant::now();
    for stage in stages {
        println!("\n== {}", stage.name);
        let start = Instant::now();
        let counts = (stage.run)().unwrap_or_else(|error| {
            println!("{error:#}");
            Counts { failed: 1, ..Counts::default() }
        });
        rows.push((stage.name, start.elapsed(), counts));
        total += counts;
    }
    summary(&rows, start.elapsed());
    println!("{total}");
    if total.failed > 0 || rows.is_empty() {
        bail!("{}", if rows.is_empty() { "no stage has that name" } else { "tests failed" });
    }
    Ok(())
}

fn summary(rows: &[(&str, Duration, Counts)], elapsed: Duration) {
    println!("\n== Summary");
    for (name, time, counts) in rows {
        let verdict = if counts.failed > 0 { "FAILED" } else { "ok" };
        println!("{verdict:<7} {:>7.1} s  {name}: {counts}", time.as_secs_f64());
    }
    println!("{:>15.1} s  in all", elapsed.as_secs_f64());
}
