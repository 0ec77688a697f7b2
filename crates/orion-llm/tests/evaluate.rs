//! The loss of a model on a text against PyTorch's, on the tiny models whose losses `tools/golden` has recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orion_compiler::DType;
use orion_llm::Checkpoint;
use orion_llm::data::{TokenFile, TokenFileOptions, TokenWidth, TokenWriter};
use orion_llm::evaluate::evaluate;
use orion_runtime::cpu::Cpu;
use safetensors::SafeTensors;

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(model)
}

#[test]
fn the_loss_on_a_text_is_that_of_pytorch() {
    for model in ["gpt2", "llama-tied"] {
        let bytes = std::fs::read(folder(model).join("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let ids = golden.tensor("input_ids").unwrap();
        let length = ids.shape()[1];
        let ids: Vec<u32> =
            ids.data().as_chunks::<8>().0.iter().map(|&x| i64::from_le_bytes(x) as u32).collect();
        let expected = golden.tensor("loss").unwrap();
        let expected = f64::from(f32::from_le_bytes(expected.data().try_into().unwrap()));

        let checkpoint = Checkpoint::open(&folder(model), Some(DType::F32)).unwrap();
        let vocabulary = checkpoint.model.dimensions().vocabulary;
        let directory = tempfile::tempdir().unwrap();
        // Every row is a text of its own, of which all tokens but the first are predicted.
        let (mut nats, mut tokens) = (0.0, 0);
        for row in ids.chunks(length) {
            let path = directory.path().join("row.bin");
            let mut writer = TokenWriter::create(&path, TokenWidth::U16, vocabulary).unwrap();
            writer.write(row).unwrap();
            writer.finish(None, None).unwrap();
            let file = TokenFile::open(&path, TokenFileOptions::default()).unwrap();
            let (cpu, size) = (Cpu::new(2), (length - 1, usize::MAX));
            let weights = Arc::clone(&checkpoint.weights);
            let model = &*checkpoint.model;
            let found = evaluate(model, &weights, &cpu, &file, size, 2, &mut |_| {}).unwrap();
            nats += found.nats;
            tokens += found.tokens;
            // Windows that are not full, and texts that are cut off, are predicted, too.
            for (sequence, most) in [(length + 5, usize::MAX), (length - 1, 3)] {
                let size = (sequence.min(64), most);
                let part = evaluate(model, &weights, &cpu, &file, size, 2, &mut |_| {}).unwrap();
                assert_eq!(part.tokens, most.min(length - 1) as u64);
                if most > length {
                    assert!((part.nats - found.nats).abs() < 1e-4, "{part:?} for {found:?}");
                }
            }
        }
        let loss = nats / tokens as f64;
        assert!((loss - expected).abs() < 2e-6 * expected, "{model}: {loss} for {expected}");
    }
}
