"""Training pictures read through a cache, at a smaller scale, or plainly."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from vitral.config import AugmentationConfig, DataConfig, Preprocessing, RunConfig, RuntimeConfig
from vitral.data.cache import Cache, Disk, Memory, stamp
from vitral.data.decode import decode
from vitral.data.geometry import inception_box, resize, shorter_side
from vitral.data.random_streams import sample_generator
from vitral.data.reading import Reader
from vitral.data.transforms import augment, vary
from vitral.errors import StorageError, UnreadableImageError, UsageError

INCEPTION = AugmentationConfig(min_area=0.3)
SMALL = Preprocessing(crop=(16, 16), resize=20)


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    """Smooth, as photographs are: coarse noise enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def written(folder: Path, count: int = 4, size: tuple[int, int] = (60, 80)) -> list[Path]:
    """JPEGs of two orientations, and every third a PNG."""
    folder.mkdir(exist_ok=True)
    paths = []
    for i in range(count):
        path = folder / f"{i}.{'png' if i % 3 == 2 else 'jpg'}"
        exif = Image.Exif()
        exif[0x0112] = 6 if i % 2 else 1
        photograph(*size, seed=i).save(path, exif=exif, **({} if i % 3 == 2 else {"quality": 90}))
        paths.append(path)
    return paths


def viewed(reader: Reader, path: Any, sample: int, augmentation: AugmentationConfig, epoch: int = 0) -> np.ndarray:
    rng = sample_generator(0, epoch, sample)
    made = reader.make(path, lambda picture: vary(picture.cut(rng, augmentation, SMALL), rng, augmentation))
    copy: np.ndarray = made.copy()  # as the loader does: the memory may be used again
    return copy


def caches(folder: Path) -> list[Cache | None]:
    return [
        None, Memory("pixels", 10**6), Memory("files", 10**6), Memory("pixels", 20_000), Memory("pixels", 1),
        Disk("pixels", 10**6, folder / "a", None, True), Disk("files", 10**6, folder / "b", None, False),
    ]  # fmt: skip


@pytest.mark.parametrize("crop", ["inception", "resize-random", "none"])
def test_a_cache_changes_no_pixel_however_little_fits(crop: Any, tmp_path: Path) -> None:
    paths, augmentation = written(tmp_path / "p"), AugmentationConfig(crop=crop)
    for cache in caches(tmp_path):
        reader = Reader(cache=cache)
        for epoch in range(3):
            for i, path in enumerate(paths):
                wanted = augment(decode(path), sample_generator(0, epoch, i), augmentation, SMALL)
                assert np.array_equal(viewed(reader, path, i, augmentation, epoch), wanted), (cache, epoch, path)
        if cache is not None:
            assert cache.found == 2 * cache.pictures
            assert cache.full == (cache.pictures < len(paths))
            assert cache.bytes <= cache.size
    assert (caches(tmp_path)[3], reader.cache) != (None, None)


def test_a_cache_that_is_too_small_keeps_what_fits(tmp_path: Path) -> None:
    paths, cache = written(tmp_path / "p"), Memory("pixels", 2 * 60 * 80 * 3)
    for _ in range(2):
        for i, path in enumerate(paths):
            viewed(Reader(cache=cache), path, i, INCEPTION)
    assert (cache.pictures, cache.bytes, cache.found, cache.full) == (2, 28_800, 2, True)


@pytest.mark.parametrize("of", ["files", "pixels"])
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_file_that_changed_is_read_again(of: Any, kind: str, tmp_path: Path) -> None:
    (path,) = written(tmp_path / "p", 1)
    cache = Memory(of, 10**6) if kind == "ram" else Disk(of, 10**6, tmp_path / "c", None, False)
    before = viewed(Reader(cache=cache), path, 0, INCEPTION)
    old, data = path.stat(), bytearray(path.read_bytes())
    photograph(60, 80, seed=9).save(path, quality=90)
    changed = path.read_bytes()
    path.write_bytes(changed + bytes(max(0, len(data) - len(changed))))
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))  # as a copying program may: the time alone does not tell
    after = viewed(Reader(cache=cache), path, 0, INCEPTION)
    assert not np.array_equal(before, after)
    assert np.array_equal(after, augment(decode(path), sample_generator(0, 0, 0), INCEPTION, SMALL))


