//! Files that gguf-py, safetensors-py and llama2.c's layout make.

use orion_compiler::DType;
use orion_runtime::weights::{
    Description, LoadError, MemoryWeights, WeightSource, gguf, llama2c, open, read_f32, require,
    safetensors,
};

use crate::fixture::{assert_same_values, file, golden, golden_bytes, little_endian};

#[test]
fn every_gguf_type_reads_as_gguf_py_dequantises_it() {
    let (_, weights) = gguf::open(&golden("types.gguf")).unwrap();
    let expected = safetensors::open(&golden("types.safetensors")).unwrap();
    assert_same_values(&weights, &expected);
    let types: Vec<DType> = weights.entries().iter().map(|entry| entry.dtype).collect();
    let float = |dtype: &&DType| dtype.is_float();
    assert_eq!(types, DType::ALL.iter().filter(float).copied().collect::<Vec<_>>());
}

#[test]
fn every_kind_of_gguf_metadata_is_read() {
    let (metadata, _) = gguf::open(&golden("types.gguf")).unwrap();
    assert_eq!(metadata.require::<&str>("general.architecture").unwrap(), "test");
    assert_eq!(metadata.value("kind.i8"), Some(&gguf::Value::I8(-100)));
    assert_eq!(metadata.value("kind.i16"), Some(&gguf::Value::I16(-30_000)));
    assert_eq!(metadata.value("kind.i64"), Some(&gguf::Value::I64(-(1 << 62))));
    assert_eq!(metadata.value("kind.f64"), Some(&gguf::Value::F64(0.1)));
    assert_eq!(metadata.require::<u32>("kind.u8").unwrap(), 200);
    assert_eq!(metadata.require::<usize>("kind.u16").unwrap(), 60_000);
    assert_eq!(metadata.require::<u64>("kind.u32").unwrap(), 4_000_000_000);
    assert_eq!(metadata.require::<i32>("kind.i32").unwrap(), -2_000_000_000);
    assert_eq!(metadata.require::<u64>("kind.u64").unwrap(), 1 << 63);
    assert_eq!(metadata.require::<f32>("kind.f32").unwrap(), 1.5);
    assert!(metadata.require::<bool>("kind.bool").unwrap());
    assert_eq!(metadata.require::<&str>("kind.string").unwrap(), "Grüße 🦙");
    assert_eq!(metadata.require::<&[String]>("array.string").unwrap(), ["<s>", "", "▁the"]);
    assert_eq!(metadata.require::<&[f32]>("array.f32").unwrap(), [0.0, -1.5]);
    assert_eq!(metadata.require::<&[i32]>("array.i32").unwrap(), [1, -2, 3]);
    assert_eq!(metadata.require::<&[bool]>("array.bool").unwrap(), [true, false]);
    let nested = gguf::Array::Array(vec![gguf::Array::I32(vec![1, 2]), gguf::Array::I32(vec![3])]);
    assert_eq!(metadata.value("array.array"), Some(&gguf::Value::Array(nested)));
}

#[test]
fn a_wrong_kind_of_metadata_names_the_key() {
    let (metadata, _) = gguf::open(&golden("types.gguf")).unwrap();
    let message = |error: LoadError| {
        let text = error.to_string();
        text.split_once("types.gguf: ").unwrap().1.to_owned()
    };
    let hint = "; convert the model again with a current converter";
    assert_eq!(
        message(metadata.require::<u32>("kind.string").unwrap_err()),
        format!("key `kind.string`: expected a 32-bit count, found string{hint}")
    );
    assert_eq!(
        message(metadata.require::<u32>("kind.i32").unwrap_err()),
        format!("key `kind.i32`: expected a 32-bit count, found i32 -2000000000{hint}")
    );
    assert_eq!(
        message(metadata.require::<&[f32]>("llama.none").unwrap_err()),
        format!("key `llama.none`: expected an array of f32, but the key is missing{hint}")
    );
    assert_eq!(metadata.get::<u32>("llama.none").unwrap(), None);
}

