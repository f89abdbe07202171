"""Near duplicates: what is alike is found, what is left out is truly alike."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
import pytest

from core.data.chats.formats import Chat
from core.data.repeats import near
from core.data.repeats.near import Cluster, NearDuplicates, leaks
from core.data.repeats.shingles import grouped, words_of

RANDOM = random.Random(11)
VOCABULARY = [
    "".join(RANDOM.choices("abcdefghijklmnop", k=RANDOM.randint(3, 8))) for _ in range(3000)
]


def chat_of(text: str, answer: str = "") -> Chat:
    words = text.split(" ")
    return [
        {"role": "user", "content": " ".join(words[: len(words) // 3])},
        {"role": "assistant", "content": answer or " ".join(words[len(words) // 3 :])},
    ]


def varied(words: list[str], changes: int) -> list[str]:
    new = list(words)
    for place in RANDOM.sample(range(len(new)), changes):
        new[place] = RANDOM.choice(VOCABULARY)
    return new


def clusters(
    chats: list[Chat], threshold: float = 0.85, keep: Literal["first", "longest_answer"] = "first"
) -> list[Cluster]:
    with NearDuplicates(threshold, keep) as near:
        for number, chat in enumerate(chats):
            near.add(number, chat)
        return near.clusters()


def groups_of(chat: Chat) -> set[tuple[str, ...]]:
    words = words_of(chat)
    return set(zip(words, words[1:], words[2:], strict=False))


def share(one: Chat, other: Chat) -> float:
    a, b = groups_of(one), groups_of(other)
    return len(a & b) / len(a | b)


@pytest.fixture(scope="module")
def rows() -> list[Chat]:
    """400 rows; a third of them are variants of earlier ones, from nearly the same to half so."""
    texts: list[list[str]] = []
    for _ in range(400):
        if texts and RANDOM.random() < 0.35:
            texts.append(varied(RANDOM.choice(texts), RANDOM.randint(0, 9)))
        else:
            texts.append(RANDOM.choices(VOCABULARY, k=RANDOM.randint(40, 120)))
    return [chat_of(" ".join(words)) for words in texts]


@pytest.mark.parametrize("keep", ["first", "longest_answer"])
def test_what_is_left_out_is_truly_near_and_little_is_missed(
    rows: list[Chat], keep: Literal["first", "longest_answer"]
) -> None:
    found = clusters(rows, keep=keep)
    gone = {number for cluster in found for number, _ in cluster.others}
    assert len(found) > 20
    assert gone.isdisjoint(cluster.kept for cluster in found)
    assert len(gone) == sum(len(cluster.others) for cluster in found)
    for cluster in found:
        for number, told in cluster.others:
            assert told == pytest.approx(share(rows[cluster.kept], rows[number]), abs=1e-4)
            assert told >= 0.85
    left = [n for n in range(len(rows)) if n not in gone]
    missed = [(a, b) for a, b in combinations(left, 2) if share(rows[a], rows[b]) >= 0.85]
    assert len(missed) <= 0.02 * len(gone)


def test_which_one_is_kept_is_a_rule() -> None:
    text = " ".join(RANDOM.choices(VOCABULARY, k=100))
    rows = [chat_of(text), chat_of("something else altogether here"), chat_of(text + " and more")]
    (first,) = clusters(rows)
    (longest,) = clusters(rows, keep="longest_answer")
    assert (first.kept, [number for number, _ in first.others]) == (0, [2])
    assert (longest.kept, [number for number, _ in longest.others]) == (2, [0])


def test_the_order_of_adding_does_not_matter(rows: list[Chat]) -> None:
    order = list(range(len(rows)))
    random.Random(3).shuffle(order)
    with NearDuplicates() as near:
        for number in order:
            near.add(number, rows[number])
        assert near.clusters() == clusters(rows)


def test_more_rows_may_be_added_after_a_look(rows: list[Chat]) -> None:
    with NearDuplicates() as near:
        for number, chat in enumerate(rows):
            near.add(number, chat)
            if number == 100:
                assert near.clusters() == clusters(rows[:101])
        assert near.clusters() == clusters(rows)


def test_a_chain_keeps_what_is_not_near_to_the_kept_row() -> None:
    words = RANDOM.choices(VOCABULARY, k=120)
    chain = [words, varied(words, 3)]
    chain.append(varied(chain[1], 3))
    chats = [chat_of(" ".join(row)) for row in chain]
    (near, also), apart = (share(a, b) for a, b in pairwise(chats)), share(chats[0], chats[2])
    threshold = (max(apart, 0.5) + min(near, also)) / 2
    assert apart < threshold <= min(near, also)
    (cluster,) = clusters(chats, threshold)
    assert (cluster.kept, [number for number, _ in cluster.others]) == (0, [1])


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("What, is THIS:  a question?", "what is this a question", True),
        ("How much is 3 + 4 and then some", "How much is 3 - 4 and then some", False),
        ("…", "!!!", False),
        ("", "", True),
        ("今天天气很好我们去公园玩吧好不好呀", "今天天气很好我们去公园玩吧好不好", False),
        ("a", "a", True),
        ("a", "b", False),
    ],
)
def test_what_counts_as_the_same_words(one: str, other: str, alike: bool) -> None:
    chats: list[Chat] = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]
        for text in (one, other)
    ]
    assert bool(clusters(chats, threshold=0.95)) is alike


def test_syllabic_scripts_are_compared_by_character() -> None:
    text = "今天天气很好，我们一起去公园散步，看看花，喝喝茶，聊聊天，晚上再一起吃饭。"
    (cluster,) = clusters([chat_of(text, text), chat_of(text, text.replace("晚上", "中午"))], 0.7)
    assert 0.7 < cluster.others[0][1] < 0.9


def test_rows_from_one_pattern_cost_no_comparison_for_each_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All rows are somewhat alike; a few pairs among them are near duplicates."""
    pattern = RANDOM.choices(VOCABULARY, k=100)
    texts = [pattern + RANDOM.choices(VOCABULARY, k=14) for _ in range(1500)]
    texts += [varied(texts[number], 1) for number in range(50)]
    compared = 0
    shares = near.Shingles.shares

    def counted(self: Any, row: int, others: Any) -> Any:
        nonlocal compared
        compared += len(others)
        return shares(self, row, others)

    monkeypatch.setattr(near.Shingles, "shares", counted)
    found = clusters([chat_of(" ".join(words)) for words in texts], 0.9)
    assert compared < 100 * len(texts)
    hits = {(c.kept, number) for c in found for number, _ in c.others}
    assert len(hits & {(number, 1500 + number) for number in range(50)}) >= 40


