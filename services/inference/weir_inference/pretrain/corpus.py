"""A folder of plain texts → shuffled training documents, whole books held out."""

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BEGIN, END = "<|begin|>", "<|end|>"
USER, ASSISTANT, SYSTEM = "<|user|>", "<|assistant|>", "<|system|>"
SPECIAL_TOKENS = (BEGIN, END, USER, ASSISTANT, SYSTEM)
CHAT_TEMPLATE = (
    "<|begin|>{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

STORY_SEPARATOR = "<|endoftext|>"
STORIES_HELD_OUT_EVERY = 20
STORY_REPEATS = 4
CHAPTER_CHARS = 3_000
_AFTER_ARTICLE = re.compile(
    r"\b(?:the|a|an|The|A|An) ([a-z]{3,12})(?=[.,!?;]| was| had| said| and| in | on )"
)


@dataclass(frozen=True)
class Corpus:
    """Texts to learn from and texts never shown: books as chapters, and short stories."""

    chapters: tuple[str, ...]
    stories: tuple[str, ...]
    held_out: dict[str, str]

    def documents(self, epoch: int, seed: int) -> Iterator[str]:
        """One epoch's documents in a seeded order, each as plain text or as a chat.

        Short stories come `STORY_REPEATS` times, because their grammar is the plainest.
        """
        rng = random.Random(f"{seed}/{epoch}")
        texts = [(t, False) for t in self.chapters]
        texts += [(t, True) for t in self.stories] * STORY_REPEATS
        rng.shuffle(texts)
        for text, is_story in texts:
            as_chat = rng.random() < (0.6 if is_story else 0.15)
            yield as_chat_document(text, rng) if as_chat else f"{BEGIN}{text}{END}"


def read_corpus(folder: Path, held_out_books: tuple[str, ...], skip: tuple[str, ...]) -> Corpus:
    """Read every `*.txt`: a file with story separators is stories, any other a book.

    A book's first two lines (title and author) are dropped. `held_out_books` and `skip` are parts
    of file names.
    """
    chapters: list[str] = []
    stories: list[str] = []
    held_out: dict[str, str] = {}
    for file in sorted(folder.glob("*.txt")):
        if any(name in file.stem for name in skip):
            continue
        text = file.read_text(encoding="utf-8")
        if STORY_SEPARATOR in text:
            told = [s.strip() for s in text.split(STORY_SEPARATOR) if len(s.strip()) > 200]
            stories += [s for i, s in enumerate(told) if i % STORIES_HELD_OUT_EVERY]
            held_out[file.stem] = "\n\n".join(told[::STORIES_HELD_OUT_EVERY])
            continue
        body = "\n".join(text.split("\n")[2:]).strip()
        if any(name in file.stem for name in held_out_books):
            held_out[file.stem] = body
        else:
            chapters += split_chapters(body)
    if not chapters and not stories:
        raise ValueError(f"{folder}: no *.txt to learn from")
    return Corpus(tuple(chapters), tuple(stories), held_out)


def split_chapters(body: str) -> list[str]:
    """Runs of whole paragraphs of about `CHAPTER_CHARS` characters."""
    chapters: list[str] = []
    run: list[str] = []
    for paragraph in filter(None, (p.strip() for p in body.split("\n\n"))):
        run.append(paragraph)
        if sum(map(len, run)) >= CHAPTER_CHARS:
            chapters.append("\n\n".join(run))
            run = []
    return [*chapters, "\n\n".join(run)] if run else chapters


def as_chat_document(text: str, rng: random.Random) -> str:
    """The text as the answer to a request for it: by its words, or by its opening."""
    words = things_in(text)
    if words and rng.random() < 0.5:
        chosen = rng.sample(words, k=min(len(words), rng.randint(1, 2)))
        about = " and ".join(f"{'an' if w[0] in 'aeiou' else 'a'} {w}" for w in chosen)
        verb = rng.choice(("Tell me a tale", "Tell me a story", "Write a story", "Tell a story"))
        return f"{BEGIN}{USER}{verb} about {about}.{END}{ASSISTANT}{text}{END}"
    opening, rest = split_opening(text, rng.randint(1, 3))
    if not rest:
        return f"{BEGIN}{text}{END}"
    return f"{BEGIN}{USER}{opening}{END}{ASSISTANT}{rest}{END}"


def things_in(text: str) -> list[str]:
    """Up to four words that follow an article more than once: mostly what the text is about."""
    counts = Counter(_AFTER_ARTICLE.findall(text))
    return [word for word, n in counts.most_common(4) if n > 1]


def split_opening(text: str, n_sentences: int) -> tuple[str, str]:
    """The first sentences, and what follows them."""
    ends = [m.end() for m in re.finditer(r"[.!?]\"?\s", text)][:n_sentences]
    if len(ends) < n_sentences:
        return text, ""
    return text[: ends[-1]].strip(), text[ends[-1] :].strip()
