//! Conversion of f16 and bf16 slices to and from f32, rounding to nearest even.

use super::Isa;
use super::simd::{Machine, Work};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Converts `from` into `to`. Panics if the lengths differ.
pub fn f16_to_f32(from: &[f16], to: &mut [f32]) {
    from.convert_to_f32_slice(to);
}

/// Converts `from` into `to`. Panics if the lengths differ.
pub fn f32_to_f16(from: &[f32], to: &mut [f16]) {
    to.convert_from_f32_slice(from);
}

/// Converts `from` into `to`. Panics if the lengths differ.
pub fn bf16_to_f32(isa: Isa, from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    isa.dispatch(Widen(from, to));
}

/// Converts `from` into `to`. Panics if the lengths differ.
pub fn f32_to_bf16(isa: Isa, from: &[f32], to: &mut [bf16]) {
    assert_eq!(from.len(), to.len());
    isa.dispatch(Narrow(from, to));
}

/// A float that rounds to the same f16 and bf16 as `x`: rounded to odd, it is on the same side of every tie as `x`.
pub fn f64_to_odd_f32(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    if back == x || x.is_nan() {
        return nearest;
    }
    let towards_zero = nearest.to_bits() - u32::from(back.abs() > x.abs());
    f32::from_bits(towards_zero | 1)
}

struct Widen<'a>(&'a [bf16], &'a mut [f32]);

impl Work for Widen<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for (x, y) in self.0.iter().zip(self.1) {
            *y = f32::from_bits((x.to_bits() as u32) << 16);
        }
    }
}

struct Narrow<'a>(&'a [f32], &'a mut [bf16]);

impl Work for Narrow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        for (x, y) in self.0.iter().zip(self.1) {
            let bits = x.to_bits();
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
            // A NaN stays one, and quiet: rounding could carry it to infinity.
            let nan = bits >> 16 | 0x40;
            *y = bf16::from_bits(if x.is_nan() { nan } else { rounded } as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_value_survives_the_round_trip() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let halves: Vec<f16> = bits.iter().map(|&b| f16::from_bits(b)).collect();
        let (mut wide, mut back) = (vec![0.0; halves.len()], vec![f16::ZERO; halves.len()]);
        f16_to_f32(&halves, &mut wide);
        f32_to_f16(&wide, &mut back);
        for (a, b) in halves.iter().zip(&back) {
            assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
        }
        for isa in Isa::available() {
            let halves: Vec<bf16> = bits.iter().map(|&b| bf16::from_bits(b)).collect();
            let mut back = vec![bf16::ZERO; halves.len()];
            bf16_to_f32(isa, &halves, &mut wide);
            f32_to_bf16(isa, &wide, &mut back);
            for (a, b) in halves.iter().zip(&back) {
                assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(), "{isa}");
            }
        }
    }

    #[test]
    fn doubles_round_once() {
        for (x, want) in [(2049.0, 2048.0), (2049.0 + 1e-9, 2050.0), (2051.0 - 1e-9, 2050.0), (-2049.0 - 1e-9, -2050.0)]
        {
            assert_eq!(f16::from_f32(f64_to_odd_f32(x)).to_f64(), want);
        }
        for x in [0.0, -0.0, 1e300, -1e300, f64::INFINITY, 65520.0, 1e-300, 5e-324, 1.5, -3.25] {
            assert_eq!(f16::from_f32(f64_to_odd_f32(x)).to_bits(), f16::from_f32(x as f32).to_bits(), "{x:e}");
        }
        assert_eq!(f16::from_f32(f64_to_odd_f32(65_519.999_999)), f16::MAX);
        assert!(f64_to_odd_f32(f64::NAN).is_nan());
        assert_eq!(bf16::from_f32(f64_to_odd_f32(257.0 + 1e-9)).to_f64(), 258.0);
        assert_eq!(bf16::from_f32(f64_to_odd_f32(3.4e38)), bf16::INFINITY);
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        let xs: Vec<f32> = (0..=u32::MAX).step_by(9_973).map(f32::from_bits).collect();
        for isa in Isa::available() {
            let mut ys = vec![bf16::ZERO; xs.len()];
            f32_to_bf16(isa, &xs, &mut ys);
            for (&x, &y) in xs.iter().zip(&ys) {
                let expected = bf16::from_f32(x);
                assert!(y.to_bits() == expected.to_bits() || y.is_nan() && expected.is_nan(), "{isa} {x:e}");
            }
        }
    }
}
