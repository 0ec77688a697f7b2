//! Models stored in another type.

use std::path::Path;

use orion_compiler::DType;
use orion_kernels::{WeightFormat, format};
use orion_runtime::weights::{
    GgufNaming, MemoryWeights, QuantizeError, WeightSource, gguf, open, quantize,
    quantize::{Layout, QuantizeReport, TensorNaming},
    read_f32,
};
use tempfile::TempDir;

use crate::fixture::golden;

/// Values that no type keeps exactly, but all to a few per cent of the largest.
fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|index| (index as f32 * 0.37).sin()).collect()
}

fn naming(tensors: &[(&str, Layout)]) -> GgufNaming {
    let tensor = |&(name, layout): &(&str, Layout)| TensorNaming {
        source: name.to_owned(),
        name: name.to_owned(),
        layout,
    };
    GgufNaming {
        metadata: gguf::Metadata::new("x"),
        constants: Vec::new(),
        tensors: tensors.iter().map(tensor).collect(),
    }
}

fn run(
    source: &dyn WeightSource,
    naming: &GgufNaming,
    output: &Path,
    target: DType,
) -> Result<QuantizeReport, QuantizeError> {
    quantize(source, naming, output, target, &mut |_| {})
}

#[test]
fn matrices_change_type_and_the_rest_becomes_f32() {
    let mut source = MemoryWeights::default();
    source.insert_f32("token_embd.weight", &[3, 256], &wave(768)).unwrap();
    source.insert_f32("blk.0.narrow.weight", &[2, 96], &wave(192)).unwrap();
    source.insert_f32("blk.0.odd.weight", &[2, 10], &wave(20)).unwrap();
    source.insert_f32("blk.0.norm.bias", &[7], &wave(7)).unwrap();
    source.insert_f32("blk.0.attn_norm.weight", &[1, 32], &wave(32)).unwrap();
    source.insert_f32("position_embd.weight", &[2, 32], &wave(64)).unwrap();
    source.insert("half.bias", DType::F16, &[1], vec![0, 0x3c]).unwrap();
    let names: Vec<_> =
        source.entries().iter().map(|entry| (entry.name.as_str(), Layout::AsStored)).collect();
    let naming = naming(&names);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gguf");
    for (target, number, expected) in [
        (DType::Q8_0, 7, [DType::Q8_0, DType::Q8_0, DType::F16]),
        (DType::Q4_0, 2, [DType::Q4_0, DType::Q4_0, DType::F16]),
        (DType::Q4K, 14, [DType::Q4K, DType::Q5_0, DType::F16]),
        (DType::F16, 1, [DType::F16; 3]),
        (DType::BF16, 32, [DType::BF16; 3]),
    ] {
        let mut calls = Vec::new();
        let report = quantize(&source, &naming, &path, target, &mut |progress| {
            assert!(progress.done <= progress.total);
            calls.push(progress.done);
        })
        .unwrap();
        let (metadata, written) = gguf::open(&path).unwrap();
        assert_eq!(metadata.require::<u32>("general.file_type").unwrap(), number);
        assert_eq!(metadata.require::<u32>("general.quantization_version").unwrap(), 2);
        let types: Vec<DType> = written.entries().iter().map(|entry| entry.dtype).collect();
        assert_eq!(types[..3], expected);
        assert_eq!(types[3..], [DType::F32; 4]);
        let bytes = |source: &dyn WeightSource| -> u64 {
            source.entries().iter().map(|entry| entry.byte_len() as u64).sum()
        };
        assert_eq!(report.bytes_read, bytes(&source));
        assert_eq!(report.bytes_written, bytes(&written));
        assert_eq!(calls.last(), Some(&report.bytes_read));
        let fallbacks = expected.iter().filter(|dtype| **dtype != target).count();
        assert_eq!(report.fallbacks.len(), fallbacks);
        for entry in source.entries() {
            let (was, is) = (read_f32(&source, &entry.name), read_f32(&written, &entry.name));
            for (was, is) in was.unwrap().into_iter().zip(is.unwrap()) {
                assert!((was - is).abs() < 0.13, "{}: {was} became {is}", entry.name);
            }
        }
    }
}

#[test]
fn large_matrices_are_encoded_row_by_row_whatever_the_pieces() {
    let (rows, columns) = (9001, 512);
    let values = wave(rows * columns);
    let mut source = MemoryWeights::default();
    source.insert_f32("a.weight", &[rows, columns], &values).unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gguf");
    let naming = naming(&[("a.weight", Layout::AsStored)]);
    run(&source, &naming, &path, DType::Q8_0).unwrap();
    let (_, written) = gguf::open(&path).unwrap();
    let mut expected = vec![0; rows * columns / 32 * 34];
    format::encode(WeightFormat::Q8_0, &values, &mut expected);
    assert!(written.bytes(&written.entries()[0]) == expected);
}

