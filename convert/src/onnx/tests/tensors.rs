//! Tensors: every element type in every encoding, and those that contradict themselves.

use super::super::external::Externals;
use super::super::tensor::{dense, densified};
use super::*;
use half::{bf16, f16};
use infer::error::Status;
use infer::ops::Tensor;
use infer::tensor::{DType, Element};

fn read(proto: &TensorProto) -> Result<Tensor> {
    dense(proto, &mut Externals::new(None))
}

fn typed(data_type: DataType, dims: &[i64]) -> TensorProto {
    TensorProto { name: "t".into(), data_type: data_type as i32, dims: dims.to_vec(), ..Default::default() }
}

fn raw(data_type: DataType, dims: &[i64], bytes: &[u8]) -> TensorProto {
    TensorProto { raw_data: Some(bytes.to_vec().into()), ..typed(data_type, dims) }
}

/// Checks a tensor given as raw bytes and in the field of its type.
fn both<T: Element>(data_type: DataType, dtype: DType, want: &[T], bytes: &[u8], fill: impl Fn(&mut TensorProto)) {
    let dims = [want.len() as i64];
    let mut filled = typed(data_type, &dims);
    fill(&mut filled);
    for proto in [raw(data_type, &dims, bytes), filled] {
        let tensor = read(&proto).unwrap();
        assert_eq!((tensor.info.dtype, &tensor.info.dims[..]), (dtype, &[want.len()][..]));
        assert_eq!(tensor.elements::<T>(), want, "{data_type:?}");
        assert_eq!(tensor.data.as_ptr().align_offset(64), 0);
    }
}

#[test]
fn floats() {
    use DataType as T;
    both(T::Float, DType::F32, &[1.0f32, -2.0], &[0, 0, 128, 63, 0, 0, 0, 192], |t| t.float_data = vec![1.0, -2.0]);
    both(T::Double, DType::F64, &[1.0f64], &[0, 0, 0, 0, 0, 0, 240, 63], |t| t.double_data = vec![1.0]);
    let halves = [f16::from_f32(1.0), f16::from_f32(-2.0)];
    both(T::Float16, DType::F16, &halves, &[0, 60, 0, 192], |t| t.int32_data = vec![0x3c00, 0xc000]);
    let brains = [bf16::from_f32(1.0), bf16::from_f32(-2.0)];
    both(T::Bfloat16, DType::BF16, &brains, &[128, 63, 0, 192], |t| t.int32_data = vec![0x3f80, 0xc000]);
}

#[test]
fn integers() {
    use DataType as T;
    both(T::Int8, DType::I8, &[-1i8, 127], &[255, 127], |t| t.int32_data = vec![-1, 127]);
    both(T::Uint8, DType::U8, &[255u8, 1], &[255, 1], |t| t.int32_data = vec![255, 1]);
    both(T::Int16, DType::I16, &[-2i16], &[254, 255], |t| t.int32_data = vec![-2]);
    both(T::Uint16, DType::U16, &[65535u16], &[255, 255], |t| t.int32_data = vec![65535]);
    both(T::Int32, DType::I32, &[-2i32], &[254, 255, 255, 255], |t| t.int32_data = vec![-2]);
    both(T::Uint32, DType::U32, &[u32::MAX], &[255; 4], |t| t.uint64_data = vec![u32::MAX.into()]);
    both(T::Int64, DType::I64, &[-1i64], &[255; 8], |t| t.int64_data = vec![-1]);
    both(T::Uint64, DType::U64, &[u64::MAX], &[255; 8], |t| t.uint64_data = vec![u64::MAX]);
    both(T::Bool, DType::Bool, &[1u8, 0, 1], &[1, 0, 200], |t| t.int32_data = vec![1, 0, -5]);
}

#[test]
fn scalars_and_empty_tensors() {
    let scalar = read(&TensorProto { float_data: vec![3.0], ..typed(DataType::Float, &[]) }).unwrap();
    assert_eq!((scalar.info.dims.len(), scalar.elements::<f32>()), (0, &[3.0f32][..]));
    for proto in [typed(DataType::Int64, &[0, 5]), raw(DataType::Int64, &[0, 5], &[])] {
        assert_eq!(read(&proto).unwrap().info.numel(), 0);
    }
}

