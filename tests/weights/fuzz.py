"""Damaged files of weights by the thousand: `python -m tests.weights.fuzz --count 100000 --workers 2`.

Each mutation is made from its number alone, so that one which fails can be made again: `--first NUMBER --count 1`.
Workers have 300 MB of address space beyond what they begin with, and 5 seconds of their own time for each file; what
is asked:

*   no crash, no hang, no memory without bound: the worker lives, and only errors of vitral's kind come out of it;
*   no other numbers in silence. Where the format has a checksum (.npz, .pth of today, vitral's own folders) damaged
    bytes give an error or the original numbers. Where a file is damaged with its checksums made right again, or has
    none (safetensors of others), what is read is what the reference readers of numpy and safetensors read.
"""

from __future__ import annotations

import argparse
import faulthandler
import io
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save

from vitral.config import Preprocessing
from vitral.errors import DataError, VitralError
from vitral.models.vit import VisionTransformer, ViTConfig
from vitral.weights import build, folder, read
from vitral.weights.layout import Described
from vitral.weights.stored import open_stored, unpickling
from vitral.weights.stored.pickled import check

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 300 << 20
SECONDS = 5
Tensors = dict[str, torch.Tensor]

EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


def originals() -> Tensors:
    generator = torch.Generator().manual_seed(0)
    return {
        "embedding/kernel": torch.randn(4, 4, 3, 8, generator=generator),
        "embedding/bias": torch.randn(8, generator=generator),
        "other/bias": torch.randn(8, generator=generator),
        "half": torch.randn(5, generator=generator).half(),
        "brain": torch.randn(6, 2, generator=generator).bfloat16(),
        "step": torch.tensor(7),
        "truth": torch.tensor([True, False, True]),
    }


# Damage --------------------------------------------------------------------------------------------


def flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def remove(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 4, 30, 200))]


def insert(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.choice((1, 4, 30, 200)))


def repeat(rng: random.Random, data: bytearray) -> None:
    start, length = rng.randrange(len(data)), rng.choice((4, 46, 100, 1000))
    data[start:start] = data[start : start + length]


def overwrite(rng: random.Random, data: bytearray) -> None:
    width = rng.choice((1, 2, 4, 8))
    start = rng.randrange(max(1, len(data) - width))
    data[start : start + width] = (rng.choice(EXTREMES) % 256**width).to_bytes(width, "little")


def exchange(rng: random.Random, data: bytearray) -> None:
    length = rng.choice((2, 8, 32))
    a, b = (rng.randrange(max(1, len(data) - length)) for _ in range(2))
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]


def append(rng: random.Random, data: bytearray) -> None:
    data += rng.choice((b"\0", bytes(100), data[: rng.randrange(1, 2000)]))


DAMAGES = (flip, flip, flip, cut, remove, insert, repeat, overwrite, overwrite, exchange, append)


def damaged(rng: random.Random, valid: bytes) -> bytes:
    data = bytearray(valid)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            rng.choice(DAMAGES)(rng, data)
    return bytes(data)


def odd_value(rng: random.Random) -> Any:
    return rng.choice((None, True, -1, 1.0, 1e308, "", "F32", "F8_E4M3", [], {}, [[]], *EXTREMES, -(2**63), 10**30))


