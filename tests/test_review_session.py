"""What a key does on the page of `datagen review`, and what the page shows. The browser is in test_review_page."""

from __future__ import annotations

import re
from html import unescape

import polars as pl
import pytest
import soundfile

from datagen.review import opinions, population
from datagen.review.session import Session
from datagen.review.verdicts import read


@pytest.fixture
def session(demo_run, tmp_path):
    folder = tmp_path / "played"
    folder.mkdir()
    made = Session.of(demo_run, sample=6, seed=1, reviewer="ann", folder=folder)
    yield made
    made.verdicts.close()


def shown(page: str) -> str:
    (id,) = re.findall(r'data-shown="(.*?)"', page)
    return unescape(id)


def said(page: str) -> str:
    (text,) = re.findall(r'role="status">(.*?)</p>', page)
    return unescape(text)


def key_of(session: Session, id: str, *, right: bool = True) -> str:
    row = session.rows[session.places[id]]
    return "1234567890"[next(i for i, choice in enumerate(row["choices"]) if (choice == row["answer"]) == right)]


def test_one_question_from_listening_to_the_next(session):
    page = session.act("", "open")
    first = shown(page)
    row = session.rows[0]
    assert first == row["id"] and "<audio" in page and "0 judged" in page
    assert "marked answer</em>" not in page and "<h3>Captions" not in page and 'class="right' not in page
    page = session.act(first, key_of(session, first, right=False))
    assert shown(page) == first and page.count("marked answer</em>") == page.count("your answer</em>") == 1
    assert "<h3>Captions" in page
    page = session.act(first, "y")
    assert shown(page) == session.rows[1]["id"] and "1 judged" in page and "marked answer</em>" not in page
    opinion = session.verdicts.opinion(first)
    assert opinion.valid is True and opinion.answer not in (None, row["answer"]) and opinion.heard


def test_a_page_tells_nothing_of_fates(session):
    ids = [row["id"] for row in session.rows]
    pages = [session.act(id, "1") for id in ids]
    assert not any(re.search(r"\bkept\b|\bbalance\b|dropped", page) for page in pages)


@pytest.mark.parametrize(
    ("key", "says"),
    [("y", "Answer first; n alone"), ("9", "There are 3 choices."), ("0", "There are 3 choices."),
     ("u", "Nothing to take back."), ("previous", ""), ("x", ""), ("", ""), ("12", "")],
)  # fmt: skip
def test_keys_that_do_nothing_say_why(session, key, says):
    first = shown(session.act("", "open"))
    page = session.act(first, key)
    assert shown(page) == first and says in said(page)
    assert read(session.verdicts.run)[0] == []


def test_a_second_answer_is_refused_until_the_first_is_taken_back(session):
    first = shown(session.act("", "open"))
    session.act(first, "1")
    assert "u takes it back" in said(session.act(first, "2"))
    assert "Taken back" in said(session.act(first, "u"))
    session.act(first, "2")
    opinion = session.verdicts.opinion(first)
    choices = session.rows[0]["choices"]
    assert (opinion.first, opinion.answer) == (choices[0], choices[1])


def test_undo_goes_back_to_the_question_of_the_last_act(session):
    first = shown(session.act("", "open"))
    session.act(first, "n")
    second = session.rows[1]["id"]
    page = session.act(second, "u")
    assert shown(page) == first and session.verdicts.opinion(first).valid is None


def test_a_second_press_never_judges_a_question_that_was_not_seen(session):
    first = shown(session.act("", "open"))
    session.act(first, "n")
    assert shown(session.act(first, "n")) == session.rows[1]["id"]
    assert session.verdicts.opinion(session.rows[1]["id"]).valid is None
    assert len(read(session.verdicts.run)[0]) == 1


def test_arrows_move_within_the_sample_and_the_page_opens_where_one_left_off(session, demo_run, tmp_path):
    ids = [row["id"] for row in session.rows]
    assert [shown(session.act(id, "next")) for id in ids] == [*ids[1:], ids[-1]]
    assert [shown(session.act(id, "previous")) for id in ids] == [ids[0], *ids[:-1]]
    for id in ids[:3]:
        session.act(id, "n")
    again = Session.of(demo_run, sample=6, seed=1, reviewer="ann", folder=tmp_path)
    assert shown(again.act("", "open")) == ids[3]
    again.verdicts.close()
    other = Session.of(demo_run, sample=6, seed=1, reviewer="bob", folder=tmp_path)
    assert shown(other.act("", "open")) == ids[0]
    other.verdicts.close()


def test_all_judged_is_said(session):
    for row in session.rows:
        page = session.act(row["id"], "n")
    assert "all judged" in page and shown(session.act("", "open"))


def test_texts_of_corpora_are_escaped(demo_run, tmp_path):
    table = pl.read_parquet(demo_run / "questions.parquet")
    bad = "<script>hacked = 1</script><img src=x onerror='hacked = 1'>\"&amp;"
    id = population(demo_run)["id"][0]
    places = [("questions", "question", "id", id), ("captions", "text", "clip_id", table["clip_id"][0])]
    for name, column, key, value in places:
        old = pl.read_parquet(demo_run / f"{name}.parquet")
        (demo_run / f"{name}.parquet").unlink()
        text = pl.when(pl.col(key) == value).then(pl.lit(bad)).otherwise(column)
        old.with_columns(text.alias(column)).write_parquet(demo_run / f"{name}.parquet")
    session = Session.of(demo_run, sample=1000, seed=0, reviewer="<b>ann</b>", folder=tmp_path)
    page = session.act(id, "1")
    session.verdicts.close()
    assert "<script" not in page and "<img src=x" not in page and "<b>ann" not in page
    assert unescape(page).count(bad) >= 2 and page.count("&lt;script&gt;") >= 2


def test_a_clip_without_audio_is_read_instead(demo_run, tmp_path):
    clips = pl.read_parquet(demo_run / "clips.parquet")
    (demo_run / "clips.parquet").unlink()
    clips.with_columns(path=pl.lit("/nowhere/clip.flac")).write_parquet(demo_run / "clips.parquet")
    session = Session.of(demo_run, sample=4, seed=0, reviewer="ann", folder=tmp_path)
    page = session.act("", "open")
    assert "audio_missing" in page and "<audio" not in page and "<h3>Captions" in page
    session.act(shown(page), "1")
    session.verdicts.close()
    assert opinions(read(demo_run)[0])[("ann", shown(page))].heard is False


def test_what_is_played_is_the_clip_of_the_table_with_its_channels(demo_run, tmp_path):
    clips = pl.read_parquet(demo_run / "clips.parquet")
    place = next(i for i, path in enumerate(clips["path"]) if soundfile.info(path).channels == 2)
    (demo_run / "clips.parquet").unlink()
    cut = pl.when(pl.int_range(pl.len()) == place)
    clips.with_columns(
        start=cut.then(0.25).otherwise("start"), end=cut.then(1.0).otherwise("end")
    ).write_parquet(demo_run / "clips.parquet")  # fmt: skip
    session = Session.of(demo_run, sample=1000, seed=0, reviewer="ann", folder=tmp_path)
    played = session.clips.play(clips["id"][place])
    session.verdicts.close()
    heard = soundfile.info(tmp_path / played.sound)
    assert (heard.channels, heard.duration, played.seconds) == (2, pytest.approx(0.75), pytest.approx(0.75))
    assert (tmp_path / played.picture).read_bytes().startswith(b"\x89PNG")
