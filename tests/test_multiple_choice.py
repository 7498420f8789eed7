from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datagen.multiple_choice import LABELS, letter, read, render, solution, string_match
from datagen.records import fold

ANIMALS = ("dog", "dog barking", "cat", "A cow")
CHORDS = ("Am", "A", "C# minor", "C", "B")
LETTERS = ("D", "C", "B", "A")
NUMBERS = ("2", "12", "2.5", "-2")
YES = ("Yes", "No")
HAN = ("狗叫声", "猫叫声", "狗", "雨声")
ARABIC = ("كلب", "قطة", "بقرة")
THINGS = ("left, then right", "Mr. Smith", "vitamin B", "none of them")

READINGS = [
    # the choice itself, and what may stand around it
    ("dog", ANIMALS, "text", 0),
    ("DOG BARKING", ANIMALS, "text", 1),
    (" “Dog.” ", ANIMALS, "text", 0),
    ("**cat**", ANIMALS, "text", 2),
    ("['cat']", ANIMALS, "text", 2),
    ("ｄｏｇ　ｂａｒｋｉｎｇ", ANIMALS, "text", 1),  # full width
    ("dog\nbarking", ANIMALS, "text", 1),
    ("none of them", THINGS, "text", 3),  # a choice may deny
    ("The one talking is Mr. Smith. He is calm.", THINGS, "text", 1),  # a period inside a choice ends no sentence
    ("The answer is left, then right", THINGS, "text", 0),
    # what is less or other than a choice
    ("", ANIMALS, "both", None),
    (" .\n", ANIMALS, "both", None),
    ("barking", ANIMALS, "both", None),
    ("dogs", ANIMALS, "both", None),
    ("a hot-dog", ANIMALS, "both", None),
    ("cow", ANIMALS, "both", None),  # a part of "A cow"
    ("I cannot help with that.", ANIMALS, "both", None),
    # sentences
    ("I hear a dog barking.", ANIMALS, "text", 1),
    ("I hear the dog barking at a cat.", ANIMALS, "text", None),
    ("The dog barking is that of a big dog.", ANIMALS, "text", None),
    ("dog, dog barking, cat, A cow", ANIMALS, "both", None),
    ("['dog', 'dog barking', 'cat', 'A cow']", ANIMALS, "both", None),
    ("It is quiet. " * 30 + "A dog.", ANIMALS, "text", None),  # too long to be read whole
    ("It is quiet. " * 30 + "The answer is dog.", ANIMALS, "text", 0),
    # answer spans
    ("The answer is cat.", ANIMALS, "text", 2),
    ("The cat is quiet.\nAnswer: dog", ANIMALS, "text", 0),
    ("**Answer:** dog barking", ANIMALS, "text", 1),
    ("The correct option is:\n\ncat", ANIMALS, "text", 2),
    ("The answer would be dog. The cat is quiet.", ANIMALS, "text", 0),
    ("Between dog and cat I say <answer>cat</answer>", ANIMALS, "text", 2),
    ("<answer>cat", ANIMALS, "text", 2),
    ("<answer>The answer is cat</answer> dog", ANIMALS, "text", 2),
    (r"So \boxed{\text{cat}}", ANIMALS, "text", 2),
    (r"\boxed{cat} as the dog is quiet", ANIMALS, "text", 2),
    ("<answer>cat</answer> Yes: <answer>Cat.</answer>", ANIMALS, "text", 2),
    ("<answer>dog</answer><answer>cat</answer>", ANIMALS, "text", None),
    ("The answer is dog. <answer>cat</answer>", ANIMALS, "text", None),
    ("The answer is in the audio. The answer is dog.", ANIMALS, "text", 0),  # the last span wins
    ("The answer is dog. The answer is clear.", ANIMALS, "text", None),
    ("<answer>dog cat</answer>", ANIMALS, "text", None),
    ("<think>The answer is dog.</think> cat", ANIMALS, "text", 2),
    ("<think>The answer is dog", ANIMALS, "text", None),
    ("The answer is:\ndog\ncat", ANIMALS, "text", None),  # a list behind the phrase
    ("The answer is dog. cat. A cow.", ANIMALS, "text", None),
    ("The answer is B\nC\nD", ANIMALS, "letters", None),
    ("The answer is dog, since " + "it barks and " * 20 + "growls.", ANIMALS, "text", 0),
    ("The answer is: (A) dog\n(B) dog barking\n(C) cat", ANIMALS, "letters", None),
    ("The answer is: A. dog\nB. dog barking\nC. cat", ANIMALS, "text", None),
    ("B\n\nThe dog is quiet.", ANIMALS, "letters", None),  # B is another
    ("B\n\nI hear a dog barking.", ANIMALS, "letters", 1),
    # denied
    ("not dog", ANIMALS, "text", None),
    ("It isn't a dog", ANIMALS, "text", None),
    ("It isn’t the dog", ANIMALS, "text", None),
    ("The answer is not dog.", ANIMALS, "text", None),
    ("dog is not the answer", ANIMALS, "text", None),
    ("neither dog nor cat", ANIMALS, "text", None),
    ("neither the dog, the cat", ANIMALS, "text", None),
    ("dog, not cat", ANIMALS, "text", 0),
    ("It is not the dog but the cat", ANIMALS, "text", 2),
    ("It is not the dog. It is the cat.", ANIMALS, "text", 2),
    ("not A", ANIMALS, "letters", None),
    ("The answer isn't B", ANIMALS, "letters", None),
    ("The answer is not (B)", ANIMALS, "letters", None),
    ("不是狗", HAN, "text", None),
    # letters
    ("B", ANIMALS, "letters", 1),
    ("b", ANIMALS, "both", 1),
    ("(C)", ANIMALS, "letters", 2),
    ("C.", ANIMALS, "letters", 2),
    ("Option C", ANIMALS, "letters", 2),
    ("The answer is the letter C.", ANIMALS, "letters", 2),
    ("<answer>C</answer>", ANIMALS, "letters", 2),
    (r"$\boxed{C}$", ANIMALS, "letters", 2),
    ("Answer: C, because of the meowing", ANIMALS, "letters", 2),
    ("The answer is B because it barks", ANIMALS, "letters", 1),
    ("(C) cat", ANIMALS, "letters", 2),
    ("C: cat", ANIMALS, "both", 2),
    ("The answer is cat (C).", ANIMALS, "letters", 2),
    ("(B) cat", ANIMALS, "letters", None),  # letter and text disagree
    ("The answer is cat (B).", ANIMALS, "both", None),
    ("Ｂ", ANIMALS, "letters", 1),  # full width
    ("E", ANIMALS, "letters", None),
    ("B", ANIMALS, "text", None),  # the prompt showed no letters
    ("I pick B for now", ANIMALS, "letters", None),  # a bare letter counts only alone or in an answer span
    ("A dog", ANIMALS, "letters", 0),  # the article
    ("I think so", ANIMALS, "letters", None),
    ("ABCD", ANIMALS, "letters", None),
    ("A B C D", ANIMALS, "letters", None),
    ("A, B, C, D", ANIMALS, "both", None),
    ("A. B. C. D.", ANIMALS, "both", None),
    ("Answer: A or B", ANIMALS, "letters", None),
    ("<answer>A B</answer>", ANIMALS, "letters", None),
    ("(A)(B)(C)", ANIMALS, "letters", None),
    ("Answer: (A), (B), (C)", ANIMALS, "letters", None),
    # choices that are letters or chords
    ("A", LETTERS, "letters", 0),
    ("A", LETTERS, "text", 3),
    ("A", LETTERS, "both", 3),
    ("(A) D", LETTERS, "both", 0),
    ("(A) A", LETTERS, "letters", None),
    ("(D) A", LETTERS, "letters", 3),
    ("['A', 'dog']", ("A", "dog"), "letters", None),  # a list of all of them
    ("['B', 'dog']", ("B", "dog"), "letters", None),
    ("The answer is 'B' because it barks", ANIMALS, "letters", 1),
    ("I don't hear it, I'd say: a dog's bark", ANIMALS, "letters", None),
    ("The answer is B.", LETTERS, "letters", 1),
    ("The answer is B.", LETTERS, "text", 2),
    ("A, B, C, D", LETTERS, "both", None),
    ("Am", CHORDS, "letters", 0),
    ("The chord is Am", CHORDS, "text", 0),
    ("a C# minor chord", CHORDS, "text", 2),
    ("C#", CHORDS, "text", None),
    ("The key is C", CHORDS, "both", 3),
    ("It is a B chord", CHORDS, "text", 4),
    ("(C) vitamin B", THINGS, "letters", 2),
    # numbers
    ("2", NUMBERS, "text", 0),
    ("12", NUMBERS, "text", 1),
    ("There are 12 of them", NUMBERS, "text", 1),
    ("about 2.5 s", NUMBERS, "text", 2),
    ("-2", NUMBERS, "text", 3),
    ("112", NUMBERS, "text", None),
    ("2.55", NUMBERS, "text", None),
    ("10-12 of them", NUMBERS, "text", None),
    # yes and no
    ("No, there is not.", YES, "text", 1),
    ("Yes.", YES, "text", 0),
    ("yes and no", YES, "text", None),
    # other scripts
    ("狗叫声", HAN, "text", 0),
    ("答案是狗叫声。", HAN, "text", 0),
    ("我听到的是猫叫声", HAN, "text", 1),
    ("狗叫声或猫叫声", HAN, "text", None),
    ("ドラムの音です", ("ドラム", "ギター"), "text", 0),
    ("ドラムロールです", ("ドラム", "ギター"), "text", None),
    ("الإجابة هي قطة", ARABIC, "text", 1),
    ("قطة.", ARABIC, "text", 1),
    ("قطط", ARABIC, "text", None),
    ("Die Antwort ist nicht dog", ANIMALS, "text", None),
    # duplicates
    ("Dog", ("cat", "dog", "DOG"), "text", 1),
    ("The answer is dog", ("cat", "dog ", "dog"), "both", 1),
    ("(C) dog", ("cat", "dog", "dog"), "letters", 1),
    ("C", ("cat", "dog", "dog"), "letters", 1),
]


