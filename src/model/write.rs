//! From a program to the bytes of a model file; the same program gives the same bytes.

use super::header::{HEADER_LEN, Header, MINOR};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, NodeKind, Program, Value};
use crate::schema;
use crate::tensor::{Blob, Buffer, Dim, DimCode, HUGE_PAGE, Layout};
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, UnionWIPOffset, Vector, WIPOffset};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// How a file is laid out.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Alignment of data segments: the largest page size of the machines that map the file.
    pub page: usize,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions { page: 4096 }
    }
}

type Built<'b, T> = WIPOffset<T>;
type List<'b, T> = WIPOffset<Vector<'b, ForwardsUOffset<T>>>;

/// Writes a model file under a temporary name and renames it: a file that is there keeps its content until the new one
/// is complete.
pub fn write_file(program: &Program, path: &Path, options: &WriteOptions) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::invalid(format!("{}: not a file name", path.display())))?;
    let mut temporary = name.to_os_string();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let result = write_to(program, &temporary, options)
        .and_then(|()| fs::rename(&temporary, path).map_err(|e| Error::io(path.display(), &e)));
    if result.is_err() {
        // Best effort: the error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_to(program: &Program, path: &Path, options: &WriteOptions) -> Result<()> {
    let io = |e: io::Error| Error::io(path.display(), &e);
    let mut out = Chunked { file: File::create(path).map_err(io)?, chunk: Vec::with_capacity(HUGE_PAGE) };
    write(program, &mut out, options).map_err(|e| e.context(path.display()))?;
    out.flush().and_then(|()| out.file.sync_all()).map_err(io)
}

/// Writes whole huge pages at once: the file system then keeps the file in such pages from the beginning, if it can, and
/// maps them as they are.
struct Chunked {
    file: File,
    chunk: Vec<u8>,
}

impl Write for Chunked {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let len = data.len().min(HUGE_PAGE - self.chunk.len());
        self.chunk.extend_from_slice(&data[..len]);
        if self.chunk.len() == HUGE_PAGE {
            self.flush()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

/// Writes a model file to `out`.
pub fn write(program: &Program, out: &mut dyn Write, options: &WriteOptions) -> Result<()> {
    let io = |e: io::Error| Error::io("writing", &e);
    let mut data = Data::default();
    for value in program.graphs.iter().flat_map(|g| &g.values) {
        data.add(value)?;
    }
    // The data begins after the graph, whose length does not depend on where (as long as that is not 0).
    let graph_len = Writer { program, data: &data, data_start: usize::MAX, exprs: Exprs::of(program) }.graph()?.len();
    let start = (HEADER_LEN + graph_len).next_multiple_of(options.page.max(Buffer::ALIGN));
    let graph = Writer { program, data: &data, data_start: start, exprs: Exprs::of(program) }.graph()?;
    // Vector kernels may read a cache line beyond the last weight.
    let file_len = start + data.len + Buffer::ALIGN;
    let header = Header {
        minor: MINOR,
        graph: HEADER_LEN..HEADER_LEN + graph.len(),
        data: start..file_len,
        file_len,
        required_features: 0,
    };
    out.write_all(&header.write(&graph)).map_err(io)?;
    out.write_all(&graph).map_err(io)?;
    out.write_all(&vec![0; start - HEADER_LEN - graph.len()]).map_err(io)?;
    data.write(out).map_err(io)?;
    out.write_all(&[0; Buffer::ALIGN]).map_err(io)
}

/// The constants of all graphs, each distinct one once.
#[derive(Default)]
struct Data {
    buffers: Vec<(Blob, Layout, usize)>,
    by_hash: HashMap<u64, Vec<usize>>,
    len: usize,
}

impl Data {
    fn find(&self, data: &Blob, layout: Layout) -> Option<usize> {
        let same = |&&i: &&usize| self.buffers[i].1 == layout && self.buffers[i].0 == *data;
        self.by_hash.get(&xxh3_64(data))?.iter().find(same).copied()
    }

    fn add(&mut self, value: &Value) -> Result<()> {
        let Some(c) = &value.constant else { return Ok(()) };
        if self.find(&c.data, c.layout).is_some() {
            return Ok(());
        }
        self.by_hash.entry(xxh3_64(&c.data)).or_default().push(self.buffers.len());
        self.buffers.push((c.data.clone(), c.layout, self.len));
        let end = self.len.checked_add(c.data.len()).and_then(|n| n.checked_next_multiple_of(Buffer::ALIGN));
        self.len = end.ok_or_else(|| Error::unsupported("the constants' size is beyond the address space"))?;
        Ok(())
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let zeros = [0; Buffer::ALIGN];
        for (data, _, _) in &self.buffers {
            out.write_all(data)?;
            out.write_all(&zeros[..data.len().next_multiple_of(Buffer::ALIGN) - data.len()])?;
        }
        Ok(())
    }

    fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        for (data, _, _) in &self.buffers {
            hash.update(data);
            hash.update(&[0; Buffer::ALIGN][..data.len().next_multiple_of(Buffer::ALIGN) - data.len()]);
        }
        hash.digest()
    }
}

/// The distinct dimension expressions of a program, in the order in which they occur.
struct Exprs {
    list: Vec<Dim>,
    index: HashMap<Dim, usize>,
}

impl Exprs {
    fn of(program: &Program) -> Self {
        let mut exprs = Exprs { list: vec![], index: HashMap::new() };
        let values = program.graphs.iter().flat_map(|g| &g.values);
        for dim in values.flat_map(|v| v.ty.shape.iter()).filter(|d| d.fixed().is_none()) {
            if !exprs.index.contains_key(dim) {
                exprs.index.insert(dim.clone(), exprs.list.len());
                exprs.list.push(dim.clone());
            }
        }
        exprs
    }

