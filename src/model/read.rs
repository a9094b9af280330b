//! From the bytes of a model file to a verified program. Nothing in the file is trusted.

use super::header::Header;
use crate::error::{Error, Result};
use crate::graph::{Constant, Graph, GraphId, Node, NodeKind, Program, State, SymDim, Value, ValueId};
use crate::ops::{Op, TensorInfo};
use crate::schema;
use crate::tensor::{Blob, Buffer, DType, Dim, DimCode, Layout, Shape, Sym, TensorType};
use flatbuffers::VerifierOptions;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// Constants up to this size are copied out of the file: they may steer shapes, and a file that changes while it is
/// mapped must not be able to change them.
const COPY_BYTES: usize = 4096;

/// How a file is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Also check the hashes of the weights, which touches every page of the file.
    pub verify_data: bool,
}

/// The program of a model file with these bytes. Large constants stay in `file`.
///
/// # Errors
/// [`Format`](crate::error::Status::Format) if the file is damaged, [`Version`](crate::error::Status::Version) if it
/// needs a newer library, and what operators find wrong with their inputs.
pub fn read(file: &Blob, options: &ReadOptions) -> Result<Program> {
    let header = Header::read(file)?;
    let limits = VerifierOptions {
        max_depth: 16,
        max_tables: header.graph.len() / 8 + 64,
        max_apparent_size: header.graph.len().saturating_mul(4).max(1 << 16),
        ignore_missing_null_terminator: false,
    };
    // The graph is copied: nothing can change it between its check and its use.
    let graph = Buffer::copy_of(&file[header.graph.clone()])?;
    if graph.len() < 8 || !schema::model_buffer_has_identifier(&graph) {
        return Err(Error::format("the graph section is not one of a model"));
    }
    let model = schema::root_as_model_with_opts(&limits, &graph)
        .map_err(|e| Error::format(format!("the graph section is damaged: {e}")))?;
    let segments = segments(&model, &header)?;
    if options.verify_data {
        check_hashes(&model, &segments, file)?;
    }
    let reader = Reader { model, segments, file, exprs: exprs(&model)?, sym_count: model.sym_dims().len() };
    let mut program = reader.program()?;
    program.verify()?;
    Ok(program)
}

/// Checks the hashes of all data of a model file, as `infer verify` does.
pub fn verify_data(file: &Blob) -> Result<()> {
    read(file, &ReadOptions { verify_data: true }).map(drop)
}

struct Reader<'a> {
    model: schema::Model<'a>,
    segments: Vec<Range<usize>>,
    file: &'a Blob,
    exprs: Vec<Dim>,
    sym_count: usize,
}

/// Ranges of the file, which must be in order, apart, and inside the data section.
fn segments(model: &schema::Model<'_>, header: &Header) -> Result<Vec<Range<usize>>> {
    let mut end = header.data.start as u64;
    let mut out = vec![];
    for s in model.segments() {
        let next = s.offset().checked_add(s.size()).filter(|&n| n <= header.data.end as u64);
        let Some(next) = next.filter(|_| s.offset() >= end && s.offset() % Buffer::ALIGN as u64 == 0) else {
            return Err(Error::format("data segments overlap, are misaligned, or reach beyond the data section"));
        };
        out.push(s.offset() as usize..next as usize);
        end = next;
    }
    Ok(out)
}

fn check_hashes(model: &schema::Model<'_>, segments: &[Range<usize>], file: &Blob) -> Result<()> {
    for (i, (s, range)) in model.segments().iter().zip(segments).enumerate() {
        if xxh3_64(&file[range.clone()]) != s.hash() {
            return Err(Error::format(format!("the hash of data segment {i} is wrong: the weights are damaged")));
        }
    }
    Ok(())
}

fn exprs(model: &schema::Model<'_>) -> Result<Vec<Dim>> {
    let symbols = model.sym_dims().len();
    let expr = |(i, e): (usize, schema::DimExpr<'_>)| {
        let codes: Option<Vec<DimCode>> =
            e.codes().iter().zip(e.args()).map(|(code, arg)| dim_code(code, arg, symbols)).collect();
        let whole = e.codes().len() == e.args().len();
        let dim = codes.filter(|_| whole).and_then(|codes| Dim::from_codes(&codes));
        dim.ok_or_else(|| Error::format(format!("dimension expression {i} is damaged")))
    };
    model.dim_exprs().iter().enumerate().map(expr).collect()
}

fn dim_code(code: u8, arg: i64, symbols: usize) -> Option<DimCode> {
    Some(match code {
        0 => DimCode::Const(arg),
        1 => DimCode::Sym(Sym(u32::try_from(arg).ok().filter(|&s| (s as usize) < symbols)?)),
        2 => DimCode::Add,
        3 => DimCode::Mul,
        4 => DimCode::FloorDiv,
        5 => DimCode::Mod,
        6 => DimCode::Min,
        7 => DimCode::Max,
        _ => return None,
    })
}

