"""Trains a byte-level BPE tokenizer with the `tokenizers` library on a small text of our own.

    python tools/golden/tokenizer_training.py

writes crates/orion-llm/tests/golden/tokenizer_training/: the text, the library's tokenizer.json and ids of a few
strings. Versions are in requirements.txt.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

OUT = Path(__file__).resolve().parents[2] / "crates/orion-llm/tests/golden/tokenizer_training"

TEXT = """The hunter of the winter sky carries three stars in his belt; the hunter's belt is the winter's clock.
A sailor who knows the stars knows the way, and the way knows the sailor: hahahaha, banana, ananas, aaaaaaa.
Numbers: 0 1 2 3 10 42 100 365 1024 65536; 3.14159 is not 22/7, and 1024 is 1024.
Der Jäger trägt drei Sterne am Gürtel. Größe, Übung, Äpfel und Öl; der Jäger übt.
Охотник несёт три звезды на поясе, на поясе охотника. 猟師は帯に三つの星をつけている。星は三つ。
def brightest(stars):
    return max(stars, key=lambda star: star.magnitude)

def faintest(stars):
    return min(stars, key=lambda star: star.magnitude)
"I'll go, they've gone, she'd know, we're late," he said.  Two  spaces   three.\t\ttabs\r\nand 🦙🦙 🦙
"""

TEXTS = [
    "", " ", "   ", "\t\n \r\n", "The winter sky", "don't they've I'LL", "nai\u0308ve café", "Größe", "звёзды на поясе",
    "三つの星 月亮", "한국어", "👍🏽 👩‍👩‍👧‍👦 🇫🇷 🦙", "\u200b\u200d\ufeff", "\u00a0\u3000\u2028", "a\u0000b\u0085",
    "\ufffd \uffff \U0010ffff", "Ġ Ċ Äł", "<|endoftext|>", "aaaaaaaa banananas", "    return max(stars)\n\n\n", "x" * 40,
]


def main():
    OUT.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        min_frequency=2,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    assert tokenizer.get_vocab_size() == 380
    with open(OUT / "text.txt", "w", encoding="utf-8", newline="") as file:
        file.write(TEXT)
    model = json.loads(tokenizer.to_str())["model"]
    # Control tokens in texts are spelled out, as in training data.
    tokenizer.encode_special_tokens = True
    ids = [{"text": text, "ids": tokenizer.encode(text).ids} for text in TEXTS]
    golden = {"vocab": model["vocab"], "merges": model["merges"], "ids": ids}
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (OUT / "golden.json").write_text(text + "\n", encoding="utf-8")


main()
