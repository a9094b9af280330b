//! Scan: a Loop whose body picks its part of each scanned input.

use super::{Cx, Table};
use crate::onnx::model::{Graph, Node};
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::tensor::{DType, normalize_axis};

pub const TABLE: Table = &[("Scan", scan)];

/// What a Scan does, from its attributes.
struct Scan<'a> {
    body: &'a Graph,
    /// Values that go from trip to trip.
    states: usize,
    /// Axis of each scanned input, and whether it is walked backwards.
    inputs: Vec<(usize, bool)>,
    /// Axis of each stacked output, and whether it is stacked backwards.
    outputs: Vec<(i64, bool)>,
}

fn scan(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    if n.opset < 9 {
        return batched(cx, n);
    }
    let inputs = cx.inputs(n)?;
    let scan = Scan::read(cx, n, &inputs)?;
    cx.scan(&scan, &inputs)
}

/// Before opset 9, everything has a batch axis in front, and the lengths of the batch's sequences may differ.
fn batched(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    if cx.optional(n, 0)?.is_some() {
        return Err(Error::unsupported("sequence lengths"));
    }
    let values = (1..n.inputs.len()).map(|i| cx.input(n, i)).collect::<Result<Vec<_>>>()?;
    let body: &Graph = n.required("body")?;
    let scanned = n.required::<i64>("num_scan_inputs")? as usize;
    let states = values.len().checked_sub(scanned).ok_or_else(|| Error::format("too few inputs"))?;
    let backwards = flags(n, "directions", scanned)?;
    let batches = match values.first().map(|&v| cx.b.dims(v)) {
        Some(dims) if !dims.is_empty() => dims[0].fixed().filter(|&b| b > 0),
        _ => None,
    };
    let batches = batches.ok_or_else(|| Error::unsupported("a batch of unknown size"))?;
    let outputs = vec![(0, false); body.outputs.len().saturating_sub(states)];
    let scan = Scan { body, states, inputs: backwards.into_iter().map(|b| (0, b)).collect(), outputs };
    let mut columns: Vec<Vec<ValueId>> = vec![vec![]; body.outputs.len()];
    for batch in 0..batches {
        let part = values.iter().map(|&v| cx.b.pick(v, 0, batch)).collect::<Result<Vec<_>>>()?;
        for (column, result) in columns.iter_mut().zip(cx.scan(&scan, &part)?) {
            column.push(cx.b.unsqueeze(result, &[0])?);
        }
    }
    columns.iter().map(|column| cx.b.concat(0, column)).collect()
}

impl<'a> Scan<'a> {
    fn read(cx: &Cx<'_>, n: &'a Node, inputs: &[ValueId]) -> Result<Self> {
        let body: &Graph = n.required("body")?;
        let count = usize::try_from(n.required::<i64>("num_scan_inputs")?).unwrap_or(usize::MAX);
        let states = inputs.len().checked_sub(count).filter(|_| count > 0);
        let states = states.ok_or_else(|| Error::format(format!("{count} scanned of {} inputs", inputs.len())))?;
        let stacked = body.outputs.len().checked_sub(states).ok_or_else(|| Error::format("too few outputs"))?;
        let mut scanned = vec![];
        let axes = axes_of(n, "scan_input_axes", count)?;
        for ((&x, axis), backwards) in inputs[states..].iter().zip(axes).zip(flags(n, "scan_input_directions", count)?)
        {
            scanned.push((normalize_axis(axis, cx.b.rank(x))?, backwards));
        }
        let directions = flags(n, "scan_output_directions", stacked)?;
        let outputs = axes_of(n, "scan_output_axes", stacked)?.into_iter().zip(directions).collect();
        Ok(Scan { body, states, inputs: scanned, outputs })
    }
}

/// A list with one axis for each of `count` values, all 0 if it is absent.
fn axes_of(n: &Node, name: &str, count: usize) -> Result<Vec<i64>> {
    let axes = n.ints(name)?.map_or_else(|| vec![0; count], <[i64]>::to_vec);
    if axes.len() == count { Ok(axes) } else { Err(Error::format(format!("{name} {axes:?} for {count} values"))) }
}

/// As [`axes_of`], for flags.
fn flags(n: &Node, name: &str, count: usize) -> Result<Vec<bool>> {
    Ok(axes_of(n, name, count)?.into_iter().map(|d| d != 0).collect())
}

impl Cx<'_> {
    fn scan(&mut self, scan: &Scan<'_>, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let (states, scanned) = inputs.split_at(scan.states);
        let extent = (scanned[0], scan.inputs[0].0);
        let trips = self.b.extent_scalar(extent)?;
        let mut results = self.emit_loop(Some(trips), None, states, &scan.body.captures, scanned, |cx, inputs| {
            let [trip, _, rest @ ..] = inputs else { return Err(Error::internal("a Loop without parameters")) };
            cx.scan_body(scan, *trip, rest)
        })?;
        for (result, &(axis, backwards)) in results[scan.states..].iter_mut().zip(&scan.outputs) {
            let axis = normalize_axis(axis, self.b.rank(*result))?;
            if backwards {
                *result = self.b.reverse(*result, 0)?;
            }
            let mut perm: Vec<usize> = (1..self.b.rank(*result)).collect();
            perm.insert(axis, 0);
            *result = self.b.transpose(*result, &perm)?;
        }
        Ok(results)
    }

    /// One trip; `inputs` are the states and the scanned inputs.
    fn scan_body(&mut self, scan: &Scan<'_>, trip: ValueId, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let (states, scanned) = inputs.split_at(scan.states);
        let mut arguments = states.to_vec();
        for (&x, &(axis, backwards)) in scanned.iter().zip(&scan.inputs) {
            let index = if backwards { self.counted_from_back(trip)? } else { trip };
            arguments.push(self.b.gather(x, index, axis)?);
        }
        let mut outputs = vec![self.b.scalar(DType::Bool, 1.0)?];
        outputs.extend(self.inline_tensors(scan.body, &arguments)?);
        Ok(outputs)
    }

    /// The index from the back of the element that has `index` from the front.
    fn counted_from_back(&mut self, index: ValueId) -> Result<ValueId> {
        let last = self.b.array(&[], &[-1i64])?;
        self.b.sub(last, index)
    }
}