def lying_safetensors(rng: random.Random, tensors: Mapping[str, torch.Tensor]) -> bytes:
    """A safetensors file with a header that does not fit, numbers that are none, or names in each other's place."""
    valid = save({name: value.contiguous() for name, value in tensors.items()})
    length = int.from_bytes(valid[:8], "little")
    header, numbers = json.loads(valid[8 : 8 + length]), bytearray(valid[8 + length :])
    names = list(header)
    name, other = rng.sample(names, 2)
    kind = rng.randrange(9)
    if kind == 0:
        header[name][rng.choice(("dtype", "shape", "data_offsets"))] = odd_value(rng)
    elif kind == 1:
        where = rng.choice(("shape", "data_offsets"))
        header[name][where] = [rng.choice((odd_value(rng), 0, 4)) for _ in range(rng.choice((1, 2, 2, 3, 70)))]
    elif kind == 2:
        header[name], header[other] = header[other], header[name]
    elif kind == 3:
        header[name] = header[other]
    elif kind == 4:
        header[rng.choice(("__metadata__", "", "a" * 10_000, "\0"))] = rng.choice((odd_value(rng), header[name]))
    elif kind == 5:
        numbers[0:4] = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff"))
    text = json.dumps(header)
    if kind == 6:
        text = text[:-1] + f", {json.dumps(name)}: {json.dumps(header[other])}}}"
    elif kind == 7:
        text = rng.choice(('{"a":', "[", '{"__metadata__":{"a":')) * rng.choice((10, 1000, 100_000))
    elif kind == 8:
        text += " " * rng.choice((1, 7, 5000))
    return len(text.encode()).to_bytes(8, "little") + text.encode() + numbers


def lying_npz(rng: random.Random, tensors: Mapping[str, torch.Tensor]) -> bytes:
    """An archive whole by itself, with an array that is not what its header says."""
    made = io.BytesIO()
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(made, "w", packing) as archive:
        victim = rng.choice(list(tensors))
        for name, value in tensors.items():
            content = npy(value)
            if name == victim:
                content = lie(rng, content)
            archive.writestr(name + rng.choice((".npy",) * 30 + ("", ".npy.npy")), content)
            if name == victim and rng.random() < 0.1:
                archive.writestr(f"{name}.npy", npy(value))
    return made.getvalue()


def lie(rng: random.Random, content: bytes) -> bytes:
    size = rng.choice((-1, 0, 3, *EXTREMES, 10**14, 10**40))
    shape = rng.choice((f"({size},)", f"({size}, {size})", f"(0, {size}, {size})", "()", "(" * 300, f"({size}L,)"))
    kind = rng.choice(
        ("<f4", ">f4", "|O", "|V2", "<f8", "|b1", "<U9", "<c8", "V999999999", "(9,9)<f4", "[('a', '<f4')]")
    )
    header = f"{{'descr': '{kind}', 'fortran_order': {rng.choice((True, False, 3))}, 'shape': {shape}, }}\n"
    choices: tuple[Callable[[], bytes], ...] = (
        lambda: content[:8] + len(header).to_bytes(2, "little") + header.encode() + content[-64:],
        lambda: damaged(rng, content),
        lambda: content[:8] + b"\xff\xff" + content[10:],
        lambda: content[:-4] + b"\0\0\xc0\x7f",
        lambda: npy(torch.zeros(rng.choice((1 << 10, 1 << 22, 20 << 20)), dtype=torch.uint8)),
        lambda: content[:6] + rng.choice((b"\x02\0", b"\x03\0", b"\x04\0")) + content[8:],
    )
    return rng.choice(choices)()


def npy(value: torch.Tensor) -> bytes:
    return written(lambda file: np.save(file, arrays({"": value})[""], allow_pickle=False))


# What must come of it ------------------------------------------------------------------------------


def everything(path: Path) -> Tensors:
    stored = open_stored(path)
    found = {name: stored.tensor(name) for name in stored.shapes}
    assert all(tuple(value.shape) == stored.shapes[name] for name, value in found.items()), "shapes differ"
    return found


