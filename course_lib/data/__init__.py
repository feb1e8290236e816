"""Image sets as tensors that live on the device.

A set is small enough to sit in the device's memory whole: as ``uint8`` a pixel takes one byte, and a
batch becomes normalised ``float32`` only when it is used. So there are no worker processes and no
Python code per image, which is what makes an epoch of a small network fast.

``mnist()`` needs no network. The full sets are downloaded once, into ``$COURSE_DATA`` or the user's
cache folder, in torchvision's layout, from torchvision's addresses and against its checksums.
"""

from course_lib.data.images import Augment, Images
from course_lib.data.patches import patches
from course_lib.data.photographs import photos
from course_lib.data.scenes import Scene, shapes
from course_lib.data.sets import cifar10, fashion_mnist, mnist

__all__ = ["Augment", "Images", "Scene", "cifar10", "fashion_mnist", "mnist", "patches", "photos", "shapes"]