def test_a_disk_cache_serves_another_run_and_a_torn_entry_is_not_believed(tmp_path: Path) -> None:
    paths = written(tmp_path / "p")
    first = Disk("pixels", 10**6, tmp_path / "c", None, False)
    wanted = [viewed(Reader(cache=first), path, i, INCEPTION) for i, path in enumerate(paths)]
    first.close(done=True)
    entries = sorted((tmp_path / "c").glob("*/*"))
    assert len(entries) == len(paths)
    entries[0].write_bytes(entries[0].read_bytes()[:-5])
    damaged = bytearray(entries[1].read_bytes())
    damaged[-100] ^= 1
    entries[1].write_bytes(damaged)
    entries[2].write_bytes(b"")
    second = Disk("pixels", 10**6, tmp_path / "c", None, False)
    again = [viewed(Reader(cache=second), path, i, INCEPTION) for i, path in enumerate(paths)]
    assert np.array_equal(again, wanted)
    assert second.found == 1
    assert Disk("pixels", 10**6, tmp_path / "c", 32, False).pixels(paths[3]) is None  # of another size


def test_a_cache_of_its_own_run_goes_with_it_and_nothing_else(tmp_path: Path) -> None:
    paths = written(tmp_path / "p")
    for done, left in ((False, True), (True, False)):
        cache = Disk("pixels", 10**6, tmp_path / "c", None, True)
        viewed(Reader(cache=cache), paths[0], 0, INCEPTION)
        cache.close(done)
        assert (tmp_path / "c").exists() == left


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_picture_that_many_threads_keep_at_once_counts_once(kind: str, tmp_path: Path) -> None:
    cache = Memory("pixels", 10**6) if kind == "memory" else Disk("pixels", 10**6, tmp_path / "cache", None, True)
    paths, pixels = written(tmp_path / "pictures", 8), np.zeros((20, 20, 3), dtype=np.uint8)
    for path in paths:
        together = threading.Barrier(4)

        def keep(together: threading.Barrier = together, path: Path = path) -> None:
            together.wait()
            cache.keep_pixels(path, pixels.copy())

        threads = [threading.Thread(target=keep) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (cache.pictures, cache.bytes) == (8, 8 * pixels.nbytes)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (path,) = written(tmp_path / "p", 1)
    cache = Disk("pixels", 10**6, tmp_path / "c", None, False)
    entry = cache._path(stamp(path) or b"")
    entry.parent.write_bytes(b"in the way")
    viewed(Reader(cache=cache), path, 0, INCEPTION)
    assert cache.failure is not None
    assert (cache.pictures, cache.bytes) == (0, 0)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot keep pictures"):
        Disk("files", 1, tmp_path / "file", None, False)


@pytest.mark.parametrize(
    "reader", [Reader(), Reader(scaled=True), Reader(shrink=8), Reader(cache=Memory("files", 9**9))]
)
def test_a_broken_picture_is_named_whatever_the_way(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "torn.jpg"
    data = io.BytesIO()
    photograph(200, 200).save(data, "JPEG")
    path.write_bytes(data.getvalue()[:-400])
    with pytest.raises(UnreadableImageError) as caught:
        viewed(reader, path, 0, INCEPTION)
    assert (caught.value.source, caught.value.reason) == (str(path), "truncated")
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg"):
        viewed(reader, tmp_path / "gone.jpg", 0, INCEPTION)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_scaled_decoding_cuts_the_same_place_to_half_a_new_pixel(orientation: int, tmp_path: Path) -> None:
    """Against the cut from the whole picture, and against the same moved by more than it may be."""
    path, exif = tmp_path / "p.jpg", Image.Exif()
    exif[0x0112] = orientation
    photograph(480, 640).save(path, quality=95, exif=exif)
    whole = decode(path)
    for sample in range(8):
        box = inception_box(whole.shape[:2], INCEPTION.min_area, sample_generator(0, 0, sample))  # type: ignore[arg-type]
        found = viewed(Reader(scaled=True), path, sample, AugmentationConfig(min_area=0.3, flip=False)).astype(int)
        by = next(by for by in (8, 4, 2) if min(box.height, box.width) // by >= 16)
        reach = range(-by // 2, by // 2 + 1)

        def error(top: int, left: int, box: Any = box, found: np.ndarray = found) -> float:
            moved = box._replace(top=min(max(top, 0), whole.shape[0] - box.height), left=max(left, 0))
            return float(np.abs(resize(moved.cut(whole), (16, 16), "bilinear").astype(int) - found).mean())

        near = min(error(box.top + y, box.left + x) for y in reach for x in reach)
        assert near < 3.0, (sample, by, near)


def test_scaled_decoding_leaves_alone_what_it_would_rob_of_pixels(tmp_path: Path) -> None:
    """A crop of less than twice the input is cut from the whole picture."""
    path = tmp_path / "p.jpg"
    photograph(31, 31).save(path)
    for crop in ("inception", "resize-random", "none"):
        augmentation = AugmentationConfig(crop=crop)
        assert np.array_equal(
            viewed(Reader(scaled=True), path, 0, augmentation), viewed(Reader(), path, 0, augmentation)
        )


def test_scaled_decoding_of_a_whole_picture_is_the_decoder_s_own(tmp_path: Path) -> None:
    path = tmp_path / "p.jpg"
    photograph(100, 161).save(path, quality=90)
    smaller = simplejpeg.decode_jpeg(path.read_bytes(), min_height=25, min_width=40)
    assert smaller.shape == (25, 41, 3)
    augmentation = AugmentationConfig(crop="resize-random", flip=False)
    found = viewed(Reader(scaled=True), path, 0, augmentation)
    assert np.array_equal(found, augment(smaller, sample_generator(0, 0, 0), augmentation, SMALL))


@pytest.mark.parametrize("cached", [False, True])
def test_shrinking_brings_the_shorter_side_to_a_size_and_leaves_smaller_pictures(cached: bool, tmp_path: Path) -> None:
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    photograph(90, 60).save(large)
    photograph(30, 40).save(small)
    for path, size in ((large, shorter_side(90, 60, 48)), (small, (30, 40))):
        reader = Reader(shrink=48, cache=Memory("pixels", 10**6) if cached else None)
        wanted = resize(decode(path), size, "bilinear")
        for epoch in range(2):
            made = augment(wanted, sample_generator(0, epoch, 0), INCEPTION, SMALL)
            assert np.array_equal(viewed(reader, path, 0, INCEPTION, epoch), made)


def test_reading_and_what_follows_are_timed_apart(tmp_path: Path) -> None:
    (path,) = written(tmp_path / "p", 1)
    times = iter([10.0, 13.0, 14.5])
    noted: list[tuple[float, float]] = []
    reader = Reader(note=lambda read, made: noted.append((read, made)), clock=lambda: next(times))
    viewed(reader, path, 0, INCEPTION)
    assert noted == [(3.0, 1.5)]


def test_pictures_in_memory_need_no_cache() -> None:
    cache, image = Memory("pixels", 10**6), np.asarray(photograph(40, 40))
    viewed(Reader(cache=cache), image, 0, INCEPTION)
    viewed(Reader(cache=cache), Image.fromarray(image), 0, INCEPTION)
    assert cache.pictures == 0


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="cache-of files"):
        RunConfig(data=DataConfig(scaled_decoding=True), runtime=RuntimeConfig(cache="ram"))
    with pytest.raises(UsageError, match="give one of the two"):
        RunConfig(data=DataConfig(scaled_decoding=True, shrink=256))
    with pytest.raises(UsageError, match="cache_size must be above 0"):
        RuntimeConfig(cache="ram", cache_size=-1.0)
    with pytest.raises(UsageError, match="goes with --cache disk"):
        RuntimeConfig(cache_folder="somewhere")
