//! What was found to be fastest, for the process and, as text, beyond it.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// How many numbers tell algorithms of cuBLASLt apart.
pub const CONFIG: usize = 9;

/// The numbers that tell an algorithm from others of the same version of cuBLASLt.
pub type Config = [u32; CONFIG];

/// What computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The library's own kernel.
    Own,
    /// An algorithm of cuBLASLt.
    Algorithm(Config),
}

/// The choices of the process. Products of which one is here are not timed again, and so have the same bits; with choices that
/// were saved by one process and loaded by another before it opens a model, they have them there as well.
///
/// A choice counts for one kind of GPU and one version of cuBLASLt; others are kept beside it.
#[derive(Debug, Default)]
pub struct Tuning {
    /// By where the product runs, and what it is.
    choices: Mutex<BTreeMap<(String, String), Choice>>,
}

/// First line of the text.
const HEADER: &str = "infer-tuning 1";

impl Tuning {
    /// That of the process.
    pub fn process() -> &'static Tuning {
        static TUNING: Tuning = Tuning { choices: Mutex::new(BTreeMap::new()) };
        &TUNING
    }

    /// The choices as text: a line that names the format, then one for each choice with the GPU, the product, and what computes it.
    pub fn save(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        for ((place, product), choice) in &*self.choices.lock().unwrap_or_else(PoisonError::into_inner) {
            _ = write!(text, "{place}\t{product}\t");
            match choice {
                Choice::Own => text.push_str("own"),
                Choice::Algorithm(config) => {
                    text.push_str("cublaslt");
                    config.iter().for_each(|number| _ = write!(text, " {number}"));
                }
            }
            text.push('\n');
        }
        text.into_bytes()
    }

    /// Adds choices that [`Tuning::save`] has written; they replace those for the same products. Kernels that are prepared already
    /// stay as they are.
    ///
    /// # Errors
    /// `InvalidArgument` if that is not what the text is; then nothing is changed.
    pub fn load(&self, text: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(text).map_err(|_| Error::invalid("a tuning is text in UTF-8"))?;
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(Error::invalid(format!("a tuning begins with the line '{HEADER}'")));
        }
        let malformed = |at: usize| Error::invalid(format!("line {} of a tuning is malformed", at + 2));
        let loaded = lines.enumerate().map(|(at, line)| parse(line).ok_or_else(|| malformed(at)));
        let loaded = loaded.collect::<Result<Vec<_>>>()?;
        self.choices.lock().unwrap_or_else(PoisonError::into_inner).extend(loaded);
        Ok(())
    }

    /// The number of choices.
    pub fn len(&self) -> usize {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn get(&self, key: &(String, String)) -> Option<Choice> {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    pub(super) fn set(&self, key: (String, String), choice: Choice) {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner).insert(key, choice);
    }
}

fn parse(line: &str) -> Option<((String, String), Choice)> {
    let mut fields = line.split('\t');
    let (place, product, choice) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || place.is_empty() || product.is_empty() {
        return None;
    }
    let mut words = choice.split(' ');
    let choice = match words.next()? {
        "own" => Choice::Own,
        "cublaslt" => {
            let mut config = Config::default();
            for number in &mut config {
                *number = words.next()?.parse().ok()?;
            }
            Choice::Algorithm(config)
        }
        _ => return None,
    };
    words.next().is_none().then(|| ((place.to_owned(), product.to_owned()), choice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(product: &str) -> (String, String) {
        ("a GPU, 9.0".to_owned(), product.to_owned())
    }

    #[test]
    fn what_is_saved_can_be_loaded() {
        let tuning = Tuning::default();
        assert_eq!(tuning.save(), b"infer-tuning 1\n");
        tuning.set(key("f32 1x2x3"), Choice::Own);
        tuning.set(key("f16 1x2x3"), Choice::Algorithm([1, 2, 3, 4, 5, 6, 7, 8, u32::MAX]));
        let text = tuning.save();
        let other = Tuning::default();
        other.set(key("f32 1x2x3"), Choice::Algorithm(Config::default()));
        other.set(key("bf16 1x2x3"), Choice::Own);
        other.load(&text).unwrap();
        assert_eq!(other.get(&key("f32 1x2x3")), Some(Choice::Own));
        assert_eq!(other.get(&key("f16 1x2x3")), tuning.get(&key("f16 1x2x3")));
        assert_eq!((other.len(), other.get(&key("none"))), (3, None));
        other.load(b"infer-tuning 1").unwrap();
        Tuning::default().load(&other.save()).unwrap();
    }

    #[test]
    fn what_is_malformed_is_refused_as_a_whole() {
        for bad in [
            "",
            "\n",
            "infer-tuning 2\n",
            "infer-tuning 1 \n",
            "infer-tuning 1\n\n",
            "infer-tuning 1\na\tb\n",
            "infer-tuning 1\na\tb\t\n",
            "infer-tuning 1\n\tb\town\n",
            "infer-tuning 1\na\t\town\n",
            "infer-tuning 1\na\tb\town\tc\n",
            "infer-tuning 1\na\tb\town 1\n",
            "infer-tuning 1\na\tb\tother\n",
            "infer-tuning 1\na\tb\tcublaslt 1 2 3 4 5 6 7 8\n",
            "infer-tuning 1\na\tb\tcublaslt 1 2 3 4 5 6 7 8 9 10\n",
            "infer-tuning 1\na\tb\tcublaslt 1 2 3 4 5 6 7 8 -9\n",
            "infer-tuning 1\na\tb\tcublaslt 1 2 3 4 5 6 7 8 4294967296\n",
            "infer-tuning 1\na\tb\tcublaslt  1 2 3 4 5 6 7 8 9\n",
        ] {
            assert!(Tuning::default().load(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let tuning = Tuning::default();
        assert!(tuning.load(b"infer-tuning 1\na\tb\town\nc\td\n").is_err() && tuning.is_empty());
        assert!(tuning.load(b"infer-tuning 1\na\tb\t\xff\n").is_err() && tuning.is_empty());
    }
}