    fn code(&self, dim: &Dim) -> i64 {
        dim.fixed().unwrap_or_else(|| -1 - self.index[dim] as i64)
    }
}

struct Writer<'a> {
    program: &'a Program,
    data: &'a Data,
    data_start: usize,
    exprs: Exprs,
}

impl Writer<'_> {
    fn graph(&self) -> Result<Vec<u8>> {
        let b = &mut FlatBufferBuilder::new();
        let subgraphs = self.program.graphs.iter().map(|g| self.subgraph(b, g)).collect::<Result<Vec<_>>>()?;
        let subgraphs = b.create_vector(&subgraphs);
        let segment =
            schema::SegmentArgs { offset: self.data_start as u64, size: self.data.len as u64, hash: self.data.hash() };
        let segment = schema::Segment::create(b, &segment);
        let segments = b.create_vector(&[segment]);
        let args = schema::ModelArgs {
            producer: Some(b.create_string(&self.program.producer)),
            subgraphs: Some(subgraphs),
            segments: Some(segments),
            buffers: Some(self.buffers(b)),
            sym_dims: Some(self.sym_dims(b)),
            dim_exprs: Some(self.dim_exprs(b)),
            metadata: Some(self.metadata(b)),
            input_names: Some(texts(b, &self.program.input_names)),
            output_names: Some(texts(b, &self.program.output_names)),
            states: Some(self.states(b)),
        };
        let model = schema::Model::create(b, &args);
        schema::finish_model_buffer(b, model);
        Ok(b.finished_data().to_vec())
    }

    fn buffers<'b>(&self, b: &mut FlatBufferBuilder<'b>) -> List<'b, schema::Buffer<'b>> {
        let mut list = vec![];
        for (data, layout, offset) in &self.data.buffers {
            let groups = if let Layout::ConvPanels { groups } = layout { *groups } else { 0 };
            let (size, layout) = (data.len() as u64, layout.code());
            let args = schema::BufferArgs { segment: 0, offset: *offset as u64, size, layout, groups };
            list.push(schema::Buffer::create(b, &args));
        }
        b.create_vector(&list)
    }

    fn sym_dims<'b>(&self, b: &mut FlatBufferBuilder<'b>) -> List<'b, schema::SymDim<'b>> {
        let mut list = vec![];
        for s in &self.program.sym_dims {
            let name = Some(b.create_string(&s.name));
            list.push(schema::SymDim::create(b, &schema::SymDimArgs { name, min: s.min, max: s.max.unwrap_or(-1) }));
        }
        b.create_vector(&list)
    }

    fn dim_exprs<'b>(&self, b: &mut FlatBufferBuilder<'b>) -> List<'b, schema::DimExpr<'b>> {
        let mut list = vec![];
        for dim in &self.exprs.list {
            let (codes, args): (Vec<u8>, Vec<i64>) = dim.to_codes().into_iter().map(dim_code).unzip();
            let (codes, args) = (Some(b.create_vector(&codes)), Some(b.create_vector(&args)));
            list.push(schema::DimExpr::create(b, &schema::DimExprArgs { codes, args }));
        }
        b.create_vector(&list)
    }

    fn metadata<'b>(&self, b: &mut FlatBufferBuilder<'b>) -> List<'b, schema::KeyValue<'b>> {
        let mut list = vec![];
        for (key, value) in &self.program.metadata {
            let (key, value) = (Some(b.create_string(key)), Some(b.create_string(value)));
            list.push(schema::KeyValue::create(b, &schema::KeyValueArgs { key, value }));
        }
        b.create_vector(&list)
    }

    fn states<'b>(&self, b: &mut FlatBufferBuilder<'b>) -> List<'b, schema::State<'b>> {
        let mut list = vec![];
        for s in &self.program.states {
            let args = schema::StateArgs { input: s.input as u32, output: s.output as u32 };
            list.push(schema::State::create(b, &args));
        }
        b.create_vector(&list)
    }

    fn subgraph<'b>(&self, b: &mut FlatBufferBuilder<'b>, g: &Graph) -> Result<Built<'b, schema::Subgraph<'b>>> {
        let values = g.values.iter().map(|v| self.value(b, v)).collect::<Result<Vec<_>>>()?;
        let values = Some(b.create_vector(&values));
        let nodes: Vec<_> = g.nodes.iter().map(|n| node(b, n)).collect();
        let nodes = Some(b.create_vector(&nodes));
        let inputs: Vec<u32> = g.inputs.iter().map(|v| v.0).collect();
        let outputs: Vec<u32> = g.outputs.iter().map(|v| v.0).collect();
        let (inputs, outputs) = (Some(b.create_vector(&inputs)), Some(b.create_vector(&outputs)));
        let name = text(b, &g.name);
        Ok(schema::Subgraph::create(b, &schema::SubgraphArgs { name, values, nodes, inputs, outputs }))
    }

    fn value<'b>(&self, b: &mut FlatBufferBuilder<'b>, v: &Value) -> Result<Built<'b, schema::Value<'b>>> {
        let dims: Vec<i64> = v.ty.shape.iter().map(|d| self.exprs.code(d)).collect();
        let dims = Some(b.create_vector(&dims));
        let buffer = match v.constant.as_ref().map(|c| self.data.find(&c.data, c.layout)) {
            None => -1,
            Some(index) => {
                index.and_then(|i| i32::try_from(i).ok()).ok_or_else(|| Error::internal("a buffer is lost"))?
            }
        };
        let name = text(b, &v.name);
        Ok(schema::Value::create(b, &schema::ValueArgs { name, dtype: v.ty.dtype as u8, dims, buffer }))
    }
}

