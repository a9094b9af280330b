//! Sequences and optional values. They exist only while a model is lowered: a sequence is the list of its elements, or
//! one tensor that has them all if only the run knows their number; an optional value is its element or nothing.

use super::{Bound, Cx, Table};
use crate::onnx::ValueType;
use crate::onnx::model::{Graph, Node, Value};
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::Split;
use infer::tensor::{DType, Dim, normalize_axis};

pub const TABLE: Table = &[
    ("ConcatFromSequence", concat),
    ("Optional", optional),
    ("OptionalGetElement", get_element),
    ("OptionalHasElement", has_element),
    ("SequenceAt", at),
    ("SequenceConstruct", construct),
    ("SequenceEmpty", empty),
    ("SequenceErase", erase),
    ("SequenceInsert", insert),
    ("SequenceLength", length),
    ("SequenceMap", map),
    ("SplitToSequence", split),
];

fn construct(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let list = cx.inputs(n)?;
    cx.list(n, list)
}

fn empty(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    // Nothing is in it that would have the type.
    n.attribute::<i64>("dtype")?;
    cx.list(n, vec![])
}

fn at(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let index = cx.input(n, 1)?;
    let known = cx.b.known_ints(index).is_some();
    let stack = match cx.bound(n.required_input(0)?)?.clone() {
        Bound::Stack(stack) => Some(stack),
        Bound::List(list) if !known && !list.is_empty() => Some(cx.stack(&list)?),
        _ => None,
    };
    if let Some(stack) = stack {
        let index = cx.single(index)?;
        return Ok(vec![cx.b.gather(stack, index, 0)?]);
    }
    let list = cx.input_list(n, 0)?;
    let position = cx.position(n, 1, list.len())?;
    Ok(vec![list[position]])
}

fn erase(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let mut list = cx.input_list(n, 0)?;
    let last =
        list.len().checked_sub(1).ok_or_else(|| Error::format("nothing can be erased from an empty sequence"))?;
    let position = if n.input(1).is_some() { cx.position(n, 1, list.len())? } else { last };
    list.remove(position);
    cx.list(n, list)
}

fn insert(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 1)?;
    if n.input(2).is_none() {
        match cx.bound(n.required_input(0)?)?.clone() {
            Bound::Growing { list, mut added } => {
                added.push(x);
                cx.bind(n, 0, Bound::Growing { list, added });
                return Ok(vec![]);
            }
            Bound::Stack(stack) => {
                let row = cx.b.unsqueeze(x, &[0])?;
                let stack = cx.b.concat(0, &[stack, row])?;
                cx.bind(n, 0, Bound::Stack(stack));
                return Ok(vec![]);
            }
            _ => {}
        }
    }
    let mut list = cx.input_list(n, 0)?;
    // The end is a place for a new element, and -1 the place in front of the last one.
    let end = list.len() as i64;
    let position = match cx.known_position(n, 2)? {
        None => end,
        Some(p) if p < 0 => p + end,
        Some(p) => p,
    };
    let position = usize::try_from(position).ok().filter(|&p| p <= list.len());
    let position = position.ok_or_else(|| Error::format(format!("a position outside a sequence of {end} elements")))?;
    list.insert(position, x);
    cx.list(n, list)
}

fn length(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    if let &Bound::Stack(stack) = cx.bound(n.required_input(0)?)? {
        return Ok(vec![cx.b.extent_scalar((stack, 0))?]);
    }
    let len = cx.input_list(n, 0)?.len() as i64;
    Ok(vec![cx.b.array(&[], &[len])?])
}

fn concat(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (axis, new_axis) = (n.required("axis")?, n.flag("new_axis", false)?);
    if let &Bound::Stack(stack) = cx.bound(n.required_input(0)?)? {
        let axis = normalize_axis(axis, cx.b.rank(stack) - usize::from(!new_axis))?;
        return Ok(vec![cx.join_stack(stack, axis, new_axis)?]);
    }
    let mut list = cx.input_list(n, 0)?;
    let first = *list.first().ok_or_else(|| Error::format("an empty sequence cannot be concatenated"))?;
    if new_axis {
        let axis = normalize_axis(axis, cx.b.rank(first) + 1)?;
        list = list.into_iter().map(|x| cx.b.unsqueeze(x, &[axis])).collect::<Result<_>>()?;
    }
    Ok(vec![cx.b.concat(axis, &list)?])
}

