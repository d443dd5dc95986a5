"""What a folder of texts becomes before it is learnt from."""

import random
from pathlib import Path

import pytest

from weir_inference.pretrain.corpus import (
    ASSISTANT,
    BEGIN,
    END,
    STORIES_HELD_OUT_EVERY,
    as_chat_document,
    read_corpus,
    split_chapters,
    split_opening,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paragraphs = "\n\n".join(
        f"Chapter {i}. The fox ran off. " + "It was late. " * 40 for i in range(9)
    )
    (tmp_path / "kept.txt").write_text(f"TITLE\nAUTHOR\n{paragraphs}")
    (tmp_path / "secret-book.txt").write_text(f"TITLE\nAUTHOR\nNever shown. {paragraphs}")
    (tmp_path / "verses.txt").write_text("TITLE\nAUTHOR\nSkipped altogether.")
    stories = [f"Story {i}. The dog was glad. " + "They played. " * 30 for i in range(40)]
    (tmp_path / "stories.txt").write_text("<|endoftext|>".join(stories))
    return tmp_path


def test_held_out_books_and_stories_are_never_among_the_documents(folder: Path) -> None:
    corpus = read_corpus(folder, ("secret-book",), ("verses",))
    documents = "".join(corpus.documents(epoch=0, seed=1))
    assert "Never shown" not in documents
    assert "Skipped altogether" not in documents
    assert "TITLE" not in documents
    assert "Never shown" in corpus.held_out["secret-book"]
    for i in range(0, 40, STORIES_HELD_OUT_EVERY):
        assert f"Story {i}." in corpus.held_out["stories"]
        assert f"Story {i}." not in documents


def test_an_epoch_is_the_same_again_with_the_same_seed(folder: Path) -> None:
    corpus = read_corpus(folder, ("secret-book",), ("verses",))
    assert list(corpus.documents(2, seed=5)) == list(corpus.documents(2, seed=5))
    assert list(corpus.documents(2, seed=5)) != list(corpus.documents(3, seed=5))


def test_an_empty_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \*\.txt to learn from"):
        read_corpus(tmp_path, (), ())


def test_chapters_keep_every_paragraph() -> None:
    paragraphs = [f"Paragraph {i}. " + "words " * 100 for i in range(20)]
    chapters = split_chapters("\n\n".join(paragraphs))
    assert "\n\n".join(chapters).split("\n\n") == [p.strip() for p in paragraphs]


def test_a_chat_document_opens_and_ends_as_the_chat_template_does() -> None:
    text = "The fox ran. The fox was tired. The fox had a rest. Then it slept."
    for seed in range(20):
        document = as_chat_document(text, random.Random(seed))
        assert document.startswith(BEGIN)
        assert document.endswith(END)
        assert document.count(ASSISTANT) == 1


def test_an_opening_is_cut_after_whole_sentences() -> None:
    assert split_opening("One came. Two left! Three?", 2) == ("One came. Two left!", "Three?")
    assert split_opening("No end", 1) == ("No end", "")