fn node<'b>(b: &mut FlatBufferBuilder<'b>, n: &Node) -> Built<'b, schema::Node<'b>> {
    let (attributes_type, attributes) = attributes(b, &n.kind);
    let inputs: Vec<i32> = n.inputs.iter().map(|v| v.map_or(-1, |v| v.0 as i32)).collect();
    let outputs: Vec<u32> = n.outputs.iter().map(|v| v.0).collect();
    let (inputs, outputs) = (Some(b.create_vector(&inputs)), Some(b.create_vector(&outputs)));
    let name = text(b, &n.name);
    let attributes = Some(attributes);
    let version = if let NodeKind::Op(op) = &n.kind { op.version() } else { 1 };
    schema::Node::create(b, &schema::NodeArgs { name, version, attributes_type, attributes, inputs, outputs })
}

fn attributes(b: &mut FlatBufferBuilder<'_>, kind: &NodeKind) -> (schema::Attributes, WIPOffset<UnionWIPOffset>) {
    match kind {
        NodeKind::Op(op) => op.write(b),
        NodeKind::If { then_branch, else_branch } => {
            let args = schema::IfArgs { then_branch: then_branch.0, else_branch: else_branch.0 };
            (schema::Attributes::If, schema::If::create(b, &args).as_union_value())
        }
        NodeKind::Loop { body, carried } => {
            let args = schema::LoopArgs { body: body.0, carried: *carried as u32 };
            (schema::Attributes::Loop, schema::Loop::create(b, &args).as_union_value())
        }
    }
}

fn texts<'b>(b: &mut FlatBufferBuilder<'b>, texts: &[String]) -> List<'b, &'b str> {
    let texts: Vec<_> = texts.iter().map(|t| b.create_string(t)).collect();
    b.create_vector(&texts)
}

fn text<'b>(b: &mut FlatBufferBuilder<'b>, text: &str) -> Option<WIPOffset<&'b str>> {
    (!text.is_empty()).then(|| b.create_string(text))
}

fn dim_code(code: DimCode) -> (u8, i64) {
    match code {
        DimCode::Const(n) => (0, n),
        DimCode::Sym(s) => (1, s.0.into()),
        DimCode::Add => (2, 0),
        DimCode::Mul => (3, 0),
        DimCode::FloorDiv => (4, 0),
        DimCode::Mod => (5, 0),
        DimCode::Min => (6, 0),
        DimCode::Max => (7, 0),
    }
}
