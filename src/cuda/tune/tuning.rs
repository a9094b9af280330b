//! What was found to be fastest, for the process and, as text, beyond it.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};

/// How many numbers tell algorithms of cuBLASLt apart.
pub const CONFIG: usize = 9;

/// The numbers that tell an algorithm from others of the same version of cuBLASLt.
pub type Config = [u32; CONFIG];

/// An engine of cuDNN as it is set, apart from others of the same version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Engine {
    /// Whether it computes all that is asked for; otherwise the sums, which another kernel finishes.
    pub whole: bool,
    /// Its number among the engines for the graph.
    pub index: i64,
    /// The types of its knobs, and how they are set.
    pub knobs: Vec<(i32, i64)>,
}

/// Most knobs of an engine.
const KNOBS: usize = 64;

/// What computes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The kernel that runs without the library.
    Own,
    /// An algorithm of cuBLASLt.
    Algorithm(Config),
    /// An engine of cuDNN.
    Engine(Engine),
}

/// Where something is computed (the kind of GPU, the version of the library), and what.
pub type Key = (String, String);

/// The choices of the process. What has one here is not timed again, and so has the same bits; with choices that were saved by
/// one process and loaded by another before it opens a model, it has them there as well.
///
/// A choice counts for one kind of GPU and one version of the library; others are kept beside it.
#[derive(Debug, Default)]
pub struct Tuning {
    choices: Mutex<BTreeMap<Key, Choice>>,
}

/// First line of the text.
const HEADER: &str = "infer-tuning 1";

impl Tuning {
    /// That of the process.
    pub fn process() -> &'static Tuning {
        static TUNING: Tuning = Tuning { choices: Mutex::new(BTreeMap::new()) };
        &TUNING
    }

    /// The choices as text: a line that names the format, then one for each choice: where, what, and what computes it.
    pub fn save(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        for ((place, what), choice) in &*self.choices.lock().unwrap_or_else(PoisonError::into_inner) {
            _ = writeln!(text, "{place}\t{what}\t{choice}");
        }
        text.into_bytes()
    }

    /// Adds choices that [`Tuning::save`] has written; they replace those for the same. Kernels that are prepared already
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

    pub(super) fn get(&self, key: &Key) -> Option<Choice> {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(super) fn set(&self, key: Key, choice: Choice) {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner).insert(key, choice);
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Own => f.write_str("own"),
            Choice::Algorithm(config) => {
                f.write_str("cublaslt")?;
                config.iter().try_for_each(|number| write!(f, " {number}"))
            }
            Choice::Engine(Engine { whole, index, knobs }) => {
                write!(f, "cudnn {} {index}", if *whole { "whole" } else { "sums" })?;
                knobs.iter().try_for_each(|(knob, value)| write!(f, " {knob}={value}"))
            }
        }
    }
}

fn parse(line: &str) -> Option<(Key, Choice)> {
    let mut fields = line.split('\t');
    let (place, what, choice) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || place.is_empty() || what.is_empty() {
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
        "cudnn" => Choice::Engine(parse_engine(&mut words)?),
        _ => return None,
    };
    words.next().is_none().then(|| ((place.to_owned(), what.to_owned()), choice))
}

fn parse_engine<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Engine> {
    let whole = match words.next()? {
        "whole" => true,
        "sums" => false,
        _ => return None,
    };
    let index = words.next()?.parse().ok()?;
    let knob = |word: &str| {
        let (knob, value) = word.split_once('=')?;
        Some((knob.parse().ok()?, value.parse().ok()?))
    };
    let knobs = words.map(knob).collect::<Option<Vec<_>>>()?;
    (knobs.len() <= KNOBS).then_some(Engine { whole, index, knobs })
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
        let engine = Engine { whole: true, index: 34, knobs: vec![(2, 3), (29, -1)] };
        other.set(key("f16 conv"), Choice::Engine(engine.clone()));
        other.set(key("f32 conv"), Choice::Engine(Engine { whole: false, index: 0, knobs: vec![] }));
        let text = String::from_utf8(other.save()).unwrap();
        assert!(text.contains("\tcudnn whole 34 2=3 29=-1\n") && text.contains("\tcudnn sums 0\n"));
        let third = Tuning::default();
        third.load(text.as_bytes()).unwrap();
        assert_eq!((third.get(&key("f16 conv")), third.save()), (Some(Choice::Engine(engine)), other.save()));
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
            "infer-tuning 1\na\tb\tcudnn\n",
            "infer-tuning 1\na\tb\tcudnn whole\n",
            "infer-tuning 1\na\tb\tcudnn half 1\n",
            "infer-tuning 1\na\tb\tcudnn sums x\n",
            "infer-tuning 1\na\tb\tcudnn sums 1 2\n",
            "infer-tuning 1\na\tb\tcudnn sums 1 2=\n",
            "infer-tuning 1\na\tb\tcudnn sums 1 2=3 \n",
            "infer-tuning 1\na\tb\tcudnn sums 1 2147483648=3\n",
        ] {
            assert!(Tuning::default().load(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let knobs = " 1=1".repeat(KNOBS + 1);
        assert!(Tuning::default().load(format!("infer-tuning 1\na\tb\tcudnn sums 1{knobs}\n").as_bytes()).is_err());
        let tuning = Tuning::default();
        assert!(tuning.load(b"infer-tuning 1\na\tb\town\nc\td\n").is_err() && tuning.is_empty());
        assert!(tuning.load(b"infer-tuning 1\na\tb\t\xff\n").is_err() && tuning.is_empty());
    }
}
