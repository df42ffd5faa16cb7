from __future__ import annotations

import pytest

from trpo_tf.printable import printable


@pytest.mark.parametrize("text", ["", "a b", "é ± 10 µs", "C:\\x1b"])
def test_what_can_be_shown_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    "letter", ["\0", "\a", "\b", "\n", "\r", "\x1b", "\x7f", "\x9b", "\u202e", "\u2028", "\ud800"]
)
def test_what_a_terminal_would_obey_is_spelled_out(letter):
    shown = printable(f"a{letter}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.encode().decode("unicode_escape") == f"a{letter}b"