@pytest.mark.parametrize(("text", "choices", "labels", "index"), READINGS)
def test_read(text, choices, labels, index):
    assert read(text, choices, labels) == index


def is_first(index, choices):
    return [fold(choice) for choice in choices].index(fold(choices[index])) == index


words = st.text("abcdeé狗 ", min_size=1, max_size=12).map(lambda text: " ".join(text.split())).filter(bool)
menus = st.lists(words, min_size=2, max_size=10, unique_by=fold)


@given(menus, st.data(), st.sampled_from(["text", "both"]))
def test_gold_is_read_as_itself_and_nothing_less_is(choices, data, labels):
    index = data.draw(st.integers(0, len(choices) - 1))
    gold = choices[index]
    start = data.draw(st.integers(0, len(gold)))
    part = gold[start : data.draw(st.integers(start, len(gold)))]
    for text in (
        gold,
        gold.upper(),
        f"{gold}.",
        f"The answer is {gold}",
        f"<answer>{gold}</answer>",
        f"({letter(index)}) {gold}",
    ):
        if text == gold or labels == "both" or not text.startswith("("):
            assert read(text, choices, labels) == index
    assert read("", choices, labels) is None
    assert read("\n".join(choices), choices, labels) is None
    assume(fold(part) != fold(gold) and not (labels == "both" and len(part.strip()) == 1))
    assert read(part, choices, labels) != index