fn assert_wrong(proto: &TensorProto, status: Status, part: &str) {
    let error = read(proto).unwrap_err();
    assert_eq!(error.status(), status, "{error}");
    assert!(error.message().starts_with("tensor 't': ") && error.message().contains(part), "{error}");
}

#[test]
fn element_types_that_are_not_supported() {
    use DataType::*;
    for ty in [String, Complex64, Complex128, Float8e4m3fn, Float8e5m2, Uint4, Int4, Float4e2m1, Int2, Float6e3m2] {
        assert_wrong(&raw(ty, &[1], &[0]), Status::Unsupported, &format!("{ty:?}"));
    }
    assert_wrong(&TensorProto { data_type: 99, ..typed(Float, &[1]) }, Status::Unsupported, "99");
    assert_wrong(&typed(Undefined, &[1]), Status::Format, "not stated");
}

#[test]
fn data_that_does_not_fit_the_shape() {
    use DataType::{Float, Int8, Uint8, Uint16, Uint32};
    assert_wrong(&raw(Float, &[2], &[0; 7]), Status::Format, "7 bytes");
    assert_wrong(&raw(Float, &[2], &[0; 9]), Status::Format, "need 8");
    assert_wrong(&typed(Float, &[2]), Status::Shape, "0 elements");
    assert_wrong(&TensorProto { float_data: vec![0.0; 3], ..typed(Float, &[2]) }, Status::Shape, "3 elements");
    assert_wrong(&raw(Float, &[-1], &[0; 4]), Status::Format, "negative");
    assert_wrong(&raw(Float, &[1 << 62, 4], &[0; 4]), Status::Shape, "too large");
    assert_wrong(&raw(Float, &[i64::MAX], &[0; 4]), Status::Shape, "too large");
    assert_wrong(&raw(Float, &[1; 9], &[0; 4]), Status::Unsupported, "rank 9");
    assert_wrong(&TensorProto { int32_data: vec![128], ..typed(Int8, &[1]) }, Status::Format, "does not fit i8");
    assert_wrong(&TensorProto { int32_data: vec![-1], ..typed(Uint8, &[1]) }, Status::Format, "does not fit u8");
    assert_wrong(&TensorProto { int32_data: vec![1 << 16], ..typed(Uint16, &[1]) }, Status::Format, "u16");
    assert_wrong(&TensorProto { uint64_data: vec![1 << 32], ..typed(Uint32, &[1]) }, Status::Format, "u32");
    assert_wrong(
        &TensorProto { segment: Some(SegmentProto { begin: 0, end: 1 }), ..typed(Float, &[1]) },
        Status::Unsupported,
        "segments",
    );
    assert_wrong(&TensorProto { data_location: 2, ..typed(Float, &[1]) }, Status::Format, "place");
}

fn sparse(dims: &[i64], values: &[f32], index_dims: &[i64], indices: &[i64]) -> Result<Tensor> {
    let values = TensorProto { float_data: values.to_vec(), ..typed(DataType::Float, &[values.len() as i64]) };
    let indices = TensorProto { int64_data: indices.to_vec(), ..typed(DataType::Int64, index_dims) };
    let proto = SparseTensorProto { values: Some(values), indices: Some(indices), dims: dims.to_vec() };
    densified(&proto, &mut Externals::new(None))
}

#[test]
fn sparse_tensors_become_dense() {
    let want = [0.0f32, 5.0, 0.0, 0.0, 0.0, 7.0];
    assert_eq!(sparse(&[2, 3], &[5.0, 7.0], &[2], &[1, 5]).unwrap().elements::<f32>(), want);
    assert_eq!(sparse(&[2, 3], &[5.0, 7.0], &[2, 2], &[0, 1, 1, 2]).unwrap().elements::<f32>(), want);
    assert_eq!(sparse(&[2], &[], &[0], &[]).unwrap().elements::<f32>(), [0.0, 0.0]);
}

