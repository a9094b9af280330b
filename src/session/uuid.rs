//! Names of devices that stay the same when other devices come and go.

use std::fmt;
use std::str::FromStr;

/// A GPU's UUID, written as NVIDIA's tools do: `GPU-8f6d3c1e-0a2b-4c5d-9e8f-0123456789ab`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);

const PREFIX: &str = "GPU-";

/// Numbers of bytes between the hyphens.
const GROUPS: [usize; 5] = [4, 2, 2, 2, 6];

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0.iter();
        f.write_str(PREFIX)?;
        for (i, n) in GROUPS.into_iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "-" })?;
            bytes.by_ref().take(n).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = ();

    /// Reads what [`Display`](fmt::Display) writes; letters may be capital.
    fn from_str(text: &str) -> Result<Uuid, ()> {
        let mut uuid = Uuid::default();
        let groups = text.strip_prefix(PREFIX).ok_or(())?.split('-');
        if groups.clone().map(str::len).ne(GROUPS.map(|n| 2 * n)) {
            return Err(());
        }
        let digits = groups.flat_map(str::chars).map(|c| c.to_digit(16).map(|digit| digit as u8).ok_or(()));
        for (i, digit) in digits.enumerate() {
            uuid.0[i / 2] = uuid.0[i / 2] << 4 | digit?;
        }
        Ok(uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let uuid = Uuid(std::array::from_fn(|i| (i * 23 + 5) as u8));
        let text = uuid.to_string();
        assert_eq!(text, "GPU-051c334a-6178-8fa6-bdd4-eb021930475e");
        assert_eq!(text.parse(), Ok(uuid));
        assert_eq!(text.to_uppercase().parse(), Ok(uuid));
        for wrong in ["", "GPU-", &text[4..], &text[..39], &text.replace('-', ""), &text.replace('5', "g")] {
            assert_eq!(wrong.parse::<Uuid>(), Err(()), "{wrong}");
        }
        assert_eq!(format!("{text}0").parse::<Uuid>(), Err(()));
        assert_eq!("GPU-051c334ä61788fa6-bdd4-eb021930475e".parse::<Uuid>(), Err(()));
    }
}
