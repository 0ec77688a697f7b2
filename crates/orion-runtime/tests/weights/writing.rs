//! GGUF files that Orion writes. That gguf-py and llama.cpp read them is checked outside of the test suite, which has
//! no Python; here the reader, itself checked against gguf-py's files, reads them back.

use orion_compiler::DType;
use orion_runtime::weights::{
    WeightSource,
    gguf::{self, Metadata, TensorSpec, Value, Writer},
};
use tempfile::TempDir;

use crate::fixture::{assert_same_values, golden, golden_bytes};

fn specs(weights: &dyn WeightSource) -> Vec<TensorSpec> {
    let spec = |entry: &orion_runtime::weights::WeightEntry| TensorSpec {
        name: entry.name.clone(),
        dtype: entry.dtype,
        shape: entry.shape.clone(),
    };
    weights.entries().iter().map(spec).collect()
}

#[test]
fn all_types_and_metadata_survive_writing() {
    let (metadata, weights) = gguf::open(&golden("types.gguf")).unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gguf");
    let mut writer = Writer::create(&path, &metadata, specs(&weights)).unwrap();
    for entry in weights.entries() {
        for piece in weights.bytes(entry).chunks(100) {
            writer.write(piece).unwrap();
        }
    }
    writer.finish().unwrap();
    let (read, written) = gguf::open(&path).unwrap();
    assert_same_values(&written, &weights);
    for (key, value) in metadata.iter() {
        assert_eq!(read.value(key), Some(value), "{key}");
    }
    assert_eq!(read.require::<u32>("general.alignment").unwrap(), 32);
    // gguf-py writes version 3 as well: apart from the alignment, the two files differ in nothing.
    let (ours, theirs) = (std::fs::read(&path).unwrap(), golden_bytes("types.gguf"));
    let data: usize = weights.entries().iter().map(|e| e.byte_len().next_multiple_of(32)).sum();
    assert_eq!(ours[ours.len() - data..], theirs[theirs.len() - data..]);
}

#[test]
fn an_unfinished_file_leaves_nothing_and_keeps_what_was_there() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gguf");
    std::fs::write(&path, "before").unwrap();
    let spec = TensorSpec { name: "a".to_owned(), dtype: DType::F32, shape: vec![1 << 20] };
    let mut writer = Writer::create(&path, &Metadata::new("x"), vec![spec]).unwrap();
    writer.write(&vec![1; 4 << 19]).unwrap();
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn tensors_without_a_place_in_the_format_are_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.gguf");
    let refusal = |specs: Vec<(&str, DType, Vec<usize>)>| {
        let spec =
            |(name, dtype, shape): (&str, _, _)| TensorSpec { name: name.to_owned(), dtype, shape };
        let specs = specs.into_iter().map(spec).collect();
        Writer::create(&path, &Metadata::new("x"), specs).err().unwrap().to_string()
    };
    let long = "n".repeat(64);
    assert!(refusal(vec![(&long, DType::F32, vec![1])]).ends_with("a name has 1 to 63 bytes"));
    assert!(
        refusal(vec![("a", DType::F32, vec![1]), ("a", DType::F32, vec![1])])
            .ends_with("tensor `a`: the name occurs twice")
    );
    assert!(
        refusal(vec![("a", DType::Q4K, vec![2, 64])])
            .ends_with("tensor `a`: q4_k of shape [2, 64] has no rows of whole blocks of 256")
    );
    assert!(refusal(vec![("a", DType::Bool, vec![1])]).ends_with("GGUF has no type bool"));
    assert!(refusal(vec![("a", DType::F32, vec![1; 5])]).ends_with("it has 5 axes, at most 4 fit"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_new_files_get_ordinary_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let (link, target) = (folder.path().join("link"), folder.path().join("target"));
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let mut metadata = Metadata::new("x");
    metadata.insert("k", Value::Bool(true));
    Writer::create(&link, &metadata, Vec::new()).unwrap().finish().unwrap();
    assert!(link.is_symlink());
    assert!(gguf::open(&target).is_ok());
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&target), mode(&plain));
}
