//! What the direct convolutions and pooling share: they go through output rows ("lines"), and through the input rows
//! that lie under the window.

use super::shape::{Spatial, Window};
use crate::cpu::parts::Split;
use crate::cpu::scratch;
use std::ops::Range;

/// The output lines of a window over a channels-last input, cut into parts of lines and channel panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    pub window: Window,
    pub input: Spatial,
    pub output: Spatial,
    pub channels: usize,
    /// The input's lines that are kept at a time, if not all are: each where the one so many lines before it was.
    kept: Option<usize>,
    lines: usize,
    panels: usize,
    split: Split,
}

/// Channels of a panel.
const PANEL: usize = 16;
/// Multiply-adds of a part, at least.
const PART: usize = 32 << 10;
/// Cycles per part, multiply-adds per cycle, and cycles per value that is fetched from a thread's own cache or from
/// another's: the scale of the cost model of tall parts.
const TALL: f32 = 1_000.0;
const RATE: f32 = 12.0;
const NEAR: f32 = 0.1;
const REMOTE: f32 = 0.6;

impl Lines {
    /// Each output element takes `work` steps.
    pub fn new(window: &Window, batch: usize, input: Spatial, output: Spatial, channels: usize, work: usize) -> Lines {
        let (lines, panels) = (batch * output[0] * output[1], channels.div_ceil(PANEL));
        let mut split = Split::new(lines, panels, output[2].saturating_mul(work).saturating_mul(PANEL), PART);
        if split.parts() > 1 && !split.parts().is_multiple_of(2) && panels > 1 {
            // Two threads have the same to do.
            split.column_parts = (split.column_parts * 2).min(panels / 2 * 2);
        }
        Lines { window: *window, input, output, channels, kept: None, lines, panels, split }
    }

    /// The same in fewer parts, of many lines, which pays if lines under the windows of several are read from a near cache:
    /// those under the windows of two parts are not.
    pub fn in_tall_parts(self, threads: &[usize]) -> Lines {
        let Lines { lines, panels, window, output, .. } = self;
        let width = output[2] as f32 * PANEL as f32;
        let split = Split::cheapest(threads, 1..=lines.max(1), panels.max(1), |threads, split| {
            let (lines, panels) = (lines.div_ceil(split.row_parts), panels.div_ceil(split.column_parts));
            let under = lines * window.stride[1] + window.kernel[1];
            let far = if split.row_parts < threads { REMOTE } else { NEAR };
            TALL + panels as f32 * width * (lines as f32 * window.taps() as f32 / RATE + under as f32 * far)
        });
        Lines { split, ..self }
    }

    /// The same over an image in two dimensions, of which `lines` lines are kept at a time.
    pub fn keeping(self, lines: usize) -> Lines {
        Lines { kept: Some(lines), ..self }
    }

    pub fn parts(&self) -> usize {
        if self.lines * self.panels * self.output[2] == 0 { 0 } else { self.split.parts() }
    }

    /// Lines and channels of a part.
    pub fn part(&self, part: usize) -> (Range<usize>, Range<usize>) {
        let (lines, panels) = self.split.ranges(self.lines, self.panels, part);
        (lines, panels.start * PANEL..(panels.end * PANEL).min(self.channels))
    }

    /// Outputs of a line for which all taps along the width lie inside.
    pub fn interior(&self) -> Range<usize> {
        let first = self.window.inside(2, 0, self.input[2], self.output[2]);
        let last = self.window.inside(2, self.window.kernel[2] - 1, self.input[2], self.output[2]);
        let start = first.start.max(last.start);
        start..first.end.min(last.end).max(start)
    }

    /// Bytes of scratch memory that [`Lines::rows`] needs.
    pub fn scratch_bytes(&self) -> usize {
        (self.window.kernel[0] * self.window.kernel[1]).saturating_mul(size_of::<WindowRow>())
    }

    /// The window rows of an output line that lie inside the input.
    ///
    /// # Safety
    /// `scratch` is aligned to 8 bytes and has [`Lines::scratch_bytes`].
    pub unsafe fn rows<'a>(&self, line: usize, scratch: *mut u8) -> &'a [WindowRow] {
        let Lines { window, input, output, .. } = *self;
        let (oh, od) = (line % output[1], line / output[1] % output[0]);
        let image = line / output[1] / output[0];
        let heights = window.taps_inside(1, oh, input[1]);
        let depths = window.taps_inside(0, od, input[0]);
        // SAFETY: the caller's promises; there are at most as many rows as the window has.
        let rows = unsafe { scratch::slice::<WindowRow>(scratch, depths.len() * heights.len()) };
        let mut entries = rows.iter_mut();
        for kd in depths {
            let id = image * input[0] + window.position(0, od, kd);
            for kh in heights.clone() {
                if let Some(entry) = entries.next() {
                    let line = window.position(1, oh, kh);
                    let line = self.kept.map_or(id * input[1] + line, |kept| line % kept);
                    let tap = (kd * window.kernel[1] + kh) * window.kernel[2];
                    *entry = WindowRow { tap, pixel: line * input[2] };
                }
            }
        }
        rows
    }
}

/// A row of the window that lies inside the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowRow {
    /// Index of its first tap.
    pub tap: usize,
    /// Index of the first pixel of the input line on which it lies.
    pub pixel: usize,
}