impl Reader<'_> {
    fn program(&self) -> Result<Program> {
        let m = &self.model;
        let sym = |s: schema::SymDim<'_>| SymDim {
            name: s.name().into(),
            min: s.min().max(0),
            max: (s.max() >= 0).then_some(s.max()),
        };
        let index = |n: u32| n as usize;
        Ok(Program {
            graphs: m.subgraphs().iter().map(|g| self.graph(g)).collect::<Result<_>>()?,
            sym_dims: m.sym_dims().iter().map(sym).collect(),
            input_names: m.input_names().iter().map(String::from).collect(),
            output_names: m.output_names().iter().map(String::from).collect(),
            metadata: m.metadata().iter().map(|kv| (kv.key().into(), kv.value().into())).collect(),
            states: m
                .states()
                .into_iter()
                .flatten()
                .map(|s| State { input: index(s.input()), output: index(s.output()) })
                .collect(),
            producer: m.producer().into(),
        })
    }

    fn graph(&self, g: schema::Subgraph<'_>) -> Result<Graph> {
        let name = g.name().unwrap_or_default().to_string();
        let here = |e: Error| e.context(format!("graph '{name}'"));
        Ok(Graph {
            values: g.values().iter().map(|v| self.value(v)).collect::<Result<_>>().map_err(here)?,
            nodes: g.nodes().iter().map(|n| node(n)).collect::<Result<_>>().map_err(here)?,
            inputs: g.inputs().iter().map(ValueId).collect(),
            outputs: g.outputs().iter().map(ValueId).collect(),
            name: name.clone(),
        })
    }

    fn value(&self, v: schema::Value<'_>) -> Result<Value> {
        let name = v.name().unwrap_or_default().to_string();
        let here = |e: Error| e.context(format!("value '{name}'"));
        let dtype = DType::from_code(v.dtype().into()).map_err(|_| {
            Error::version(format!("value '{name}' has element type {}; a newer library may know it", v.dtype()))
        })?;
        let dims = v.dims().iter().map(|d| self.dim(d)).collect::<Result<Vec<_>>>().map_err(here)?;
        let shape = Shape::new(dims).map_err(|e| Error::format(e.message()).context(format!("value '{name}'")))?;
        let constant = match v.buffer() {
            -1 => None,
            index => Some(self.constant(index, dtype, &shape).map_err(here)?),
        };
        let ty = constant.as_ref().map_or_else(|| TensorType::new(dtype, shape), Constant::ty);
        Ok(Value { name: name.clone(), ty, constant })
    }

    fn dim(&self, dim: i64) -> Result<Dim> {
        if dim >= 0 {
            return Ok(Dim::Fixed(dim));
        }
        let index = usize::try_from(-(dim + 1)).ok();
        let expr = index.and_then(|i| self.exprs.get(i)).filter(|_| self.sym_count > 0 || !self.exprs.is_empty());
        expr.cloned().ok_or_else(|| Error::format(format!("dimension expression {dim} does not exist")))
    }

    fn constant(&self, index: i32, dtype: DType, shape: &Shape) -> Result<Constant> {
        let missing = || Error::format(format!("buffer {index} does not exist or is damaged"));
        let buffers = self.model.buffers();
        let index = usize::try_from(index).ok().filter(|&i| i < buffers.len()).ok_or_else(missing)?;
        let buffer = buffers.get(index);
        let segment = self.segments.get(buffer.segment() as usize).ok_or_else(missing)?;
        let start = (segment.start as u64).checked_add(buffer.offset());
        let end = start.and_then(|s| s.checked_add(buffer.size())).filter(|&e| e <= segment.end as u64);
        let (Some(start), Some(end)) = (start, end) else { return Err(missing()) };
        if start % Buffer::ALIGN as u64 != 0 {
            return Err(missing());
        }
        let mut data = self.file.slice(start as usize..end as usize).ok_or_else(missing)?;
        if data.len() <= COPY_BYTES || data.as_ptr().align_offset(Buffer::ALIGN) != 0 {
            data = Blob::copy_of(&data)?;
        }
        let dims = shape.as_fixed().ok_or_else(|| Error::format("a constant's dimension is not a number"))?;
        let layout = Layout::from_code(buffer.layout(), buffer.groups())?;
        if dtype == DType::Bool && layout == Layout::RowMajor && data.iter().any(|&b| b > 1) {
            return Err(Error::format("a bool constant has elements that are neither 0 nor 1"));
        }
        Constant::new(TensorInfo { dtype, dims }, layout, data)
    }
}

fn node(n: schema::Node<'_>) -> Result<Node> {
    let name = n.name().unwrap_or_default().to_string();
    let kind = kind(&n).map_err(|e| e.at_node(&name, n.attributes_type().variant_name().unwrap_or("unknown")))?;
    let input = |v: i32| u32::try_from(v).ok().map(ValueId);
    if n.inputs().iter().any(|v| v < -1) {
        return Err(Error::format("a negative input index").at_node(&name, kind.name()));
    }
    Ok(Node {
        inputs: n.inputs().iter().map(input).collect(),
        outputs: n.outputs().iter().map(ValueId).collect(),
        name,
        kind,
    })
}

fn kind(n: &schema::Node<'_>) -> Result<NodeKind> {
    let kind = known_kind(n)?;
    let version = if let NodeKind::Op(op) = &kind { op.version() } else { 1 };
    if n.version() != version {
        return Err(Error::version(format!("version {} of this operator needs a newer library", n.version())));
    }
    Ok(kind)
}

fn known_kind(n: &schema::Node<'_>) -> Result<NodeKind> {
    if let Some(t) = n.attributes_as_if() {
        return Ok(NodeKind::If { then_branch: GraphId(t.then_branch()), else_branch: GraphId(t.else_branch()) });
    }
    if let Some(t) = n.attributes_as_loop() {
        return Ok(NodeKind::Loop { body: GraphId(t.body()), carried: t.carried() as usize });
    }
    let op = Op::read(n)?;
    op.map(NodeKind::Op).ok_or_else(|| Error::version("this operator needs a newer library"))
}
