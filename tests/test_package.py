"""What is published: a wheel that is the tree, built twice alike, that works where nothing else of ours is."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch

from tests.pictures import picture
from vitral.commands import doctor
from vitral.config import Preprocessing
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.serving.predictor import Model
from vitral.version import VERSION

ROOT = Path(__file__).resolve().parent.parent

QUIET = """
import importlib, pkgutil, sys

LOUD = ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.fork",
        "os.forkpty", "os.posix_spawn", "pty.spawn", "webbrowser.open")
import torch  # what its own import does is not ours: a CUDA build of 2.12 asks ldconfig where libdl is

seen = []
sys.addaudithook(lambda event, arguments: seen.append((event, str(arguments)[:200])) if event in LOUD else None)
import vitral
for module in pkgutil.walk_packages(vitral.__path__, "vitral."):
    if module.name not in ("vitral.__main__", "vitral.weights.stored.unpickling"):  # run, not imported
        importlib.import_module(module.name)
print(len(sys.modules) > 500, seen)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def build(folder: Path) -> Path:
    made = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_is_the_same_bytes_when_built_again(wheel: Path, tmp_path: Path) -> None:
    again = build(tmp_path)
    assert again.name == wheel.name == f"vitral-{VERSION}-py3-none-any.whl"
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()


def test_the_wheel_holds_the_tree_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    tree = {
        str(path.relative_to(ROOT)): path.read_bytes()
        for path in (ROOT / "vitral").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == tree


def test_the_installed_wheel_classifies_a_picture(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    scripts = python.parent
    site = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    install = ["pip", "--quiet", "--disable-pip-version-check", "--python", str(python), "install"]
    subprocess.run([sys.executable, "-m", *install, "--no-deps", "--no-index", str(wheel)], check=True)
    # What it depends on is this environment's; an editable vitral there is not seen, since .pth files do not nest.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    torch.manual_seed(0)
    network = VisionTransformer(ViTConfig(4, 16, 1, 32, 2, (8, 8), 3))
    torch.nn.init.normal_(network.head.weight)
    model = Model(network, Preprocessing((8, 8), 8), ["blue", "green", "red"])
    model.save(tmp_path / "model")
    picture("red", 1).save(tmp_path / "one.png")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    said = subprocess.run(
        [scripts / "vitral", "predict", "model", "one.png", "--json"],
        cwd=tmp_path, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    (answer,) = json.loads(said.stdout)
    (expected, *_) = model.predict(tmp_path / "one.png")
    assert answer["predictions"][0]["label"] == expected.label
    where = subprocess.run(
        [python, "-c", "import vitral; print(vitral.__file__)"], env=clean, cwd=tmp_path, capture_output=True, text=True
    )
    assert str(site) in where.stdout


def test_imports_open_no_socket_and_start_no_process() -> None:
    said = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, cwd=ROOT, check=False)
    assert said.stdout.strip() == "True []", said.stdout + said.stderr


def test_extras_that_are_named_exist_and_doctor_looks_for_all_of_them() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = [*(ROOT / "vitral").rglob("*.py"), ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for path in texts for name in re.findall(r"vitral\[([a-z,]+)\]", path.read_text(encoding="utf-8"))}
    assert len(named) > 5
    assert set(",".join(named).split(",")) <= set(extras)
    packages = {re.split(r"[<>=]", requirement)[0] for extra in extras.values() for requirement in extra}
    assert set(doctor.EXTRAS) == packages
    for package, extra in doctor.EXTRAS.items():
        assert any(re.split(r"[<>=]", requirement)[0] == package for requirement in extras[extra]), package
