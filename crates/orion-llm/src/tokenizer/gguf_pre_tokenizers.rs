//! The pre-tokenizers that GGUF files name in `tokenizer.ggml.pre`: which expressions each name
//! stands for. Names and expressions are those of the models' own tokenizer.json files.

use super::pre_tokenizer::GPT2_EXPRESSION as GPT2;

/// What a name stands for.
pub(super) struct GgufPreTokenizer {
    /// The first is the one that is written.
    names: &'static [&'static str],
    /// Applied one after the other.
    pub(super) expressions: &'static [&'static str],
    /// A word that is a token is taken whole, without merging.
    pub(super) whole_words: bool,
    /// The file's default for `tokenizer.ggml.add_bos_token`.
    pub(super) add_bos: bool,
}

/// Looks up a name.
pub(super) fn find(name: &str) -> Option<&'static GgufPreTokenizer> {
    TABLE.iter().find(|entry| entry.names.contains(&name))
}

/// The name to write for a pre-tokenizer; `None` if GGUF has none for it.
pub(super) fn name_of(expressions: &[String], whole_words: bool) -> Option<&'static str> {
    let is_it = |entry: &&GgufPreTokenizer| {
        entry.whole_words == whole_words && expressions.iter().eq(entry.expressions)
    };
    TABLE.iter().find(is_it)?.names.first().copied()
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const SEED: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// The cased letters of DeepSeek's list: Unicode's, but neither Georgian nor mathematical ones.
const CASED_WORD: &str = r"\s?[\p{Lu}\p{Ll}\p{Lt}&&[^\u{10D0}-\u{10FF}\u{1D400}-\u{1D7FF}]]+";
const HAN_KANA_HANGUL: &str = r"[一-龥ࠀ-一가-퟿]+";
const HAN_KANA: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

const PLAIN: GgufPreTokenizer =
    GgufPreTokenizer { names: &[], expressions: &[], whole_words: false, add_bos: false };

const TABLE: &[GgufPreTokenizer] = &[
    GgufPreTokenizer {
        names: &["default"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
        ],
        expressions: &[GPT2],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        expressions: &[r"\p{N}", GPT2],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        expressions: &[LLAMA3],
        whole_words: true,
        add_bos: true,
    },
    GgufPreTokenizer {
        names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        expressions: &[LLAMA3],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "megrez",
            "stablelm2",
            "hunyuan",
            "grok-2",
            "solar-open",
        ],
        expressions: &[QWEN2],
        ..PLAIN
    },
    GgufPreTokenizer { names: &["qwen35"], expressions: &[QWEN35], ..PLAIN },
    GgufPreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2", "minimax-m2"],
        expressions: &[GPT4O],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &["tekken"],
        expressions: &[TEKKEN],
        whole_words: true,
        add_bos: true,
    },
    GgufPreTokenizer {
        names: &["falcon"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &["deepseek-llm"],
        expressions: &[
            r"[\r\n]",
            CASED_WORD,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            HAN_KANA_HANGUL,
            r"\p{N}+",
        ],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &["deepseek-coder"],
        expressions: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_KANA_HANGUL, r"\p{N}"],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        expressions: &[r"\p{N}{1,3}", HAN_KANA, DEEPSEEK3],
        ..PLAIN
    },
    GgufPreTokenizer {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        expressions: &[BAILING],
        ..PLAIN
    },
    GgufPreTokenizer { names: &["seed-coder"], expressions: &[SEED], ..PLAIN },
    GgufPreTokenizer { names: &["exaone-moe"], expressions: &[EXAONE_MOE], ..PLAIN },
    GgufPreTokenizer {
        names: &["bloom", "poro-chat", "gpt3-finnish"],
        expressions: &[BLOOM],
        ..PLAIN
    },
    GgufPreTokenizer { names: &["viking"], expressions: &[BLOOM, r"\p{N}"], ..PLAIN },
];

#[cfg(test)]
mod tests {
    use super::super::pre_tokenizer::PreTokenizer;
    use super::*;

    #[test]
    fn every_expression_compiles() {
        for entry in TABLE {
            let compiled = PreTokenizer::new(entry.expressions.iter().copied());
            assert!(compiled.is_ok(), "{:?}", entry.names);
        }
    }
}
