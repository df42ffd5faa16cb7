"""The words that settings may be: each is taken, explained, and told when another is refused."""

from __future__ import annotations

import pytest

from trpo_tf import setting_choices
from trpo_tf.config import TRPOConfig, setting_help

WORDS = {
    "sampler": setting_choices.SAMPLERS,
    "vectorization": setting_choices.VECTORIZATIONS,
    "line_search": setting_choices.LINE_SEARCHES,
    "activation": setting_choices.ACTIVATIONS,
    "execution": setting_choices.EXECUTIONS,
}


@pytest.mark.parametrize(
    ("name", "word"), [(name, word) for name, words in WORDS.items() for word in words]
)
def test_each_word_is_taken_and_its_meaning_is_in_the_help(name, word):
    assert getattr(TRPOConfig(env="CartPole-v1", **{name: word}), name) == word
    assert f"{word}: {WORDS[name][word]}" in setting_help(name)


@pytest.mark.parametrize("name", WORDS)
def test_another_word_is_refused_with_all_that_there_are(name):
    with pytest.raises(ValueError, match=f"{name} must be") as caught:
        TRPOConfig(env="CartPole-v1", **{name: "other"})
    assert all(repr(word) in str(caught.value) for word in WORDS[name])


def test_no_table_of_words_is_left_out():
    tables = {
        name for name in vars(setting_choices) if isinstance(getattr(setting_choices, name), dict)
    }
    described = {
        "ENV",
        "ENV_KWARGS",
        "HIDDEN_SIZES",
        "REPLAY_WEIGHTS",
        "RAY_ADDRESS",
        "__builtins__",
    }
    assert tables - described == {
        "SAMPLERS",
        "VECTORIZATIONS",
        "LINE_SEARCHES",
        "ACTIVATIONS",
        "EXECUTIONS",
    }
