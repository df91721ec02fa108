"""The demo's own way with mistakes; that it works is shown by `make demo`."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitral import demo


def test_a_folder_of_other_things_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo" / "digits" / "mine").mkdir(parents=True)
    assert demo.main([]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_missing_pictures_are_one_sentence_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert demo.main(["nowhere"]) == 66
    assert "'nowhere' does not exist" in capsys.readouterr().err


def test_help_is_the_demos_own_and_options_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        demo.main(["--help"])
    assert stopped.value.code == 0
    assert "usage: python -m vitral.demo" in capsys.readouterr().out
    for words, said in ((["--epochs", "1"], "unknown option --epochs"), (["a", "b"], "one argument too many")):
        assert demo.main(words) == 2
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