#[test]
fn a_gguf_input_keeps_its_metadata_and_what_has_the_type_already() {
    let input = open(&golden("types.gguf")).unwrap();
    let naming = GgufNaming::carried_over(&input).unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gguf");
    let report = run(&*input.weights, &naming, &path, DType::Q4K).unwrap();
    assert_eq!(report.requantized, 7);
    let (metadata, written) = gguf::open(&path).unwrap();
    assert_eq!(metadata.require::<&[String]>("array.string").unwrap(), ["<s>", "", "▁the"]);
    let same = "q4_k.weight";
    assert_eq!(
        written.bytes(written.find(same).unwrap()),
        input.weights.bytes(input.weights.find(same).unwrap())
    );
    assert!(written.entries().iter().all(|entry| entry.dtype == DType::Q4K));
}

#[test]
fn layouts_reorder_rows() {
    let mut source = MemoryWeights::default();
    let rows: Vec<f32> = (0..8).flat_map(|row| [row as f32, row as f32 + 0.5]).collect();
    source.insert_f32("q.weight", &[8, 2], &rows).unwrap();
    source.insert_f32("q.bias", &[8], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]).unwrap();
    source.insert_f32("fc.weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let pairs = Layout::RotaryPairs { heads: 2 };
    let naming =
        naming(&[("q.weight", pairs), ("q.bias", pairs), ("fc.weight", Layout::Transposed)]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gguf");
    run(&source, &naming, &path, DType::F16).unwrap();
    let (_, written) = gguf::open(&path).unwrap();
    // numpy: x.reshape(heads, 2, head_dim // 2).swapaxes(1, 2).reshape(-1)
    let order = [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0];
    assert_eq!(read_f32(&written, "q.bias").unwrap(), order);
    let first: Vec<f32> = read_f32(&written, "q.weight").unwrap().into_iter().step_by(2).collect();
    assert_eq!(first, order);
    assert_eq!(written.find("fc.weight").unwrap().shape, [3, 2]);
    assert_eq!(read_f32(&written, "fc.weight").unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    for (name, layout) in [("fc.weight", pairs), ("q.bias", Layout::Transposed)] {
        let error = run(&source, &self::naming(&[(name, layout)]), &path, DType::F16).unwrap_err();
        assert!(matches!(error, QuantizeError::Load(_)), "{error}");
    }
}

#[test]
fn broken_and_unstorable_weights_are_named_and_leave_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gguf");
    let refusal = |value: f32, target: DType| {
        let mut source = MemoryWeights::new("in.gguf");
        let mut values = wave(64);
        values[40] = value;
        source.insert_f32("a.weight", &[2, 32], &values).unwrap();
        let naming = naming(&[("a.weight", Layout::AsStored)]);
        run(&source, &naming, &path, target).unwrap_err().to_string()
    };
    let broken = "cannot be stored as q8_0; the weights are broken: get them again";
    assert_eq!(
        refusal(f32::NAN, DType::Q8_0),
        format!("in.gguf: tensor `a.weight`: value NaN {broken}")
    );
    assert_eq!(
        refusal(f32::INFINITY, DType::Q8_0),
        format!("in.gguf: tensor `a.weight`: value inf {broken}")
    );
    assert_eq!(
        refusal(1e5, DType::F16),
        "in.gguf: tensor `a.weight`: value 100000 cannot be stored as f16; use bf16"
    );
    assert_eq!(
        refusal(1.0, DType::I32),
        "weights cannot be stored as i32; use q8_0, q4_0, q4_k, f16 or bf16"
    );
    let missing = naming(&[("b.weight", Layout::AsStored)]);
    let error = run(&MemoryWeights::default(), &missing, &path, DType::F16).unwrap_err();
    assert!(error.to_string().contains("tensor `b.weight` is missing"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn outputs_that_cannot_be_written_are_named() {
    let mut source = MemoryWeights::default();
    source.insert_f32("a.weight", &[512, 1024], &wave(512 * 1024)).unwrap();
    let naming = naming(&[("a.weight", Layout::AsStored)]);
    let refusal = |path: &Path| run(&source, &naming, path, DType::F16).unwrap_err().to_string();
    let folder = TempDir::new().unwrap();
    assert!(refusal(folder.path()).starts_with("cannot write"));
    let nowhere = folder.path().join("none/out.gguf");
    assert!(refusal(&nowhere).contains("none/out.gguf"));
    let read_only = folder.path().join("read-only.gguf");
    std::fs::write(&read_only, "kept").unwrap();
    let mut permissions = std::fs::metadata(&read_only).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&read_only, permissions).unwrap();
    assert!(refusal(&read_only).contains("the file exists and is read-only"));
    assert_eq!(std::fs::read(&read_only).unwrap(), b"kept");
    if cfg!(target_os = "linux") {
        let text = refusal(Path::new("/dev/full"));
        assert!(text.starts_with("cannot write /dev/full: No space left on device"), "{text}");
        assert!(Path::new("/dev/full").exists());
    }
}
