"""Prepares TinyStories for `orion train`: one story a line of JSON, with the capitals that the longer file has lost.

    python3 tools/data/tinystories.py LOWER_CASED CASED VALIDATION OUT_FOLDER

LOWER_CASED  the head of the training split in lower case (4.2 MB)
CASED        the head of that head as it was written (0.9 MB); where the capitals are learned from
VALIDATION   a part of the validation split (0.8 MB)
OUT_FOLDER   gets train.jsonl and validation.jsonl

Needs Python alone. Prints how many words of CASED's last tenth, unseen by the rules that were learned from the rest, get
the right first letter back.
"""

import collections
import json
import pathlib
import re
import sys

# UTF-8 once read as Windows-1252; the last byte of closing quotes has no character there and was dropped.
MOJIBAKE = [("â€œ", '"'), ("â€™", "'"), ("â€˜", "'"), ("â€“", "-"), ("â€”", "-"), ("â€¦", "..."), ("â€", '"')]
CURLY = [("“", '"'), ("”", '"'), ("‘", "'"), ("’", "'"), ("…", "..."), ("–", "-"), ("—", "-")]
WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
DETERMINERS = set("a an the her his my your our their its this that these those every each some any no one's".split())


def mend(text):
    """The text with plain quotes and without what is left of broken characters."""
    for broken, meant in MOJIBAKE + CURLY:
        text = text.replace(broken, meant)
    return re.sub(r"[^\x20-\x7e\n]", "", text)


def stories(text):
    """A line break alone parts two stories, unless a blank before it shows that it parts two paragraphs."""
    for story in re.split(r"(?<![\n ])\n(?!\n)", text):
        lines = [re.sub(r" +", " ", line).strip() for line in story.split("\n")]
        story = "\n\n".join(line for line in lines if line)
        # What was cut off at either end of the file is no story.
        if len(story) > 100 and story[-1] in ".!?\"'":
            yield story


def validation_stories(text):
    """Stories of a text that parts stories as it parts paragraphs: a story begins with one of its usual beginnings."""
    story = []
    for paragraph in re.split(r"\n+", text):
        opens = re.match(r"(?:once|one (?:day|sunny|morning|night)|there (?:was|once))\b", paragraph, re.IGNORECASE)
        # "One day" also opens a second paragraph, but hardly a last one.
        if story and opens and not (paragraph.lower().startswith("one ") and len(story) == 1):
            yield "\n\n".join(story)
            story = []
        if paragraph.strip():
            story.append(re.sub(r" +", " ", paragraph).strip())


def words(story):
    """Every word's match, whether it surely opens a sentence, what stands before it and what after."""
    found = list(WORD.finditer(story))
    end, last = 0, ""
    for word, follower in zip(found, found[1:] + [None]):
        between = story[end : word.start()]
        # After a question or a cry in quotes a sentence goes on ("Why?" he asked) or begins: a matter of its words.
        quoted = re.search(r"[!?][\"'] $", between) is not None
        opens = not quoted and re.search(r"^$|[.!?:][\"')]*\s|\n|[,:]\s*\"$", between if end else "") is not None
        end = word.end()
        after = story[end : end + 1]
        after = follower.group().lower() if follower and after == " " else after
        yield word, opens, '"' if quoted else last, after
        last = word.group().lower()


class Capitals:
    """Which words are written with a capital inside a sentence: by word and neighbours, then by word, as often seen."""

    def __init__(self, cased):
        self.seen = collections.defaultdict(lambda: [0, 0])
        for story in cased:
            for word, opens, before, after in words(story):
                text = word.group()
                if not opens:
                    for key in self.keys(text.lower(), before, after):
                        self.seen[key][text[0].isupper()] += 1

    @staticmethod
    def keys(word, before, after):
        role = "determiner" if before in DETERMINERS else before if before == '"' else ""
        mark = after if not after.isalpha() else ""
        return (word, before, after), (word, role, after), (word, role, mark), (word, role), (word,)

    def restore(self, story):
        """The story with capitals."""
        story = story.lower()
        # A name is introduced as one, whatever the word means elsewhere.
        named = set(re.findall(r"\b(?:named|name was|name is|i'm|mr\.|mrs\.|miss) ([a-z]+)", story)) - DETERMINERS
        named = {name for name in named if self.seen.get((name,), [0, 1])[1] > 0 or (name,) not in self.seen}
        out, end = [], 0
        for word, opens, before, after in words(story):
            text = word.group()
            upper = opens or text == "i" or text.startswith("i'")
            if text in named and before not in DETERMINERS:
                upper = True
            elif not upper:
                for key in self.keys(text, before, after):
                    lower_count, upper_count = self.seen.get(key, (0, 0))
                    if lower_count + upper_count >= (3 if len(key) > 1 else 1):
                        upper = upper_count > lower_count
                        break
            out += [story[end : word.start()], text[0].upper() + text[1:] if upper else text]
            end = word.end()
        return "".join(out) + story[end:]


def agreement(found, expected):
    """Words with the same first letter, and all words."""
    pairs = [(a, b) for x, y in zip(found, expected) for a, b in zip(WORD.findall(x), WORD.findall(y))]
    return sum(a[0] == b[0] for a, b in pairs), len(pairs)


def write(path, texts):
    with open(path, "w", encoding="utf8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    print(f"{path}: {len(texts)} stories, {sum(map(len, texts))} characters")


def main():
    lower, cased, validation = (mend(pathlib.Path(path).read_text("utf8")) for path in sys.argv[1:4])
    out = pathlib.Path(sys.argv[4])
    out.mkdir(parents=True, exist_ok=True)
    head = list(stories(cased))
    most = len(head) * 9 // 10
    same, all_words = agreement(map(Capitals(head[:most]).restore, head[most:]), head[most:])
    print(f"capitals: {same} of {all_words} words as written ({same / all_words:.2%})")
    capitals = Capitals(head)
    written = {story.lower(): story for story in head}
    train = [written.get(story) or capitals.restore(story) for story in stories(lower)]
    write(out / "train.jsonl", list(dict.fromkeys(train)))
    write(out / "validation.jsonl", list(validation_stories(validation))[1:])


if __name__ == "__main__":
    main()
