//! A first pass over a model's bytes that bounds what decoding it will cost.
//!
//! A message of two bytes in the file becomes a structure of hundreds of bytes in memory, so a small hostile file could
//! exhaust it. This pass allocates nothing: it walks the nested messages, checks that all lengths lie inside their
//! message, and counts. See the protobuf documentation, "Encoding".

use infer::error::{Error, Result};

/// Units that a message and any other field count.
const MESSAGE_COST: u64 = 16;
/// Most units a file may have: two million messages, many times what the largest published models have.
pub const MAX_COST: u64 = 2_000_000 * MESSAGE_COST;
/// How deeply messages may be nested. A level of subgraphs takes three. The decoder has a limit of 100 of its own.
const MAX_DEPTH: usize = 96;

/// The messages of [`super::proto`], as far as they contain others.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    ElementType,
    Shape,
    Function,
    /// Contains no message.
    Leaf,
}

impl Kind {
    /// The kind of message in field `field`; None where the field holds none or is not read.
    fn child(self, field: u64) -> Option<Kind> {
        use Kind::*;
        Some(match (self, field) {
            (Model, 7) => Graph,
            (Model, 8 | 14) => Leaf,
            (Model, 25) => Function,
            (Graph, 1) => Node,
            (Graph, 5) => Tensor,
            (Graph, 11 | 12) => ValueInfo,
            (Graph, 15) => Sparse,
            (Node, 5) => Attribute,
            (Attribute, 5 | 10) => Tensor,
            (Attribute, 6 | 11) => Graph,
            (Attribute, 14) => Type,
            (Attribute, 22) => Sparse,
            (Tensor, 3 | 13) => Leaf,
            (Sparse, 1 | 2) => Tensor,
            (ValueInfo, 2) => Type,
            (Type, 1) => TensorType,
            (Type, 4 | 9) => ElementType,
            (Type, 5 | 7 | 8) => Leaf,
            (TensorType, 2) => Shape,
            (ElementType, 1) => Type,
            (Shape, 1) => Leaf,
            (Function, 7) => Node,
            (Function, 9) => Leaf,
            (Function, 11) => Attribute,
            _ => return None,
        })
    }
}

/// Checks that `model` is a well-formed model message within the limits of cost and depth.
pub fn check(model: &[u8]) -> Result<()> {
    let mut scan = Scan { end: model.as_ptr_range().end.addr(), len: model.len(), cost: 0 };
    scan.message(model, Kind::Model, 0)
}

struct Scan {
    /// Address of the file's end, and its length.
    end: usize,
    len: usize,
    cost: u64,
}

impl Scan {
    fn message(&mut self, mut bytes: &[u8], kind: Kind, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::unsupported(format!("messages are nested more than {MAX_DEPTH} deep")));
        }
        self.charge(MESSAGE_COST)?;
        while !bytes.is_empty() {
            let (field, content) = take_field(&mut bytes).ok_or_else(|| self.damaged(kind, bytes))?;
            match (kind.child(field), content) {
                (Some(child), Some(content)) => self.message(content, child, depth + 1)?,
                _ => self.charge(1)?,
            }
        }
        Ok(())
    }

    fn charge(&mut self, units: u64) -> Result<()> {
        self.cost += units;
        if self.cost > MAX_COST {
            return Err(Error::no_memory("the model has too many parts (nodes, attributes, names) to be read"));
        }
        Ok(())
    }

    /// An error at the front of `rest`, a part of the file.
    fn damaged(&self, kind: Kind, rest: &[u8]) -> Error {
        let at = self.len - (self.end - rest.as_ptr().addr());
        Error::format(format!("not an ONNX file, or damaged or cut off (near byte {at} of {}, in {kind:?})", self.len))
    }
}

/// Takes a field off the front: its number and, if it has a length, its content.
fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let tag = varint(bytes)?;
    let content = match tag & 7 {
        0 => varint(bytes).map(|_| None)?,
        1 => take(bytes, 8).map(|_| None)?,
        2 => varint(bytes).and_then(|n| take(bytes, n)).map(Some)?,
        5 => take(bytes, 4).map(|_| None)?,
        _ => return None,
    };
    Some((tag >> 3, content))
}

/// Takes `n` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], n: u64) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(usize::try_from(n).ok()?)?;
    *bytes = tail;
    Some(head)
}

/// Takes a number of seven bits per byte, low ones first, off the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = bytes.split_first()?;
        *bytes = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