def require_same(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys(), f"names differ: {sorted(found)} and {sorted(expected)}"
    for name, value in expected.items():
        ours = found[name]
        assert (ours.dtype, ours.shape) == (value.dtype, value.shape), f"{name} has another form"
        same = ours.reshape(-1).view(torch.uint8).equal(value.contiguous().reshape(-1).view(torch.uint8))
        assert same, f"{name} has other numbers"


def numpys(path: Path) -> Tensors:
    with np.load(path, allow_pickle=False) as archive:
        found = {name: np.array(archive[name], order="C") for name in archive.files}
    return {
        name: torch.from_numpy(value.view("i2")).view(torch.bfloat16)
        if value.dtype == "V2"
        else torch.from_numpy(value)
        for name, value in found.items()
    }


class Fuzz:
    """Valid files of every format, and what is done with mutations of them in the folder `place`."""

    KINDS = ("safetensors", "lying_safetensors", "npz", "packed_npz", "lying_npz", "folder", "pth", "old_pth")

    def __init__(self, place: Path) -> None:
        self.place, self.tensors = place, originals()
        saved = {"model": self.tensors, "epoch": 3, "args": argparse.Namespace(lr=0.1)}
        self.valid = {
            "safetensors": save(self.tensors),
            "npz": written(lambda file: np.savez(file, **arrays(self.tensors))),
            "packed_npz": written(lambda file: np.savez_compressed(file, **arrays(self.tensors))),
            "pth": written(lambda file: torch.save(saved, file)),
            "old_pth": written(lambda file: torch.save(saved, file, _use_new_zipfile_serialization=False)),
        }
        network = VisionTransformer(ViTConfig(4, 16, 1, 32, 2, (8, 8), 2))
        described = Described(network.config, Preprocessing((8, 8)), ("a", "b"))
        self.own, self.state = place / "model", network.state_dict()
        folder.write_model(self.own, described, self.state, {}, "")
        self.valid["folder"] = (self.own / "model.safetensors").read_bytes()

    def run(self, number: int) -> tuple[str, str]:
        """Make mutation `number` and read it; the format, and "read" or "refused"."""
        rng = random.Random(number)
        kind = rng.choice(self.KINDS)
        try:
            getattr(self, kind)(rng, self.place / "weights")
        except VitralError as error:
            return kind, "refused" if "\n" not in str(error) else f"failed: an error of several lines: {error}"
        return kind, "read"

    def safetensors(self, rng: random.Random, path: Path) -> None:
        path.write_bytes(damaged(rng, self.valid["safetensors"]))
        require_same(everything(path), load_bytes(path.read_bytes()))

    def lying_safetensors(self, rng: random.Random, path: Path) -> None:
        path.write_bytes(lying_safetensors(rng, self.tensors))
        require_same(everything(path), load_bytes(path.read_bytes()))

    def npz(self, rng: random.Random, path: Path, kind: str = "npz") -> None:
        path.write_bytes(damaged(rng, self.valid[kind]))
        require_same(everything(path), self.tensors)

    def packed_npz(self, rng: random.Random, path: Path) -> None:
        self.npz(rng, path, "packed_npz")

    def lying_npz(self, rng: random.Random, path: Path) -> None:
        path.write_bytes(lying_npz(rng, self.tensors))
        require_same(everything(path), numpys(path))

    def folder(self, rng: random.Random, path: Path) -> None:
        path = self.own / "model.safetensors"
        if rng.random() < 0.5:
            path.write_bytes(damaged(rng, self.valid["folder"]))
        else:
            path.write_bytes(lying_safetensors(rng, self.state))
        network, _ = build(read(self.own))
        require_same(network.state_dict(), self.state)

    def pth(self, rng: random.Random, path: Path, kind: str = "pth") -> Tensors:
        """What `PickledFile` does, with this process in the place of the other one."""
        path.write_bytes(damaged(rng, self.valid[kind]))
        target = path.with_name("converted")
        target.unlink(missing_ok=True)
        try:
            check(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DataError("refused from outside") from error
        try:
            unpickling.convert(str(path), str(target), MEMORY)
        except Exception as error:  # the other process says so, whatever it is
            raise DataError("refused from inside") from error
        found = everything(target)
        if kind == "pth":  # the old form has no checksums
            require_same(found, self.tensors)
        return found

    def old_pth(self, rng: random.Random, path: Path) -> None:
        self.pth(rng, path, "old_pth")


def arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        name: value.view(torch.int16).numpy().view("V2") if value.dtype == torch.bfloat16 else value.numpy()
        for name, value in tensors.items()
    }


def written(write: Callable[[io.BytesIO], None]) -> bytes:
    made = io.BytesIO()
    write(made)
    return made.getvalue()


# Workers -------------------------------------------------------------------------------------------


def work(first: int, count: int, progress: Path) -> None:
    """Run mutations in this process and print the outcome; a file tells how far it came, should it die."""
    warnings.simplefilter("ignore")
    faulthandler.register(signal.SIGPROF, chain=True)  # says where, then dies
    torch.set_num_threads(1)
    unpickling.limit_memory = lambda _: None  # the limit below takes its place
    unpickling.refuse_all_but = lambda _: None  # a hook would stay for good
    unpickling.leave_network = lambda: None
    with tempfile.TemporaryDirectory() as place:
        fuzz = Fuzz(Path(place))
        for number in range(60):  # what is imported and kept at the first use is no leak
            attempt(fuzz, number)
        taken = memory_taken()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
        counts: Counter[str] = Counter()
        failures, slowest = [], 0.0
        with progress.open("r+b", buffering=0) as mark:
            for number in range(first, first + count):
                mark.seek(0)
                mark.write(b"%20d" % number)
                signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of this process's own time: the machine may be busy
                begun = time.process_time()
                kind, outcome = attempt(fuzz, number)
                slowest = max(slowest, time.process_time() - begun)
                counts[f"{kind} {outcome.split(':')[0]}"] += 1
                if outcome not in ("read", "refused"):
                    failures.append(f"{number} ({kind}): {outcome}")
        signal.setitimer(signal.ITIMER_PROF, 0)
        grown = memory_taken() - taken
        print(json.dumps({"counts": counts, "failures": failures, "slowest": slowest, "grown": grown}))


def memory_taken() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def attempt(fuzz: Fuzz, number: int) -> tuple[str, str]:
    try:
        return fuzz.run(number)
    except Exception as error:  # anything but vitral's own errors is what this looks for
        return "?", f"failed: {type(error).__name__}: {str(error)[:300]}"


def survey(first: int, count: int) -> dict[str, Any]:
    """Run mutations in a worker; where it dies, that mutation is a failure and another worker goes on."""
    whole: dict[str, Any] = {"counts": Counter(), "failures": [], "slowest": 0.0, "grown": 0}
    end = first + count
    with tempfile.NamedTemporaryFile() as progress:
        while first < end:
            Path(progress.name).write_bytes(b"%20d" % first)
            words = ["--worker", progress.name, "--first", str(first), "--count", str(end - first)]
            done = subprocess.run(
                [sys.executable, "-m", "tests.weights.fuzz", *words], capture_output=True, check=False
            )
            if done.returncode == 0:
                part = json.loads(done.stdout.splitlines()[-1])
                whole["counts"].update(part["counts"])
                whole["failures"] += part["failures"]
                for key in ("slowest", "grown"):
                    whole[key] = max(whole[key], part[key])
                return whole
            stopped = int(Path(progress.name).read_bytes())
            said = done.stderr.decode(errors="replace")[-1000:]
            whole["failures"].append(f"{stopped}: the worker ended with {done.returncode}: {said}")
            whole["counts"]["lost with a worker"] += stopped - first
            first = stopped + 1
            if len(whole["failures"]) > 5:
                return whole
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.first, options.count, options.worker)
        return
    share = -(-options.count // options.workers)
    with ThreadPoolExecutor(options.workers) as pool:
        parts = list(pool.map(lambda k: survey(options.first + k * share, share), range(options.workers)))
    counts = sum((part["counts"] for part in parts), Counter())
    for name in sorted(counts):
        print(f"{name:30} {counts[name]:8}")
    print(f"slowest {max(part['slowest'] for part in parts):.2f} s of its own time")
    print(f"a worker's address space has grown by {max(part['grown'] for part in parts) / 1e6:.0f} MB at its end")
    failures = [failure for part in parts for failure in part["failures"]]
    print(f"{len(failures)} failures", *failures[:50], sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
