"""The demo's own way with mistakes; that it works is shown by `make demo`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pictures import write_folder
from vitral import demo
from vitral.config import DataConfig
from vitral.datasets import read


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


@pytest.mark.parametrize("splits", [{"": 8}, {"train": 4, "test": 2}])
def test_own_pictures_are_trained_on_measured_and_unseen_ones_classified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: dict[str, int]
) -> None:
    pictures = write_folder(tmp_path / "mine", splits)
    called: list[list[str]] = []
    monkeypatch.setattr(demo, "vitral", lambda words: called.append(words) or 0)
    monkeypatch.chdir(tmp_path)
    assert demo.main([str(pictures)]) == 0
    assert [words[0] for words in called] == ["finetune", "evaluate", "predict"]
    shown = [word for word in called[2] if word.endswith(".png")]
    learned = {str(source) for source in read(DataConfig(path=str(pictures))).splits["train"].sources}
    assert 0 < len(shown) <= 3
    assert not learned & set(shown)
    assert len({Path(path).parent.name for path in shown}) == len(shown)


def test_a_command_that_fails_ends_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = write_folder(tmp_path / "mine", {"": 4})
    called: list[str] = []
    monkeypatch.setattr(demo, "vitral", lambda words: called.append(words[0]) or 74)
    assert demo.main([str(pictures)]) == 74
    assert called == ["finetune"]