/// Sizes are a vector, or a scalar that all but the last part have; without them, parts have extent 1, and lose the axis
/// unless `keepdims`.
fn split(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let axis = normalize_axis(n.int("axis", 0)?, cx.b.rank(x))?;
    let keep = n.flag("keepdims", true)?;
    let unknown = || Error::unsupported("the number of elements is not known before the model runs");
    let Dim::Fixed(extent) = cx.b.dims(x)[axis] else {
        let sizes = cx.optional(n, 1)?;
        let single = sizes.is_none_or(|s| cx.b.rank(s) == 0 && cx.b.known_ints(s).as_deref() == Some(&[1]));
        if !single {
            return Err(unknown());
        }
        let perm: Vec<usize> = [axis].into_iter().chain((0..cx.b.rank(x)).filter(|&i| i != axis)).collect();
        let stack = if axis == 0 { x } else { cx.b.transpose(x, &perm)? };
        let stack = if keep || sizes.is_some() { cx.b.unsqueeze(stack, &[axis + 1])? } else { stack };
        cx.bind(n, 0, Bound::Stack(stack));
        return Ok(vec![]);
    };
    let sizes = match cx.optional(n, 1)? {
        None => vec![1; extent as usize],
        Some(sizes) if cx.b.rank(sizes) == 0 => match cx.b.known_ints(sizes).as_deref() {
            Some(&[size]) if size > 0 => {
                (0..extent).step_by(size as usize).map(|start| size.min(extent - start) as usize).collect()
            }
            Some(_) => return Err(Error::format("a part's size is not positive")),
            None => return Err(unknown()),
        },
        Some(sizes) => {
            let sizes = cx.b.known_ints(sizes).ok_or_else(unknown)?;
            let sizes = sizes.iter().map(|&s| usize::try_from(s)).collect::<Result<Vec<_>, _>>();
            sizes.map_err(|_| Error::format("a negative size"))?
        }
    };
    let drop_axis = !keep && n.input(1).is_none();
    let parts =
        if sizes.is_empty() { vec![] } else { cx.b.emit(Split { axis: axis as i64, sizes, parts: 0 }, &[Some(x)])? };
    let squeezed = |cx: &mut Cx<'_>, v| if drop_axis { cx.b.squeeze(v, &[axis]) } else { Ok(v) };
    let parts = parts.into_iter().map(|v| squeezed(cx, v)).collect::<Result<_>>()?;
    cx.list(n, parts)
}

/// The body once for each element of the first sequence; other sequences go along, tensors are given to each.
fn map(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let body: &Graph = n.required("body")?;
    let len = cx.input_list(n, 0)?.len();
    let inputs = (0..n.inputs.len()).map(|i| Ok(cx.bound(n.required_input(i)?)?.clone()));
    let inputs = inputs.collect::<Result<Vec<Bound>>>()?;
    let mut columns: Vec<Vec<ValueId>> = vec![vec![]; body.outputs.len()];
    for i in 0..len {
        let element = |bound: &Bound| match bound {
            Bound::List(list) => list.get(i).copied().ok_or_else(|| Error::format("sequences of different lengths")),
            other => other.tensor(),
        };
        let arguments = inputs.iter().map(element).collect::<Result<Vec<_>>>()?;
        let outputs = cx.inline_tensors(body, &arguments)?;
        columns.iter_mut().zip(outputs).for_each(|(column, output)| column.push(output));
    }
    columns.into_iter().enumerate().for_each(|(i, column)| cx.bind(n, i, Bound::List(column)));
    Ok(vec![])
}

fn optional(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    n.attribute::<&ValueType>("type")?;
    let bound = match n.input(0) {
        Some(value) => cx.bound(value)?.clone(),
        None => Bound::Absent,
    };
    cx.bind(n, 0, bound);
    Ok(vec![])
}

fn get_element(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let bound = cx.bound(n.required_input(0)?)?.clone();
    if matches!(bound, Bound::Absent) {
        return Err(Error::format("the optional value has no element"));
    }
    cx.bind(n, 0, bound);
    Ok(vec![])
}

fn has_element(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let present = match n.input(0) {
        Some(value) if cx.is_optional_input(value) => {
            return Err(Error::unsupported("whether an input of the model is given"));
        }
        Some(value) => !matches!(cx.bound(value)?, Bound::Absent),
        None => false,
    };
    Ok(vec![cx.b.scalar(DType::Bool, present.into())?])
}

impl Cx<'_> {
    fn is_optional_input(&self, value: Value) -> bool {
        let optional = |ty: &Option<ValueType>| matches!(ty, Some(ValueType::Optional(_)));
        self.model.graph.inputs.iter().any(|p| p.value == value && optional(&p.ty))
    }

    fn input_list(&self, n: &Node, index: usize) -> Result<Vec<ValueId>> {
        match self.bound(n.required_input(index)?)? {
            Bound::List(list) => Ok(list.clone()),
            Bound::Stack(_) | Bound::Growing { .. } => {
                Err(Error::unsupported("a sequence whose length is not known before the model runs"))
            }
            _ => Err(Error::format(format!("input {index} is not a sequence"))),
        }
    }

    /// Makes the node's output a sequence.
    fn list(&mut self, n: &Node, list: Vec<ValueId>) -> Result<Vec<ValueId>> {
        self.bind(n, 0, Bound::List(list));
        Ok(vec![])
    }

    fn known_position(&self, n: &Node, index: usize) -> Result<Option<i64>> {
        let Some(position) = self.optional(n, index)? else { return Ok(None) };
        match self.b.known_ints(position).as_deref() {
            Some(&[position]) => Ok(Some(position)),
            _ => Err(Error::unsupported("a position that is not known before the model runs")),
        }
    }

    /// A position in a sequence of `len` elements; negative ones count from the back.
    fn position(&self, n: &Node, index: usize, len: usize) -> Result<usize> {
        let position = self.known_position(n, index)?.unwrap_or(0);
        normalize_axis(position, len)
            .map_err(|_| Error::format(format!("position {position} is outside a sequence of {len} elements")))
    }
}