#[test]
fn gguf_version_2_differs_in_the_number_only() {
    let mut bytes = golden_bytes("types.gguf");
    bytes[4] = 2;
    let (_folder, path) = file("v2.gguf", &bytes);
    let (_, weights) = gguf::open(&path).unwrap();
    assert_same_values(&weights, &safetensors::open(&golden("types.safetensors")).unwrap());
}

#[test]
fn unusable_safetensors_types_matter_only_when_asked_for() {
    let weights = safetensors::open(&golden("mixed.safetensors")).unwrap();
    assert_eq!(read_f32(&weights, "f32").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(weights.find("f32").unwrap().shape, [2, 3]);
    assert_eq!(read_f32(&weights, "f16").unwrap(), [0.5, -2.0]);
    assert_eq!(read_f32(&weights, "scalar").unwrap(), [2.5]);
    assert_eq!(weights.find("scalar").unwrap().shape, [0; 0]);
    assert_eq!(read_f32(&weights, "empty").unwrap(), [0.0; 0]);
    assert_eq!(weights.bytes(weights.find("bool").unwrap()), [1, 0, 1]);
    assert_eq!(weights.find("i32").unwrap().dtype, DType::I32);
    let mut skipped: Vec<&str> =
        weights.skipped().iter().map(|entry| entry.name.as_str()).collect();
    skipped.sort_unstable();
    assert_eq!(skipped, ["f64", "i64", "u8"]);
    let error = require(&weights, "i64").unwrap_err().to_string();
    assert!(error.ends_with(
        "tensor `i64`: element type I64 is not supported; store it as F32, F16 or BF16"
    ));
    let error = read_f32(&weights, "i32").unwrap_err().to_string();
    assert!(error.contains("tensor `i32`: reading i32 as real numbers is not supported"));
    let error = require(&weights, "lm_head.weight").unwrap_err().to_string();
    assert!(error.contains("tensor `lm_head.weight` is missing; the file holds 6 tensors"));
}

#[test]
fn shards_are_one_source() {
    let folder = tempfile::TempDir::new().unwrap();
    let shard = |name: &str, tensors: &[(&str, &[f32])]| {
        let data: Vec<_> =
            tensors.iter().map(|(name, values)| (*name, little_endian(values))).collect();
        let views = data.iter().map(|(name, bytes)| {
            let shape = vec![bytes.len() / 4];
            let view =
                ::safetensors::tensor::TensorView::new(::safetensors::Dtype::F32, shape, bytes);
            (*name, view.unwrap())
        });
        let path = folder.path().join(name);
        ::safetensors::serialize_to_file(views, None, &path).unwrap();
    };
    // The second shard holds a stale copy of `a`, which the index does not place there.
    shard("one.safetensors", &[("a", &[1.0]), ("b", &[2.0, 3.0])]);
    shard("two.safetensors", &[("c", &[4.0]), ("a", &[9.0])]);
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    let places = r#""a": "one.safetensors", "b": "one.safetensors""#;
    std::fs::write(&index, format!(r#"{{"weight_map": {{{places}, "c": "two.safetensors"}}}}"#))
        .unwrap();
    let model = open(folder.path()).unwrap();
    assert_eq!(model.weights.entries().len(), 3);
    assert_eq!(read_f32(&*model.weights, "a").unwrap(), [1.0]);
    assert_eq!(read_f32(&*model.weights, "b").unwrap(), [2.0, 3.0]);
    assert_eq!(read_f32(&*model.weights, "c").unwrap(), [4.0]);
    let Description::HuggingFace { config, .. } = model.description else { panic!() };
    assert_eq!(config["model_type"], "llama");

    let error = |map: &str| {
        std::fs::write(&index, map).unwrap();
        open(folder.path()).err().unwrap().to_string()
    };
    assert!(error(r#"{"weight_map": {"d": "two.safetensors"}}"#).contains(
        "two.safetensors: tensor `d`: model.safetensors.index.json places it in this file, which lacks it"
    ));
    assert!(
        error(r#"{"weight_map": {"d": "../two.safetensors"}}"#)
            .contains("tensor `d`: \"../two.safetensors\" is no name of a file in the same folder")
    );
    assert!(error(r#"{"weight_map": {"d": "three.safetensors"}}"#).contains("cannot read"));
    assert!(error(r#"{"weight_map": 3}"#).contains("not the expected JSON"));
}

#[test]
fn both_llama2c_versions_give_the_exported_tensors() {
    let expected = safetensors::open(&golden("llama2c.safetensors")).unwrap();
    for name in ["llama2c_v0.bin", "llama2c_v1.bin"] {
        let (config, weights) = llama2c::open(&golden(name)).unwrap();
        assert_same_values(&weights, &expected);
        for (key, value) in [
            ("hidden_size", 8),
            ("intermediate_size", 12),
            ("num_hidden_layers", 2),
            ("num_attention_heads", 2),
            ("num_key_value_heads", 1),
            ("vocab_size", 5),
            ("max_position_embeddings", 4),
        ] {
            assert_eq!(config[key], value, "{key}");
        }
        assert_eq!(config["tie_word_embeddings"], false);
    }
}

#[test]
fn a_shared_llama2c_classifier_has_no_tensor_of_its_own() {
    let mut bytes = golden_bytes("llama2c_v0.bin");
    bytes[20..24].copy_from_slice(&5i32.to_le_bytes());
    bytes.truncate(bytes.len() - 5 * 8 * 4);
    let (_folder, path) = file("shared.bin", &bytes);
    let (config, weights) = llama2c::open(&path).unwrap();
    assert_eq!(config["tie_word_embeddings"], true);
    assert!(weights.find("lm_head.weight").is_none());
}

#[test]
fn real_models_open() {
    let Some(assets) = std::env::var_os("ORION_TEST_ASSETS") else {
        println!("skipped: ORION_TEST_ASSETS is not set");
        return;
    };
    let folder = std::path::Path::new(&assets).join("stories260k");
    let checkpoint = open(&folder.join("stories260K.bin")).unwrap().weights;
    let converted = open(&folder.join("stories260K.f32.built.gguf")).unwrap().weights;
    for (ours, theirs) in [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.4.self_attn.k_proj.weight", "blk.4.attn_k.weight"),
        ("model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight"),
        ("model.norm.weight", "output_norm.weight"),
    ] {
        assert_eq!(read_f32(&*checkpoint, ours).unwrap(), read_f32(&*converted, theirs).unwrap());
    }
}

#[test]
fn released_bytes_stay_readable() {
    let weights = safetensors::open(&golden("types.safetensors")).unwrap();
    let before = read_f32(&weights, "f32.weight").unwrap();
    let entry = weights.find("f32.weight").unwrap();
    weights.release(entry, 0..entry.byte_len());
    weights.release(entry, 5..usize::MAX);
    assert_eq!(read_f32(&weights, "f32.weight").unwrap(), before);
}

#[test]
fn memory_weights_replace_by_name_and_check_sizes() {
    let mut weights = MemoryWeights::default();
    weights.insert_f32("a", &[2], &[1.0, 2.0]).unwrap();
    weights.insert_f32("b", &[1, 1], &[3.0]).unwrap();
    weights.insert("a", DType::BF16, &[1], vec![0x80, 0x3f]).unwrap();
    assert_eq!(read_f32(&weights, "a").unwrap(), [1.0]);
    assert_eq!(read_f32(&weights, "b").unwrap(), [3.0]);
    assert_eq!(weights.entries().len(), 2);
    let error = weights.insert("c", DType::Q8_0, &[2, 16], vec![0; 34]).unwrap_err();
    assert_eq!(error.to_string(), "tensor `c`: q8_0 of shape [2, 16] does not take 34 bytes");
}
