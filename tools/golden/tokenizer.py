"""Trains tiny tokenizers of every kind on a text of our own and records how the reference
libraries (sentencepiece, tokenizers) encode strings with them.

    python tools/golden/tokenizer.py [MISTRAL_MODEL]

writes crates/orion-llm/tests/golden/tokenizer/. With MISTRAL_MODEL, a 32k SentencePiece model that
is not part of the repository, its ids are recorded too. Versions are in requirements.txt.
"""

import json
import random
import sys
from pathlib import Path

import sentencepiece
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = Path(__file__).resolve().parents[2] / "crates/orion-llm/tests/golden/tokenizer"

CORPUS = """
The hunter of the winter sky carries three stars in his belt. A sailor who knows them knows the way.
Numbers: 0 1 2 3 10 42 100 365 1024 65536; fractions ½ ¼; and 3.14159 is not 22/7.
Der Jäger trägt drei Sterne am Gürtel. Größe, Übung, Äpfel und Öl.
Le chasseur porte trois étoiles à sa ceinture ; ça, c'est l'été où naître.
Охотник несёт три звезды на поясе. 猟師は帯に三つの星をつけている。 星星 月亮 太阳
def brightest(stars):\n    return max(stars, key=lambda star: star.magnitude)\n
He said: "I'll go, they've gone, she'd know, we're late, it's his, don't!"  Two  spaces   three.
email@example.org, http://example.org/a?b=c&d=e#f, C:\\Temp, {"key": [1, 2, {}]}, x += 1; y -= 2;
"""

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\t\n", " \n ", "a", " a", "a ", "  a  b  ",
    "The hunter of the winter sky", " leading and trailing ", "CamelCaseAndSNAKE_CASE",
    "don't they've I'LL WE'RE it's", "0123456789", "1 22 333 4444 55555", "3.14159e-10", "½ ¼ ² ③",
    "naïve café", "nai\u0308ve cafe\u0301", "ﬁ ﬂ ① Ⅳ ｆｕｌｌ", "Größe Übung ẞ", "звёзды на поясе",
    "三つの星 月亮", "한국어 문장", "ไทย ภาษา", "עברית العربية", "👍🏽 👩‍👩‍👧‍👦 🇫🇷", "🦙🦙", "\u200b\u200d\ufeff",
    "\u00a0nbsp\u00a0", "\u3000ideographic\u3000", "\u2028line\u2029paragraph", "a\u0000b", "\u0001\u007f\u0085",
    "\ufffd \uffff \U0010ffff", "▁ ▁▁ a▁b", "Ġ Ċ Äł", "<s> </s> <unk> <0x41> <pad>", "<|belt|> <star> x<star>y",
    "if (x == 1) {\n\treturn y;\n}\n\n\n", "    indented\n        more", "a" * 100, "ab" * 50, " " * 50 + "x",
    "\r\n windows \r\n lines\r", "...!!!???", "---- ====", "__init__", "“quotes” ‘single’ — dash …",
    "http://example.org/a?b=c&d=e#f", "e\u0301\u0301\u0301", "İıſK", "ǅ Ǆ ǆ", "𝒳𝔘 𐍈", "\U0001F1E6", "x\u0338",
]


def random_texts():
    alphabet = list(" \n\t.,'aeéhßstТ星🦙1①▁") + ["the", " hunter", "  ", "stars", "ﬁ", "\u0301", "<star>"]
    choose = random.Random(20261123)
    return ["".join(choose.choices(alphabet, k=choose.randint(1, 24))) for _ in range(60)]


def sentencepiece_model(name, **options):
    sentences = [line for line in CORPUS.splitlines() if line.strip()]
    prefix = OUT / name
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=str(prefix), hard_vocab_limit=False,
        minloglevel=2, **options,
    )
    prefix.with_suffix(".vocab").unlink()
    return sentencepiece_ids(prefix.with_suffix(".model"))


