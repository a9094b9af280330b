//! Extents and geometry of a convolution or pooling window over up to three spatial dimensions.

use crate::error::{Error, Result};

/// Three spatial extents: depth, height, width. Inputs of lower rank have leading ones.
pub type Spatial = [usize; 3];

/// A window that slides over the spatial dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Taps in each dimension.
    pub kernel: Spatial,
    /// Distance of neighbouring outputs in the input.
    pub stride: Spatial,
    /// Distance of neighbouring taps in the input.
    pub dilation: Spatial,
    /// Zeros in front of the input.
    pub pad_begin: Spatial,
    /// Zeros after the input.
    pub pad_end: Spatial,
}

impl Window {
    /// A window of `kernel` taps with stride 1 and no padding.
    pub fn new(kernel: Spatial) -> Self {
        Window { kernel, stride: [1; 3], dilation: [1; 3], pad_begin: [0; 3], pad_end: [0; 3] }
    }

    /// The same padding on both ends of each dimension.
    pub fn padded(self, pad: Spatial) -> Self {
        Window { pad_begin: pad, pad_end: pad, ..self }
    }

    /// Another stride.
    pub fn strided(self, stride: Spatial) -> Self {
        Window { stride, ..self }
    }

    /// Number of taps.
    #[inline]
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Whether it maps each element to itself.
    pub fn is_identity(&self) -> bool {
        *self == Window::new([1; 3])
    }

    /// Extents of the output for an input of extents `input`.
    ///
    /// # Errors
    /// The window is empty, a stride or dilation is zero, a size overflows, or the padded input is smaller than the
    /// window.
    pub fn output(&self, input: Spatial) -> Result<Spatial> {
        let mut output = [0; 3];
        self.kernel.iter().try_fold(1usize, |n, &k| n.checked_mul(k)).ok_or_else(|| self.bad("has too many taps"))?;
        for d in 0..3 {
            if self.kernel[d] == 0 || self.stride[d] == 0 || self.dilation[d] == 0 {
                return Err(self.bad("has an extent, stride or dilation of zero"));
            }
            let reach = (self.kernel[d] - 1).checked_mul(self.dilation[d]).and_then(|r| r.checked_add(1));
            let padded = input[d].checked_add(self.pad_begin[d]).and_then(|p| p.checked_add(self.pad_end[d]));
            let (Some(reach), Some(padded)) = (reach, padded.filter(|&p| p <= isize::MAX as usize)) else {
                return Err(self.bad("is too large"));
            };
            let Some(room) = padded.checked_sub(reach) else {
                return Err(self.bad(&format!("does not fit into an input of {} with its padding", input[d])));
            };
            output[d] = room / self.stride[d] + 1;
        }
        Ok(output)
    }

    fn bad(&self, what: &str) -> Error {
        let Window { kernel, stride, dilation, pad_begin, pad_end } = self;
        Error::shape(format!(
            "a window of {kernel:?}, stride {stride:?}, dilation {dilation:?}, padding {pad_begin:?} to {pad_end:?} {what}"
        ))
    }

    /// The outputs along dimension `d` whose tap `tap` lies inside an input of extent `input`.
    pub(super) fn inside(&self, d: usize, tap: usize, input: usize, output: usize) -> std::ops::Range<usize> {
        let shift = tap * self.dilation[d];
        let (pad, stride) = (self.pad_begin[d], self.stride[d]);
        let start = pad.saturating_sub(shift).div_ceil(stride).min(output);
        let end = (input + pad).saturating_sub(shift).div_ceil(stride).min(output);
        start..end.max(start)
    }

    /// The taps along dimension `d` that lie inside an input of extent `input` for output `o`.
    pub(super) fn taps_inside(&self, d: usize, o: usize, input: usize) -> std::ops::Range<usize> {
        let (start, dilation) = (o * self.stride[d], self.dilation[d]);
        let first = self.pad_begin[d].saturating_sub(start).div_ceil(dilation).min(self.kernel[d]);
        let last = (input + self.pad_begin[d]).saturating_sub(start).div_ceil(dilation).min(self.kernel[d]);
        first..last.max(first)
    }

