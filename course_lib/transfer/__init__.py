"""Take a network that was trained on one task to another: a new head, frozen stages, gentle rates, probes.

Everything here works on any network that is an ``nn.Module`` whose last linear or 1×1 convolutional layer
gives the logits: those of this library and torchvision's.
"""

from course_lib.transfer.field import Pretrained, field
from course_lib.transfer.fine_tuning import FrozenThenAll, fine_tune, layerwise_rates
from course_lib.transfer.freezing import Counts, count, freeze, unfreeze
from course_lib.transfer.imagenet import download_weights
from course_lib.transfer.probe import (
    CENTRED,
    IMAGENET,
    check_classes,
    features,
    linear_probe,
    nearest_neighbours,
    prepare,
)
from course_lib.transfer.structure import batch_norms, cut_first_layer, head, replace_head, stages

__all__ = [
    "CENTRED",
    "IMAGENET",
    "Counts",
    "FrozenThenAll",
    "Pretrained",
    "batch_norms",
    "check_classes",
    "count",
    "cut_first_layer",
    "download_weights",
    "features",
    "field",
    "fine_tune",
    "freeze",
    "head",
    "layerwise_rates",
    "linear_probe",
    "nearest_neighbours",
    "prepare",
    "replace_head",
    "stages",
    "unfreeze",
]