def sentencepiece_ids(path):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return lambda text: processor.encode(text)


def library_tokenizer(name, tokenizer):
    tokenizer.save(str(OUT / f"{name}.json"), pretty=False)
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def byte_level(vocab_size, **options):
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, **options
    )
    return tokenizer, trainer


def gpt2_like():
    tokenizer, trainer = byte_level(420)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator([CORPUS], trainer)
    ids = library_tokenizer("gpt2", tokenizer)
    files = OUT / "gpt2"
    files.mkdir(exist_ok=True)
    tokenizer.model.save(str(files))
    return ids


def composed():
    """NFC, digits one by one, added tokens that strip and that stand alone, BOS by template."""
    added = [
        tokenizers.AddedToken("<|belt|>", special=True),
        tokenizers.AddedToken("<star>", lstrip=True, rstrip=True, single_word=True, normalized=False),
    ]
    tokenizer, trainer = byte_level(420, special_tokens=["<|begin|>"])
    tokenizer.normalizer = normalizers.NFC()
    split = tokenizers.Regex(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Split(split, "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.train_from_iterator([CORPUS], trainer)
    tokenizer.add_tokens(added[1:])
    tokenizer.add_special_tokens(added[:1])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    return library_tokenizer("composed", tokenizer)


def metaspace():
    tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
    ])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special[:3], show_progress=False)
    tokenizer.train_from_iterator([line.replace(" ", " ▁") for line in CORPUS.split("\n")], trainer)
    data = json.loads(tokenizer.to_str())
    vocabulary = data["model"]["vocab"]
    for piece in special[3:]:
        vocabulary[piece] = len(vocabulary)
    return library_tokenizer("metaspace", tokenizers.Tokenizer.from_str(json.dumps(data)))


def unigram_json():
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=250, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([CORPUS], trainer)
    return library_tokenizer("unigram", tokenizer)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rules = OUT / "rules.tsv"
    # ﬁ → fi, ① → 1, ideographic space → space, é decomposed → composed, zero-width space → nothing.
    rules.write_text("FB01\t66 69\n2460\t31\n3000\t20\n65 301\tE9\n200B\t\n9\t20\nA\t20\n")
    identity = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
    kinds = {
        "bpe.model": sentencepiece_model(
            "bpe", model_type="bpe", vocab_size=480, byte_fallback=True, character_coverage=0.98, **identity
        ),
        "bpe_normalized.model": sentencepiece_model(
            "bpe_normalized", model_type="bpe", vocab_size=300, normalization_rule_tsv=str(rules),
            user_defined_symbols=["<star>", "  ", "hunter"],
        ),
        "unigram.model": sentencepiece_model(
            "unigram", model_type="unigram", vocab_size=250, normalization_rule_tsv=str(rules),
            user_defined_symbols=["<star>"],
        ),
        "unigram_bytes.model": sentencepiece_model(
            "unigram_bytes", model_type="unigram", vocab_size=500, byte_fallback=True,
            add_dummy_prefix=False, treat_whitespace_as_suffix=True, character_coverage=0.98, **identity
        ),
        "gpt2.json": gpt2_like(),
        "composed.json": composed(),
        "metaspace.json": metaspace(),
        "unigram.json": unigram_json(),
    }
    if len(sys.argv) > 1:
        kinds["mistral"] = sentencepiece_ids(sys.argv[1])
    rules.unlink()
    texts = TEXTS + random_texts()
    ids = {kind: [encode(text) for text in texts] for kind, encode in kinds.items()}
    rows = [f"{json.dumps(kind)}: [\n" + ",\n".join(map(json.dumps, rows)) + "]" for kind, rows in ids.items()]
    golden = '{"texts": [\n' + ",\n".join(map(json.dumps, texts)) + '],\n"ids": {' + ",\n".join(rows) + "}}\n"
    (OUT / "ids.json").write_text(golden)


main()
