//! The attributes of windows that move over spatial dimensions, as convolutions and poolings have them.

use super::Cx;
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::ops::window::Window;
use infer::tensor::Dim;

/// How a window is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoPad {
    /// As the node's `pads` say.
    Given,
    /// Not at all.
    Valid,
    /// So that there are as many positions as strides in the input; what is odd goes behind it.
    SameUpper,
    /// Likewise; what is odd goes in front.
    SameLower,
}

impl AutoPad {
    /// The attribute of a node.
    pub fn read(n: &Node) -> Result<Self> {
        match n.string("auto_pad", "NOTSET")? {
            "NOTSET" | "" => Ok(AutoPad::Given),
            "VALID" => Ok(AutoPad::Valid),
            "SAME_UPPER" => Ok(AutoPad::SameUpper),
            "SAME_LOWER" => Ok(AutoPad::SameLower),
            other => Err(Error::format(format!("auto_pad '{other}' is not defined"))),
        }
    }

    /// `total` in front and behind.
    pub fn split(self, total: i64) -> (i64, i64) {
        let half = total / 2;
        if self == AutoPad::SameLower { (total - half, half) } else { (half, total - half) }
    }
}

/// A list of positive numbers, one for each of `rank` dimensions; all 1 if the attribute is absent.
pub fn positive(n: &Node, name: &str, rank: usize) -> Result<Vec<u32>> {
    let Some(list) = n.ints(name)? else { return Ok(vec![1; rank]) };
    let list: Option<Vec<u32>> = list.iter().map(|&v| u32::try_from(v).ok().filter(|&v| v > 0)).collect();
    let list = list.ok_or_else(|| Error::format(format!("{name}: not all are positive")))?;
    check_len(name, list.len(), rank)?;
    Ok(list)
}

/// Checks the length of a list that has one value for each dimension, or two.
pub fn check_len(name: &str, len: usize, want: usize) -> Result<()> {
    if len == want { Ok(()) } else { Err(Error::format(format!("{name} has {len} values, not {want}"))) }
}

/// The padding that is given, in front of all dimensions and then behind them.
pub fn given_pads(n: &Node, rank: usize) -> Result<Vec<i64>> {
    let pads = n.ints("pads")?.map_or_else(|| vec![0; 2 * rank], <[i64]>::to_vec);
    check_len("pads", pads.len(), 2 * rank)?;
    Ok(pads)
}

/// Padding as our operators have it.
pub fn unsigned(pads: &[i64]) -> Result<Vec<u32>> {
    let unsigned = |&p: &i64| u32::try_from(p).map_err(|_| Error::unsupported(format!("a padding of {p}")));
    pads.iter().map(unsigned).collect()
}

impl Cx<'_> {
    /// The node's window of extents `kernel` over `[N, C, spatial..]`, whose spatial extents are `spatial`.
    pub fn window(&mut self, n: &Node, spatial: &[Dim], kernel: &[usize]) -> Result<Window> {
        let rank = spatial.len();
        let (strides, dilations) = (positive(n, "strides", rank)?, positive(n, "dilations", rank)?);
        let given = given_pads(n, rank)?;
        let auto = AutoPad::read(n)?;
        let pads = match auto {
            AutoPad::Given => unsigned(&given)?,
            AutoPad::Valid => vec![0; 2 * rank],
            AutoPad::SameUpper | AutoPad::SameLower => {
                let mut pads = vec![0; 2 * rank];
                for i in 0..rank {
                    let reach = (kernel[i] as i64 - 1).saturating_mul(dilations[i].into()) + 1;
                    let total = same_padding(&spatial[i], strides[i].into(), reach)?;
                    (pads[i], pads[i + rank]) = auto.split(total);
                }
                unsigned(&pads)?
            }
        };
        Ok(Window { strides, pads, dilations })
    }
}

/// The whole padding of a dimension so that there are as many positions as strides in the input.
fn same_padding(extent: &Dim, stride: i64, reach: i64) -> Result<i64> {
    match extent.fixed() {
        Some(extent) => Ok(((extent + stride - 1) / stride - 1)
            .saturating_mul(stride)
            .saturating_add(reach)
            .saturating_sub(extent)
            .max(0)),
        // Each stride is one element.
        None if stride == 1 => Ok((reach - 1).max(0)),
        None => Err(Error::unsupported("auto_pad SAME with strides over an extent that is not a number")),
    }
}
