//! How many tests ran, read from what the test runners print.

use std::fmt;
use std::ops::AddAssign;

/// Tests that passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    /// A check that is not made of tests counts as one.
    pub const ONE: Counts = Counts { passed: 1, failed: 0, skipped: 0 };

    /// A runner may die before it counts its failure, and one that ran nothing has not shown anything: both have failed.
    pub fn of_run(self, succeeded: bool) -> Counts {
        let good = succeeded && self.passed > 0;
        if good { self } else { Counts { failed: self.failed.max(1), ..self } }
    }

    /// `test result: ok. 5 passed; 0 failed; 1 ignored; …`, once for each test program.
    pub fn cargo(output: &str) -> Counts {
        output.lines().filter(|line| line.starts_with("test result:")).fold(Counts::default(), |mut sum, line| {
            sum += Counts {
                passed: before(line, "passed"),
                failed: before(line, "failed"),
                skipped: before(line, "ignored"),
            };
            sum
        })
    }

    /// The JUnit file of ctest: `<testsuite tests="12" failures="3" disabled="0" skipped="1" …>`.
    pub fn junit(file: &str) -> Counts {
        let (failed, skipped) = (after(file, "failures=\""), after(file, "skipped=\"") + after(file, "disabled=\""));
        Counts { passed: after(file, "tests=\"").saturating_sub(failed + skipped), failed, skipped }
    }

    /// `12 passed, 3 failed, 4 skipped`, the last such line.
    pub fn plain(output: &str) -> Counts {
        let line =
            output.lines().rfind(|line| line.contains(" passed, ") && line.contains(" failed")).unwrap_or_default();
        Counts { passed: before(line, "passed"), failed: before(line, "failed"), skipped: before(line, "skipped") }
    }

    /// Python's unittest: `Ran 12 tests in 0.1s`, then `OK` or `FAILED (failures=1, errors=2, skipped=3)`.
    pub fn unittest(output: &str) -> Counts {
        let ran = output.lines().rfind(|line| line.starts_with("Ran ")).map_or(0, |line| before(line, "test"));
        let last =
            output.lines().rfind(|line| line.starts_with("OK") || line.starts_with("FAILED")).unwrap_or_default();
        let failed = after(last, "failures=") + after(last, "errors=");
        let skipped = after(last, "skipped=");
        Counts { passed: ran.saturating_sub(failed + skipped), failed, skipped }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

/// The number that stands before the word.
fn before(line: &str, word: &str) -> u64 {
    let number = line.find(word).and_then(|at| line[..at].split_whitespace().next_back());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The number that follows the word.
fn after(line: &str, word: &str) -> u64 {
    let rest = line.find(word).map_or("", |at| &line[at + word.len()..]);
    rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_runners_print() {
        let cargo = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured\nx\ntest result: FAILED. 2 passed; 3 failed; 0 ignored";
        assert_eq!(Counts::cargo(cargo), Counts { passed: 7, failed: 3, skipped: 1 });
        let junit = "<testsuite name=\"x\"\n\ttests=\"12\"\n\tfailures=\"3\"\n\tdisabled=\"0\"\n\tskipped=\"1\">";
        assert_eq!(Counts::junit(junit), Counts { passed: 8, failed: 3, skipped: 1 });
        assert_eq!(Counts::plain("x\n9 passed, 1 failed, 2 skipped\n"), Counts { passed: 9, failed: 1, skipped: 2 });
        let python = "Ran 12 tests in 0.1s\n\nFAILED (failures=1, errors=2, skipped=3)\n";
        assert_eq!(Counts::unittest(python), Counts { passed: 6, failed: 3, skipped: 3 });
        assert_eq!(Counts::unittest("Ran 1 test in 0.1s\n\nOK\n"), Counts { passed: 1, failed: 0, skipped: 0 });
    }

    #[test]
    fn a_run_that_died_or_ran_nothing_has_failed() {
        assert_eq!(Counts::default().of_run(false).failed, 1);
        assert_eq!(Counts::default().of_run(true).failed, 1);
        assert_eq!(Counts::ONE.of_run(true), Counts::ONE);
        assert_eq!(Counts { failed: 2, ..Counts::default() }.of_run(false).failed, 2);
    }
}