def test_groups_stay_within_their_row() -> None:
    one, both = grouped([["a", "b", "c", "d"]])[0], grouped([["a", "b", "c", "d"], ["e", "f", "g"]])
    assert both[1].tolist() == [0, 2, 3]
    assert np.array_equal(both[0][:2], one)


def test_progress_is_told_and_may_end_it(rows: list[Chat]) -> None:
    with NearDuplicates() as near:
        for number, chat in enumerate(rows):
            near.add(number, chat)
        told: list[int] = []
        near.clusters(told.append)
        assert told[-1] == len(rows)
        assert told == sorted(told)

        def stop(done: int) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            near.clusters(stop)


def test_held_out_rows_that_are_learned_from_are_told_with_both_places(rows: list[Chat]) -> None:
    train = [(1000 + number, chat) for number, chat in enumerate(rows[:200])]
    words = " ".join(turn["content"] for turn in rows[7]).split(" ")
    near = chat_of(" ".join([*words[:-1], "changed"]))
    fresh = chat_of(" ".join(RANDOM.choices(VOCABULARY, k=80)))
    found = leaks(train, [(1, rows[3]), (2, fresh), (3, near)])
    assert [(leak.held_out, leak.exact) for leak in found] == [(1, True), (3, False)]
    assert share(rows[3], rows[found[0].train - 1000]) == 1.0
    assert found[1].similarity == pytest.approx(share(near, rows[found[1].train - 1000]), abs=1e-4)
    assert leaks(train, []) == leaks([], train) == []


def test_without_rows_there_is_nothing() -> None:
    assert clusters([]) == []
    assert clusters([chat_of("one row only")]) == []