#[test]
fn sparse_tensors_that_contradict_themselves() {
    let wrong = |result: Result<Tensor>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with("sparse tensor 't'") && message.contains(part), "{message}");
    };
    wrong(sparse(&[2, 3], &[5.0], &[1], &[6]), "indices");
    wrong(sparse(&[2, 3], &[5.0], &[1], &[-1]), "indices");
    wrong(sparse(&[2, 3], &[5.0], &[1, 2], &[0, 3]), "indices");
    wrong(sparse(&[2, 3], &[5.0], &[1, 3], &[0, 0, 0]), "indices");
    wrong(sparse(&[2, 3], &[5.0], &[2], &[0, 1]), "indices");
    wrong(sparse(&[1 << 40], &[5.0], &[1], &[0]), "when dense");
    wrong(sparse(&[1 << 40, 1 << 40], &[5.0], &[1, 2], &[0, 0]), "too large");
    wrong(sparse(&[-1], &[5.0], &[1], &[0]), "negative");
}

#[test]
fn tensors_in_files_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weights.bin"), [0, 0, 0, 0, 0, 0, 128, 63, 0, 0, 0, 64]).unwrap();
    let external = |location: &str| {
        let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
        let external_data = vec![entry("location", location), entry("offset", "4"), entry("length", "8")];
        TensorProto { data_location: 1, external_data, ..typed(DataType::Float, &[2]) }
    };
    let path = folder.path().join("model.onnx");
    let open = |location: &str| {
        let mut g = graph(&["x"], &["y"], vec![node("Add", &["x", "t"], &["y"])]);
        g.initializer = vec![external(location)];
        std::fs::write(&path, model(g).encode_to_vec()).unwrap();
        Model::open(&path)
    };
    assert_eq!(open("weights.bin").unwrap().graph.constants[0].1.elements::<f32>(), [1.0, 2.0]);
    let message = open("../weights.bin").unwrap_err().to_string();
    for part in ["model.onnx", "tensor 't'", "'../weights.bin'", "not allowed"] {
        assert!(message.contains(part), "'{message}' lacks {part}");
    }
    assert_eq!(open("absent.bin").unwrap_err().status(), Status::Io);
}

/// A model that dequantizes a tensor, and one that does something else with it.
fn reads(tensor: TensorProto, op: &str) -> ModelProto {
    let mut graph = graph(&["x"], &["y"], vec![node(op, &["t", "x"], &["y"])]);
    graph.initializer.push(tensor);
    model(graph)
}

fn assert_unpacks<T: Element>(ty: DataType, packed: &[u8], want: &[T]) {
    let fields =
        TensorProto { int32_data: packed.iter().map(|&b| b.into()).collect(), ..typed(ty, &[want.len() as i64]) };
    for tensor in [raw(ty, &[want.len() as i64], packed), fields] {
        let model = load(&reads(tensor, "DequantizeLinear")).unwrap();
        assert_eq!(model.graph.constants[0].1.elements::<T>(), want, "{ty:?}");
    }
}

#[test]
fn integers_narrower_than_a_byte() {
    use DataType::{Int2, Int4, Uint2, Uint4};
    assert_unpacks::<i8>(Int4, &[0x8f, 0x07], &[-1, -8, 7]);
    assert_unpacks::<u8>(Uint4, &[0x8f, 0x07], &[15, 8, 7]);
    assert_unpacks::<i8>(Int2, &[0b10_01_11_00, 0b01], &[0, -1, 1, -2, 1]);
    assert_unpacks::<u8>(Uint2, &[0b10_01_11_00], &[0, 3, 1, 2]);
    let four = || raw(Int4, &[3], &[0, 0]);
    assert_refused(&reads(four(), "QuantizeLinear"), &["'t'", "Int4", "DequantizeLinear"]);
    assert_refused(&reads(TensorProto { dims: vec![5], ..four() }, "DequantizeLinear"), &["2 bytes", "need 3"]);
    let inner = graph(&[], &["z"], vec![node("Neg", &["t"], &["z"])]);
    let mut outer = graph(&["x"], &["y"], vec![node("If", &["x"], &["y"]).with(subgraph("then_branch", inner))]);
    outer.initializer.push(four());
    assert_refused(&model(outer), &["'t'", "Int4"]);
}