    /// Position in the input of tap `tap` for output `o`, which lies inside.
    pub(super) fn position(&self, d: usize, o: usize, tap: usize) -> usize {
        o * self.stride[d] + tap * self.dilation[d] - self.pad_begin[d]
    }
}

/// A convolution of channels-last tensors: `[batch, spatial.., channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Groups; they divide both channel counts.
    pub groups: usize,
    /// Channels of the input, all groups together.
    pub in_channels: usize,
    /// Channels of the output, all groups together.
    pub out_channels: usize,
    /// Spatial extents of the input.
    pub input: Spatial,
    /// The window.
    pub window: Window,
}

impl ConvShape {
    /// Input channels of one group.
    pub fn group_in(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of one group.
    pub fn group_out(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Spatial extents of the output.
    ///
    /// # Errors
    /// As [`Window::output`]; groups do not divide the channels; a tensor of this shape would exceed the address space.
    pub fn output(&self) -> Result<Spatial> {
        let Self { groups, in_channels, out_channels, .. } = *self;
        if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            let what = format!("{groups} groups do not divide {in_channels} input and {out_channels} output channels");
            return Err(Error::shape(what));
        }
        let output = self.window.output(self.input)?;
        for (extents, channels) in [(self.input, in_channels), (output, out_channels)] {
            let product = [self.batch, channels, size_of::<f32>()]
                .iter()
                .chain(&extents)
                .try_fold(1usize, |n, &d| n.checked_mul(d));
            if product.is_none_or(|bytes| bytes > isize::MAX as usize / 2) {
                return Err(Error::no_memory(format!(
                    "{channels} channels of {} x {extents:?} exceed the address space",
                    self.batch
                )));
            }
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_extents() {
        let window = Window::new([1, 3, 3]).padded([0, 1, 1]).strided([1, 2, 2]);
        assert_eq!(window.output([1, 224, 7]).unwrap(), [1, 112, 4]);
        let dilated = Window { dilation: [1, 2, 3], ..Window::new([1, 3, 3]) };
        assert_eq!(dilated.output([1, 5, 9]).unwrap(), [1, 1, 3]);
        assert!(dilated.output([1, 4, 9]).is_err());
        assert!(Window::new([1, 0, 3]).output([1, 4, 9]).is_err());
        assert!(window.strided([0, 1, 1]).output([1, 4, 9]).is_err());
        assert!(window.padded([usize::MAX, 0, 0]).output([1, 4, 9]).is_err());
        assert!(Window::new([usize::MAX, 2, 2]).output([1, 4, 9]).is_err());
    }

    #[test]
    fn ranges_agree_with_positions() {
        for (kernel, stride, dilation, begin, end, input) in [
            (3, 1, 1, 1, 1, 5),
            (5, 2, 1, 2, 2, 7),
            (3, 2, 3, 4, 0, 9),
            (7, 3, 2, 9, 9, 4),
            (1, 2, 1, 0, 0, 6),
            (2, 1, 5, 0, 6, 3),
        ] {
            let window = Window {
                kernel: [1, 1, kernel],
                stride: [1, 1, stride],
                dilation: [1, 1, dilation],
                pad_begin: [0, 0, begin],
                pad_end: [0, 0, end],
            };
            let output = window.output([1, 1, input]).unwrap()[2];
            for o in 0..output {
                for tap in 0..kernel {
                    let at = (o * stride + tap * dilation) as isize - begin as isize;
                    let valid = at >= 0 && (at as usize) < input;
                    assert_eq!(window.inside(2, tap, input, output).contains(&o), valid, "{window:?} {o} {tap}");
                    assert_eq!(window.taps_inside(2, o, input).contains(&tap), valid, "{window:?} {o} {tap}");
                    if valid {
                        assert_eq!(window.position(2, o, tap), at as usize);
                    }
                }
            }
        }
    }
}
