//! Reads the tokenizer out of a trusted GGUF file, for tests of the tokenizer alone.

use std::collections::HashMap;
use std::path::Path;

use orion_llm::tokenizer::GgufVocabulary;

enum Value {
    Number(f64),
    Text(String),
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

struct Reader {
    bytes: Vec<u8>,
    position: usize,
}

impl Reader {
    fn take(&mut self, count: usize) -> &[u8] {
        self.position += count;
        &self.bytes[self.position - count..self.position]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let length = self.u64() as usize;
        String::from_utf8_lossy(self.take(length)).into_owned()
    }

    fn number(&mut self, kind: u32) -> f64 {
        match kind {
            0 | 7 => self.take(1)[0] as f64,
            1 => self.take(1)[0] as i8 as f64,
            4 => self.u32() as f64,
            5 => self.u32() as i32 as f64,
            6 => f32::from_bits(self.u32()) as f64,
            10 => self.u64() as f64,
            other => panic!("type {other} in tokenizer metadata"),
        }
    }

    fn value(&mut self) -> Value {
        match self.u32() {
            8 => Value::Text(self.text()),
            9 => {
                let (kind, count) = (self.u32(), self.u64());
                if kind == 8 {
                    Value::Texts((0..count).map(|_| self.text()).collect())
                } else {
                    Value::Numbers((0..count).map(|_| self.number(kind)).collect())
                }
            }
            kind => Value::Number(self.number(kind)),
        }
    }
}

/// The vocabulary of a GGUF file.
pub fn read_vocabulary(path: &Path) -> GgufVocabulary {
    let mut reader = Reader { bytes: std::fs::read(path).unwrap(), position: 16 };
    let count = reader.u64();
    let values: HashMap<String, Value> =
        (0..count).map(|_| (reader.text(), reader.value())).collect();
    let text = |key: &str| match values.get(key) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let texts = |key: &str| match values.get(key) {
        Some(Value::Texts(texts)) => texts.clone(),
        _ => Vec::new(),
    };
    let numbers = |key: &str| match values.get(key) {
        Some(Value::Numbers(numbers)) => numbers.clone(),
        _ => Vec::new(),
    };
    let number = |key: &str| match values.get(key) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let id = |key: &str| number(key).map(|id| id as u32);
    let flag = |key: &str| number(key).map(|flag| flag != 0.0);
    GgufVocabulary {
        model: text("tokenizer.ggml.model").unwrap(),
        pre: text("tokenizer.ggml.pre"),
        tokens: texts("tokenizer.ggml.tokens"),
        scores: numbers("tokenizer.ggml.scores").into_iter().map(|score| score as f32).collect(),
        token_types: numbers("tokenizer.ggml.token_type").iter().map(|&kind| kind as i32).collect(),
        merges: texts("tokenizer.ggml.merges"),
        bos: id("tokenizer.ggml.bos_token_id"),
        eos: id("tokenizer.ggml.eos_token_id"),
        unknown: id("tokenizer.ggml.unknown_token_id"),
        padding: id("tokenizer.ggml.padding_token_id"),
        add_bos: flag("tokenizer.ggml.add_bos_token"),
        add_eos: flag("tokenizer.ggml.add_eos_token"),
        add_space_prefix: flag("tokenizer.ggml.add_space_prefix"),
        chat_template: text("tokenizer.chat_template"),
    }
}