@given(
    menus,
    st.lists(st.sampled_from("ABCDEFGHIJ"), min_size=2, max_size=12, unique=True),
    st.sampled_from(["", " ", ", ", "/", "\n"]),
)
def test_letter_salad_is_no_answer(choices, letters, between):
    text = between.join(letters)
    assume(sum(ord(label) - ord("A") < len(choices) for label in letters) >= 2)
    assert read(text, [f"the {choice} sound" for choice in choices], "letters") is None
    assert read(f"The answer is {text}", [f"the {choice} sound" for choice in choices], "letters") is None


@given(
    st.text(max_size=300),
    st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=10),
    st.sampled_from(["letters", "text", "both"]),
)
def test_any_text_gives_an_index_or_none(text, choices, labels):
    index = read(text, choices, labels)
    assert (
        index is None or [fold(choice) for choice in choices].index(fold(choices[index])) == index or labels != "text"
    )


@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=10, unique_by=fold), st.data())
def test_any_choice_is_read_as_itself(choices, data):
    index = data.draw(st.integers(0, len(choices) - 1))
    assert read(choices[index], choices, "text") == index


@pytest.mark.parametrize("part", ["<answer>", "the answer is ", "A ", "not dog, ", r"\boxed{", "(", "dog "])
def test_a_megabyte_is_read_at_once(part):
    started = time.perf_counter()
    assert read(part * (1_000_000 // len(part)), ("dog", "cat"), "both") is None
    assert time.perf_counter() - started < 60


OFFICIAL = [
    ("dog", "The dog.", True),
    ("dog", "A dog or a cat", False),
    ("dog barking", "barking dog", True),  # a set: order does not count
    ("dog barking", "dog", False),
    ("dog", "dog barking", False),  # a token of a wrong choice
    ("Dog", "DOG", True),
    ("dog", "", False),
    ("?", "", False),  # a gold without tokens is in every prediction that has one
    ("?", "well", True),
    ("dog", "It is not a dog", True),  # denied, and credited
    ("dog", "dogs", False),
]


@pytest.mark.parametrize(("gold", "prediction", "right"), OFFICIAL)
def test_string_match(gold, prediction, right):
    assert string_match(gold, prediction, [gold, "cat", "cat barking"]) is right


def test_string_match_credits_a_wrong_choice_of_the_golds_tokens():
    assert string_match("dog dog", "dog", ["dog dog", "dog"])


RENDERED = {
    "omni-r1": "Who? Please choose the answer from the following options: ['dog', 'cat']",
    "r1-aqa": "Who? Please choose the answer from the following options: ['dog', 'cat']. "
    "Output the final answer in <answer> </answer>.",
    "letters": "Who?\n(A) dog\n(B) cat\nAnswer with the letter of the right choice only.",
}


@pytest.mark.parametrize("style", LABELS)
def test_render(style):
    assert render("Who?", ("dog", "cat"), style) == RENDERED[style]


SOLVED = {"omni-r1": "cat", "r1-aqa": "<answer>cat</answer>", "letters": "B"}


@pytest.mark.parametrize("style", LABELS)
def test_solution(style):
    assert solution(("dog", "cat"), 1, style) == SOLVED[style]


@given(st.one_of(menus, st.permutations("ABCD"), st.just(CHORDS)), st.data(), st.sampled_from(sorted(LABELS)))
def test_the_solution_of_a_style_is_read_as_the_gold(choices, data, style):
    index = data.draw(st.integers(0, len(choices) - 1))
    assert read(solution(choices, index, style), choices, LABELS[style]) == index
