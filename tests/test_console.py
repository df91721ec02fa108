"""What a person sees cannot command their terminal."""

from __future__ import annotations

import pytest

from vitral.console import Screen, duration_words, error, visible


def test_control_characters_are_spelled_out() -> None:
    assert visible("a\x1b[31mb\rc\x07\x9bd\ne\tü") == "a\\x1b[31mb\\x0dc\\x07\\x9bd\ne\tü"
    assert visible("wolf\u202egnp.exe \u2066x\u2069 שלום") == "wolf\\u202egnp.exe \\u2066x\\u2069 שלום"


def test_no_way_to_the_screen_lets_them_through(capsys: pytest.CaptureFixture[str]) -> None:
    screen, name = Screen(), "[red]x\x1b]0;title\x07"
    for show in (screen.say, screen.decide, screen.warn, screen.result, screen.progress, error):
        show(name)
    screen.table(("name",), [(name,)])
    out, err = capsys.readouterr()
    assert (out + err).count("[red]x\\x1b]0;title\\x07") == 7
    assert "\x07" not in out + err


def test_quiet_leaves_warnings_and_results(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=True)
    for show in (screen.say, screen.decide, screen.progress):
        show("chatter")
    screen.warn("careful")
    screen.result("done")
    assert capsys.readouterr().out == "warning: careful\ndone\n"


def test_with_json_everything_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(json=True)
    screen.say("hello")
    screen.result("done")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "hello\ndone\n")


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_a_long_path_in_the_last_column_is_shown_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/" + "/".join(f"folder-{i}" for i in range(12))
    Screen().table(("setting", "value"), [("model.weights", path)])
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert path in "".join(shown.replace("setting", "").replace("value", "").replace("model.weights", "").split())
