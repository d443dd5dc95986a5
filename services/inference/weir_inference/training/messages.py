"""Short texts in many languages: the messages of free software, translated by its users.

Read from catalogues inside wheels of PyPI, all under BSD or MIT licences. Held-out texts are whole
messages: the translations of one English message are all on one side of the split.
"""

import ast
import gettext
import hashlib
import io
import re
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from weir_inference.training.wheels import wheel

PACKAGES = {
    "django": "5.2.19",
    "djangorestframework": "3.18.3",
    "django-allauth": "65.21.1",
    "django-cms": "5.1.3",
    "sphinx": "9.0.4",
    "wagtail": "8.0.1",
}
EXAMPLES = ("spacy", "3.8.18")
LANGUAGES = [
    "ar", "bg", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id",
    "it", "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
]  # fmt: skip
OTHER_NAMES = {"nb": "no"}  # Bokmål stands for Norwegian
CATALOGUE = re.compile(r"/locales?/([a-z]{2})(?:_\w+)?/LC_MESSAGES/[^/]*\.mo$")
MARKUP = re.compile(
    r"<[^>]*>|%\([^)]*\)[-#0-9. ]*[a-z]|%[-0-9.]*[sdrif]|\{[^}]*\}|&\w+;|https?://\S+"
)
BYTES_MIN = 12
HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Message:
    """A text in a language."""

    text: str
    language: str


def read_messages() -> tuple[list[Message], list[Message]]:
    """What to learn from, and what is held out: no text of which is learnt from, even nearly."""
    learn: dict[tuple[str, str], Message] = {}
    held_out: dict[tuple[str, str], Message] = {}
    for name, version in PACKAGES.items():
        with wheel(name, version) as package:
            for english, message in translations(package):
                part = held_out if is_held_out(english) else learn
                part.setdefault((message.language, plain(message.text)), message)
    known = {text for _, text in learn}
    return list(learn.values()), [m for (_, text), m in held_out.items() if text not in known]


def translations(package: zipfile.ZipFile) -> Iterator[tuple[str, Message]]:
    """Every message with its English original, which is itself given once a catalogue."""
    for file in sorted(package.namelist()):
        found = CATALOGUE.search(file)
        language = OTHER_NAMES.get(found[1], found[1]) if found else ""
        if language not in LANGUAGES or language == "en":
            continue
        catalogue = gettext.GNUTranslations(io.BytesIO(package.read(file)))
        for key, translation in vars(catalogue)["_catalog"].items():
            english = (key[0] if isinstance(key, tuple) else key).split("\x04")[-1]
            ours, theirs = cleaned(english), cleaned(translation)
            # The key "" holds the catalogue's header.
            if key and long_enough(theirs) and plain(theirs) != plain(ours):
                yield english, Message(theirs, language)
                if long_enough(ours):
                    yield english, Message(ours, "en")


def is_held_out(english: str) -> bool:
    digest = hashlib.sha256(plain(cleaned(english)).encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def cleaned(text: str) -> str:
    """Without markup and places for values, on one line."""
    return " ".join(MARKUP.sub(" ", unicodedata.normalize("NFC", text)).split())


def plain(text: str) -> str:
    """Letters only, in lower case: texts that agree here are the same."""
    return "".join(c for c in text.lower() if c.isalpha())


def long_enough(text: str) -> bool:
    return len(plain(text).encode()) >= BYTES_MIN


def example_sentences() -> list[Message]:
    """spaCy's example sentences (MIT): news and questions, another kind of text than messages."""
    messages: list[Message] = []
    with wheel(*EXAMPLES) as package:
        for file in sorted(package.namelist()):
            found = re.fullmatch(r"spacy/lang/([a-z]+)/examples\.py", file)
            language = OTHER_NAMES.get(found[1], found[1]) if found else ""
            if language in LANGUAGES:
                source = package.read(file).decode()
                texts = ast.literal_eval(source[source.index("sentences = ") + 12 :].strip())
                messages += (Message(text, language) for text in texts)
    return messages
