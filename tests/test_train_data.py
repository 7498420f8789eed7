"""What is trained on, what it is worth, and what a run would take: no torch in any of them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datagen.errors import UsageError
from datagen.multiple_choice import STYLES, render, solution
from datagen.train.data import THINK, Deck, Example, material, read_set
from datagen.train.memory import Load, estimate
from datagen.train.rewards import REWARDS, answer_of, parse_rewards, reward_functions
from datagen.train.shapes import SHAPES, Shape, shape_of

CHOICES = ["dog", "dog barking", "cat", "rain on a roof"]


def row(number, **changes):
    return {"id": f"q{number}", "question": f"What is heard {number}?", "choices": CHOICES, "answer": "cat"} | changes


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_without_a_valid_question_are_left_out_with_their_reason(tmp_path):
    rows = [
        row(0), row(1), row(2, answer="cow"), row(3, choices=None), row(4, choices=["cat"]), row(5, question=""),
        row(6, answer=None), row(7, choices=["cat", "Cat"]), row(8, choices=[f"c{n}" for n in range(11)] + ["cat"]),
    ]  # fmt: skip
    found = material(read_set(written(tmp_path / "set.jsonl", rows)), "text")
    assert [example.id for example in found.examples] == ["q0", "q1"]
    assert {left.id: left.reason for left in found.left_out} == {
        "q2": "answer_not_among_choices", "q3": "no_choices", "q4": "too_few_choices", "q5": "no_question",
        "q6": "answer_missing", "q7": "choices_all_equal", "q8": "too_many_choices",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row(0)], "holds one question: GRPO needs at least two"),
        ([row(0), row(1, answer="cow")], "1 of its rows can be trained on (answer_not_among_choices 1 (q1)): mend"),
        ([{"id": "q0", "question": "What?", "answer": "cat"}], "it has no choices"),
        ([], "holds no row: GRPO needs at least two"),
    ],
)
def test_a_set_that_cannot_be_trained_on_is_refused_in_one_line(tmp_path, rows, says):
    with pytest.raises(UsageError) as refused:
        material(read_set(written(tmp_path / "set.jsonl", rows)), "text")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_captions_are_read_for_their_modality_alone(tmp_path):
    rows = [row(0, captions=["a dog", "a cat"]), row(1, captions=["rain"]), row(2)]
    found = read_set(written(tmp_path / "set.jsonl", rows))
    text, caption = material(found, "text"), material(found, "caption")
    assert [example.captions for example in text.examples] == [(), (), ()]
    assert [(left.id, left.reason) for left in caption.left_out] == [("q2", "caption_missing")]
    said = Deck(caption.examples, 0).row(0)["prompt"][0]["content"]
    assert said.startswith("The audio is described as follows: ")
    assert "What is heard" not in said.partition("\n")[0]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("format_", ["trl", "ms-swift"])
def test_an_export_whose_question_stands_in_a_prompt_gives_the_question_back(tmp_path, style, format_):
    def exported(number):
        message = [{"role": "user", "content": render(f"What is heard {number}?", CHOICES, style)}]
        asked = {"prompt": message} if format_ == "trl" else {"messages": message}
        return {"id": f"q{number}", **asked, "choices": CHOICES, "answer_index": 2,
                "solution": solution(CHOICES, 2, style)}  # fmt: skip

    found = material(read_set(written(tmp_path / "set.jsonl", map(exported, range(3)))), "text")
    assert [(e.question, e.choices[e.gold]) for e in found.examples] == [
        (f"What is heard {n}?", "cat") for n in range(3)
    ]


def test_of_a_set_with_splits_the_train_split_is_taken(tmp_path):
    data = tmp_path / "dataset" / "data"
    data.mkdir(parents=True)
    for split, numbers in (("train", range(3)), ("validation", range(3, 5))):
        pl.DataFrame([row(n) for n in numbers]).write_parquet(data / f"{split}-00000-of-00001.parquet")
    found = read_set(tmp_path / "dataset")
    assert [e.id for e in material(found, "text").examples] == ["q0", "q1", "q2"]
    assert [e.id for e in material(found, "text", "validation").examples] == ["q3", "q4"]


def test_a_published_benchmark_is_no_training_set(tmp_path, monkeypatch):
    path = written(tmp_path / "set.jsonl", [row(0), row(1)])
    monkeypatch.setitem(__import__("datagen.versions").versions.VERSIONS, read_set(path).sha256, "MMAU test-mini")
    with pytest.raises(UsageError, match="is a benchmark"):
        read_set(path)


# ── the order of the run ─────────────────────────────────────────────────────────────────────────────────────────────

EXAMPLES = [Example(f"q{n}", f"What {n}?", ("a bell", "a dog", "rain", "wind"), n % 4) for n in range(40)]


def test_each_epoch_holds_every_example_once_in_an_order_of_its_own():
    deck = Deck(EXAMPLES, seed=1)
    first, second = ([deck.row(place)["id"] for place in range(start, start + 40)] for start in (0, 40))
    assert sorted(first) == sorted(second) == sorted(e.id for e in EXAMPLES)
    assert first != second
    assert [Deck(EXAMPLES, seed=2).row(place)["id"] for place in range(40)] != first


def test_choices_are_drawn_anew_for_each_group_and_the_gold_goes_with_them():
    deck = Deck(EXAMPLES, seed=1)
    golds, orders = [0] * 4, set()
    for place in range(400):
        row = deck.row(place)
        example = EXAMPLES[int(row["id"][1:])]
        assert row["choices"][row["gold"]] == example.choices[example.gold]
        assert all(choice in row["prompt"][0]["content"] for choice in row["choices"])
        golds[row["gold"]] += 1
        orders.add((row["id"], tuple(row["choices"])))
    assert min(golds) > 70
    assert len(orders) > 200
    assert Deck(EXAMPLES, seed=1).row(17) == deck.row(17)


def test_a_held_out_set_keeps_its_order():
    deck = Deck(EXAMPLES, seed=1, shuffled=False)
    assert [deck.row(place)["id"] for place in range(40)] == [e.id for e in EXAMPLES]


@pytest.mark.parametrize(
    ("curriculum", "rates"),
    [
        ("easy-first", [1.0, 0.75, 0.75, 0.5, 0.25, 0.0]),
        ("hard-first", [0.0, 0.25, 0.5, 0.75, 0.75, 1.0]),
        ("signal-first", [0.0, 0.25, 0.25, 0.25, 0.5, 0.5]),
    ],
)
def test_a_curriculum_orders_the_first_epoch_and_the_next_ones_are_shuffled(tmp_path, curriculum, rates):
    told = ["0.5", 1.0, "easy", 0, "0.75", "hard"]
    rows = [row(number, difficulty=value) for number, value in enumerate(told)]
    rows += [row(6), row(7, difficulty="2"), row(8, difficulty="very"), row(9, answer="cow", difficulty="easy")]
    found = material(read_set(written(tmp_path / "set.jsonl", rows)), "text", rated=True)
    assert {left.id: left.reason for left in found.left_out} == {
        "q6": "difficulty_missing", "q7": "difficulty_missing", "q8": "difficulty_missing",
        "q9": "answer_not_among_choices",
    }  # fmt: skip
    rate = {example.id: example.rate for example in found.examples}
    deck = Deck(found.examples, 3, curriculum=curriculum)
    first = [deck.row(place)["id"] for place in range(6)]
    ordered = [rate[id] for id in first]
    assert ([abs(one - 0.5) for one in ordered] if curriculum == "signal-first" else ordered) == rates
    later = [[deck.row(place)["id"] for place in range(6 * epoch, 6 * epoch + 6)] for epoch in (1, 2, 3)]
    plain = Deck(found.examples, 3)
    assert later == [[plain.row(p)["id"] for p in range(6 * e, 6 * e + 6)] for e in (1, 2, 3)]
    assert sorted(first) == sorted(later[0])
    seeds = {
        tuple(Deck(found.examples, seed, curriculum=curriculum).row(p)["id"] for p in range(6)) for seed in range(9)
    }
    assert len(seeds) > 1  # equal ones are shuffled


def test_the_column_of_a_dataset_of_ours_is_read(tmp_path):
    rows = [row(number, difficulty=number / 8, difficulty_n=8) for number in range(4)]
    pl.DataFrame(rows).write_parquet(tmp_path / "train-00000-of-00001.parquet")
    found = material(read_set(tmp_path), "text", rated=True)
    assert [example.rate for example in found.examples] == [0, 0.125, 0.25, 0.375]


# ── rewards ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def shown(style="omni-r1", *, think=False, choices=tuple(CHOICES), gold=1):
    example = Example("q", "Which of these barks?", tuple(choices), gold)
    deck = Deck([example], 0, style=style, think=think)
    return deck.row(0)


@pytest.mark.parametrize("think", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_the_gold_answer_in_its_form_earns_everything(style, think):
    row = shown(style, think=think)
    gold = solution(row["choices"], row["gold"], style)
    text = f"<think>It barks. The answer is {gold}</think>\n{gold}" if think else gold
    assert {name: score(text, row, 5, 100) for name, score in REWARDS.items()} == {
        "accuracy": 1, "format": 1, "concise": 0.95, "consistent": think, "overlong": 0,
    }  # fmt: skip
    wrong = solution(row["choices"], (row["gold"] + 1) % 4, style)
    assert REWARDS["accuracy"](wrong, row, 5, 100) == REWARDS["concise"](wrong, row, 5, 100) == 0


@pytest.mark.parametrize("think", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_hacks_earn_nothing(style, think):
    row = shown(style, think=think)
    choices, gold = row["choices"], row["choices"][row["gold"]]
    hacks = {
        "empty": "", "space": " \n", "all choices": ", ".join(choices), "all in tags": f"<answer>{choices}</answer>",
        "one a line": "\n".join(choices), "letter salad": "A B C D ABCD (A)(B)(C)(D)", "letters": "A, B, C or D",
        "substring of the gold": gold[:-4], "word of the gold": gold.split()[-1], "echo": row["prompt"][0]["content"],
        "echo in tags": f"<answer>{row['prompt'][0]['content']}</answer>", "not the gold": f"It is not {gold}.",
        "two answers": f"<answer>{gold}</answer><answer>{choices[row['gold'] - 1]}</answer>",
        "only thought": f"<think>The answer is {gold}.", "tags": "<answer></answer>", "think": "<think></think>",
        "any": f"Either {' or '.join(choices)}.",
    }  # fmt: skip
    earned = {(hack, name): score(text, row, 5, 100) for hack, text in hacks.items() for name, score in REWARDS.items()}
    assert {key: value for key, value in earned.items() if value} == {}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["dog", "dogs", "a dog", "A", "two dogs", "2", "no dog", "C#"]), min_size=2, unique=True),
    st.data(),
    st.sampled_from(STYLES),
)
def test_no_listing_of_choices_earns_anything_whatever_they_are(choices, data, style):
    row = shown(style, choices=choices, gold=data.draw(st.integers(0, len(choices) - 1)))
    gold = solution(row["choices"], row["gold"], style)
    assert REWARDS["accuracy"](gold, row, 1, 9) == 1
    assume(style != "letters" or "A" not in choices)  # "dog, A" may be the first choice with its letter
    assert REWARDS["accuracy"](str(list(row["choices"])), row, 1, 9) == 0
    assert REWARDS["accuracy"](row["prompt"][0]["content"], row, 1, 9) == 0


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("<think>It is a dog, so the answer is dog barking.</think>dog barking", 1),
        ("<think>The answer is cat.</think>cat", 1),  # wrong, and so is the thought
        ("<think>cat</think>cat", 1),
        ("<think>The answer is cat.</think>dog barking", 0),
        ("<think>It is dog, dog barking, cat or rain on a roof.</think>dog barking", 0),
        ("<think>The answer is cat. The answer is dog barking.</think>dog barking", 0),
        ("<think></think>dog barking", 0),
        ("<think>Something barks.</think>dog barking", 0),
        ("The answer is dog barking. dog barking", 0),
        ("<think>The answer is dog barking.", 0),
        ("<think>The answer is dog barking.</think>", 0),
        ("<think>The answer is dog barking.</think>dog barking, cat", 0),
        ("<think>The answer is cat.</think><think>The answer is dog barking.</think>dog barking", 0),
        ("<think><think>The answer is cat.</think>The answer is dog barking.</think>dog barking", 0),
        ("<think>barking</think>dog barking", 0),
    ],
)
def test_a_thought_is_consistent_when_the_one_choice_that_it_names_is_answered(text, worth):
    assert REWARDS["consistent"](text, shown(think=True), 5, 100) == worth


def test_overlong_falls_over_the_last_fifth():
    score = REWARDS["overlong"]
    assert [score("", {}, tokens, 100) for tokens in (0, 80, 90, 100)] == [0, 0, -0.5, -1]


def test_the_reward_functions_take_what_trl_gives():
    row = shown()
    columns = {name: [row[name]] * 2 for name in ("choices", "gold", "labels", "style", "think", "id", "place")}
    texts = [[{"role": "assistant", "content": text}] for text in ("dog barking", "dog")]
    names = ["accuracy", "format"]
    functions = reward_functions(names, 8)
    assert [f.__name__ for f in functions] == names
    got = [
        f(completions=texts, completion_ids=[[1], [1]], prompts=[], trainer_state=None, **columns) for f in functions
    ]
    assert got == [[1, 0], [1, 1]]
    assert answer_of("dog", row) == row["choices"].index("dog")


@pytest.mark.parametrize("text", ["", "format", "accuracy,accuracy", "accuracy=0", "accuracy=x", "accuracy=-1", "luck"])
def test_rewards_that_make_no_sense_are_refused(text):
    with pytest.raises(UsageError, match="--rewards"):
        parse_rewards(text)


def test_rewards_are_parsed_with_accuracy_first():
    assert list(parse_rewards(" format=0.2, accuracy ").items()) == [("accuracy", 1), ("format", 0.2)]


def test_the_think_prompt_asks_for_it():
    assert shown(think=True)["prompt"][0]["content"].endswith(THINK)


# ── the estimate ─────────────────────────────────────────────────────────────────────────────────────────────────────

LOAD = Load(64, 8, 120, 32, 16, 0.0, True)


def test_full_tuning_of_7b_does_not_fit_one_80_gb_device_and_lora_does():
    found = estimate("Qwen/Qwen2.5-Omni-7B", LOAD, 1000, "lora")
    assert found["fits"]["full"] == {"24": False, "48": False, "80": False}
    assert found["fits"]["lora"]["48"] and found["fits"]["lora"]["80"]
    assert set(found["bytes"]) >= {"weights", "gradients", "optimizer", "activations", "logits", "kv_cache"}
    assert all(isinstance(value, int) for value in found["bytes"].values())


def test_more_of_anything_takes_more():
    def peak(method="lora", **changes):
        load = Load(64, 8, 120, 32, 16, 0.0, checkpointing=True)
        return estimate("Qwen2.5-Omni-3B", replace(load, **changes), 1, method)["bytes"]["peak"]

    assert peak() < peak(lora_rank=64) < peak("full") < peak("full", beta=0.04)
    assert peak(completions=4096) > peak()
    assert peak(batch=64) > peak()
    assert peak(batch=64, checkpointing=False) > peak(batch=64)
    assert peak("full", devices=8, sharding="fsdp2") < peak("full", devices=8)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.494),
        ("Qwen/Qwen2.5-7B-Instruct", 7.616),
        ("Qwen/Qwen2-Audio-7B", 8.397),
        ("Qwen/Qwen3-Omni-30B-A3B-Instruct", 31.75),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.1345),
    ],
)
def test_the_table_gives_the_published_number_of_parameters(name, billions):
    shape = SHAPES[name]
    assert (shape.language + shape.towers) / 1e9 == pytest.approx(billions, rel=0.002)


def test_the_dimensions_of_a_folder_are_read_from_its_config(tmp_path):
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 600}  # fmt: skip
    audio = {"d_model": 32, "encoder_layers": 2, "encoder_ffn_dim": 64}
    for config in (text, {"text_config": text, "audio_config": audio}, {"thinker_config": {"text_config": text}}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        found = shape_of(str(tmp_path))
        assert (found.hidden, found.layers, found.kv_heads, found.vocab) == (64, 2, 2, 600)
        assert found.towers == (16_384 if "audio_config" in config else 0)
    assert found == Shape(64, 2, 4, 2, 128, 600)
    (tmp_path / "config.json").write_text("[]")
    for model in (tmp_path, "Qwen/Unknown-7B"):
        with pytest.raises(UsageError, match="--dry-run"):
            shape_of(str(model))


def test_data_rewards_and_estimate_need_no_torch():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = sys.modules['trl'] = None\n"
        "import datagen.train.data, datagen.train.rewards\n"
        "from datagen.train.memory import Load, estimate\n"
        "print(estimate('Qwen2.5-Omni-7B', Load(64, 8, 120, 32, 16, 0.0, True), 9, 'lora')['fits']['full']['80'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
