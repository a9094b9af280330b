//! Sequences that a Loop grows while the model runs. They never exist as sequences: what the trips add is stacked by the
//! Loop, so that all elements must have one shape, and reading the sequence picks from the stack.

use super::{Bound, Cx};
use crate::onnx::model::{Graph, Node};
use infer::error::{Error, Result};
use infer::graph::ValueId;

impl Cx<'_> {
    /// Lowers a Loop that carries sequences and whose number of trips only the run knows: each trip may add to their ends.
    pub fn growing_loop(
        &mut self,
        n: &Node,
        body: &Graph,
        [trips, condition]: [Option<ValueId>; 2],
        state: &[Bound],
    ) -> Result<Vec<ValueId>> {
        let tensors: Vec<ValueId> = state.iter().filter_map(|b| b.tensor().ok()).collect();
        let outputs = self.emit_loop(trips, condition, &tensors, &body.captures, &[], |cx, inputs| {
            let mut given = inputs[2..].iter();
            let carried = state.iter().zip(&body.inputs[2..]).map(|(bound, port)| match bound {
                Bound::Tensor(_) => given.next().map(|&v| Bound::Tensor(v)),
                _ => Some(Bound::Growing { list: port.value, added: vec![] }),
            });
            let carried = carried.map(|bound| bound.ok_or_else(|| Error::internal("a Loop without its state")));
            let first = inputs[..2].iter().map(|&v| Ok(Bound::Tensor(v)));
            let bounds = first.chain(carried).collect::<Result<Vec<Bound>>>()?;
            let results = cx.inline(body, &bounds)?;
            cx.loop_results(body, state, &results)
        })?;
        let (kept, stacked) = outputs.split_at(tensors.len());
        let (results, stacks) = stacked.split_at(body.outputs.len() - 1 - state.len());
        let (mut kept, mut stacks) = (kept.iter(), stacks.iter());
        for (i, bound) in state.iter().enumerate() {
            let bound = match (bound, kept.as_slice(), stacks.as_slice()) {
                (Bound::Tensor(_), &[v, ..], _) => kept.next().map(|_| Bound::Tensor(v)),
                (list, _, &[stack, ..]) => stacks.next().map(|_| self.extended(list, stack)).transpose()?,
                _ => None,
            };
            self.bind(n, i, bound.ok_or_else(|| Error::internal("a Loop without its results"))?);
        }
        results.iter().enumerate().for_each(|(i, &v)| self.bind(n, state.len() + i, Bound::Tensor(v)));
        Ok(vec![])
    }

    /// What a body returns as tensors: condition, state, results to be stacked, and behind them what was added to each
    /// sequence, stacked along a first axis.
    fn loop_results(&mut self, body: &Graph, state: &[Bound], results: &[Bound]) -> Result<Vec<ValueId>> {
        let (mut tensors, mut stacks) = (vec![], vec![]);
        for (i, result) in results.iter().enumerate() {
            let carried = i.checked_sub(1).and_then(|i| state.get(i).zip(body.inputs.get(i + 2)));
            match (carried, result) {
                (None | Some((Bound::Tensor(_), _)), result) => tensors.push(result.tensor()?),
                (Some((_, port)), Bound::Growing { list, added }) if *list == port.value => {
                    stacks.push(self.stack(added)?);
                }
                _ => {
                    let message = "a Loop that changes a sequence otherwise than by adding to its end, \
                                   and whose number of trips is not known";
                    return Err(Error::unsupported(message));
                }
            }
        }
        tensors.extend(stacks);
        Ok(tensors)
    }

    /// Elements of one shape as one tensor, one behind another along a new first axis.
    pub fn stack(&mut self, list: &[ValueId]) -> Result<ValueId> {
        if list.is_empty() {
            return Err(Error::unsupported("a sequence to which a Loop adds nothing"));
        }
        let rows = list.iter().map(|&v| self.b.unsqueeze(v, &[0])).collect::<Result<Vec<_>>>()?;
        self.b.concat(0, &rows)
    }

    /// The sequence with what the trips of a Loop added, `[trips, additions per trip, ..]`.
    fn extended(&mut self, list: &Bound, added: ValueId) -> Result<Bound> {
        let mut products = vec![vec![(added, 0), (added, 1)]];
        products.extend((2..self.b.rank(added)).map(|i| vec![(added, i)]));
        let added = self.b.reshape_as(added, &products)?;
        let before = match list {
            Bound::Stack(stack) => *stack,
            Bound::List(list) if list.is_empty() => return Ok(Bound::Stack(added)),
            Bound::List(list) => self.stack(list)?,
            _ => return Err(Error::unsupported("a sequence that two Loops grow, one inside the other")),
        };
        Ok(Bound::Stack(self.b.concat(0, &[before, added])?))
    }

    /// The elements of a stack joined along `axis` of theirs, or along a new axis there.
    pub fn join_stack(&mut self, stack: ValueId, axis: usize, new_axis: bool) -> Result<ValueId> {
        let rank = self.b.rank(stack);
        let perm: Vec<usize> = (1..=axis).chain([0]).chain(axis + 1..rank).collect();
        let x = if axis == 0 { stack } else { self.b.transpose(stack, &perm)? };
        if new_axis {
            return Ok(x);
        }
        let single = |i: usize| vec![(x, i)];
        let merged = (0..axis).map(single).chain([vec![(x, axis), (x, axis + 1)]]).chain((axis + 2..rank).map(single));
        let products: Vec<_> = merged.collect();
        self.b.reshape_as(x, &products)
    }
}
