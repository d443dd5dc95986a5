import gzip
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from weir_cli.evaluation import built_in
from weir_cli.evaluation.built_in import WINDOW_CHARS, windows
from weir_cli.evaluation.examples import Classify, Continue, Prefer, Read, Suite
from weir_cli.evaluation.suites import open_suite, sample
from weir_cli.failure import Failure

ASSETS = Path(os.environ.get("WEIR_EVAL_DATA", Path(__file__).parents[5] / "shared/assets"))


def write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def test_mnist_is_read_as_pictures(tmp_path: Path) -> None:
    pixels = bytes(range(256)) * 3 + bytes(16)
    folder = tmp_path / "eval/mnist"
    write(folder / "t10k-images-idx3-ubyte.gz", gzip.compress(bytes(16) + pixels))
    write(folder / "t10k-labels-idx1-ubyte.gz", gzip.compress(bytes(8) + b"\x07"))
    [example] = open_suite("mnist", tmp_path).examples
    assert isinstance(example, Classify) and isinstance(example.item, bytes)
    picture = Image.open(io.BytesIO(example.item))
    assert (picture.size, picture.mode, picture.tobytes()) == ((28, 28), "L", pixels)
    assert (example.kind, example.labels) == ("images", frozenset({"7"}))


def test_texts_are_read_as_they_were_published(tmp_path: Path) -> None:
    write(tmp_path / "eval/sms-spam/sms_spam.csv", 'text,label\n"""Win, now!""",1\n"""Hi""",0\n')
    write(tmp_path / "prompts/mgsm_en.tsv", "How many\x85eggs?\t18\n")
    for name in ("es", "ja", "ru", "zh"):
        write(tmp_path / f"prompts/mgsm_{name}.tsv", f"{name}\t1\n")
    passage = {"context": "He did not", "continuation": "care"}
    write(tmp_path / "eval/lambada_openai.jsonl", json.dumps(passage))
    pair = {"sentence_good": "He is.", "sentence_bad": "He are."}
    write(tmp_path / "eval/blimp/one.jsonl", json.dumps(pair) + "\n")

    assert open_suite("sms-spam", tmp_path).examples == (
        Classify("texts", "Win, now!", frozenset({"spam"})),
        Classify("texts", "Hi", frozenset({"ham"})),
    )
    first, *others = open_suite("language", tmp_path).examples
    assert first == Classify("texts", "How many\x85eggs?", frozenset({"en"})) and len(others) == 4
    assert open_suite("lambada", tmp_path).examples == (Continue("He did not", " care"),)
    assert open_suite("blimp", tmp_path).examples == (Prefer("He is.", "He are."),)


def test_sentiment_takes_no_other_sentences_for_those_held_out(tmp_path: Path) -> None:
    for source, n_foreign in built_in.SENTIMENT_FOREIGN_LINES.items():
        write(tmp_path / f"eval/sentiment/{source}_labelled.txt", "x\t2\n" * n_foreign + "a\t1\n")
    with pytest.raises(Failure, match="not those that weir-sentiment was tried on"):
        open_suite("sentiment", tmp_path)


@pytest.mark.skipif(not ASSETS.is_dir(), reason="the assets are not here")
@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("sentiment", 570),
        ("sms-spam", 2000),
        ("language", 1250),
        ("mnist", 10_000),
        ("lambada", 1000),
        ("blimp", 1500),
        ("perplexity", 466),
    ],
)
def test_the_suites_have_all_their_examples(name: str, n: int) -> None:
    assert len(open_suite(name, ASSETS).examples) == n


@given(st.text(alphabet=st.sampled_from("ab \n"), max_size=40))
def test_windows_hold_every_letter_in_order_and_are_bounded(text: str) -> None:
    found = windows(text * 100)
    assert all(len(one.text) <= WINDOW_CHARS and one.text.strip() == one.text for one in found)
    assert "".join("".join(one.text.split()) for one in found) == "".join((text * 100).split())


def test_windows_cut_no_word() -> None:
    words = {word for one in windows("river boat " * 500) for word in one.text.split()}
    assert words == {"river", "boat"}


def test_a_text_file_is_a_suite_and_other_files_are_not(tmp_path: Path) -> None:
    file = tmp_path / "tale.txt"
    file.write_text("Once upon a time.\n")
    assert open_suite(str(file), tmp_path) == Suite("tale.txt", (Read("Once upon a time."),))
    file.write_text(" \n")
    with pytest.raises(Failure, match="has no text"):
        open_suite(str(file), tmp_path)
    for name in ("sentimental", str(tmp_path), "gone.jsonl"):
        with pytest.raises(Failure, match=r"is no suite: give one of sentiment.*\.jsonl"):
            open_suite(name, tmp_path)


@pytest.mark.parametrize("name", built_in.BUILT_IN)
def test_missing_data_names_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=f"--suite {name}: .*--data or WEIR_EVAL_DATA"):
        open_suite(name, tmp_path)


def test_a_sample_is_seeded_and_in_order() -> None:
    suite = Suite("tale", tuple(Read(str(i)) for i in range(50)))
    chosen = sample(suite, 9, seed=1)
    places = [int(one.text) for one in chosen.examples if isinstance(one, Read)]
    assert places == sorted(set(places)) and len(places) == 9
    assert chosen == sample(suite, 9, seed=1) != sample(suite, 9, seed=2)
    assert sample(suite, 50, seed=1) == sample(suite, None, seed=1) == suite
