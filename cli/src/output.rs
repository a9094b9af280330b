//! Standard output, which a reader may close at any time, and numbers as people read them.

use std::io::{ErrorKind, Write};

use infer::error::{Error, Result};

/// Writes text to standard output. A reader that has seen enough, like `head`, is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", &e)),
        _ => Ok(()),
    }
}

/// A number of bytes in a unit that leaves few digits.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if n < 1000 {
        return format!("{n} bytes");
    }
    let mut value = n as f64 / 1e3;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    let digits = if value < 9.95 { 2 } else { usize::from(value < 99.5) };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_have_three_digits_or_so() {
        let cases =
            [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (97_123_456, "97.1 MB"), (999_600, "1.00 MB")];
        for (n, text) in cases {
            assert_eq!(super::bytes(n), text);
        }
    }
}
