"""Which operations of torch the page's engine knows, and under which name.

A torch operation comes in overloads, ``add.Tensor`` and ``add.Scalar``; to the engine they are one. Whatever
torch itself can express by others is decomposed before and does not stand here.
"""

from __future__ import annotations

import torch
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._ops import OpOverload

aten = torch.ops.aten

# Another look at the same numbers: no work in the page. What does nothing at all there stands under "same".
VIEWS = """
same: alias detach clone lift_fresh lift_fresh_copy contiguous copy
view: view _unsafe_view reshape view_copy
permute: permute permute_copy
expand: expand expand_copy
slice: slice.Tensor slice_copy.Tensor
select: select.int select_copy.int
unsqueeze: unsqueeze unsqueeze_copy
squeeze: squeeze squeeze.dim squeeze.dims squeeze_copy squeeze_copy.dims
as_strided: as_strided as_strided_copy
diagonal: diagonal diagonal_copy
split: split.Tensor split_copy.Tensor split_with_sizes split_with_sizes_copy
flip: flip
unfold: unfold unfold_copy
"""

# One number at a time. Both sides of these are brought to one type first.
ARITHMETIC = """
add: add.Tensor add.Scalar
sub: sub.Tensor sub.Scalar
mul: mul.Tensor mul.Scalar
div: div.Tensor div.Scalar div.Tensor_mode div.Scalar_mode
pow: pow.Tensor_Tensor pow.Tensor_Scalar pow.Scalar
maximum: maximum
minimum: minimum
fmod: fmod.Tensor fmod.Scalar
remainder: remainder.Tensor remainder.Scalar
atan2: atan2
neg: neg
abs: abs
sign: sign
exp: exp
exp2: exp2
expm1: expm1
log: log
log2: log2
log10: log10
log1p: log1p
sqrt: sqrt
rsqrt: rsqrt
reciprocal: reciprocal
sin: sin
cos: cos
tan: tan
asin: asin
acos: acos
atan: atan
sinh: sinh
cosh: cosh
tanh: tanh
sigmoid: sigmoid
erf: erf
relu: relu
floor: floor
ceil: ceil
round: round round.decimals
trunc: trunc
clamp: clamp clamp.Tensor
where: where.self
bitwise_and: bitwise_and.Tensor bitwise_and.Scalar
bitwise_or: bitwise_or.Tensor bitwise_or.Scalar
bitwise_xor: bitwise_xor.Tensor bitwise_xor.Scalar
"""

COMPARISONS = """
eq: eq.Tensor eq.Scalar
ne: ne.Tensor ne.Scalar
lt: lt.Tensor lt.Scalar
le: le.Tensor le.Scalar
gt: gt.Tensor gt.Scalar
ge: ge.Tensor ge.Scalar
logical_and: logical_and
logical_or: logical_or
logical_xor: logical_xor
logical_not: logical_not
bitwise_not: bitwise_not
isnan: isnan
isinf: isinf
"""

OTHERS = """
to: _to_copy
sum: sum sum.dim_IntList
mean: mean mean.dim
prod: prod prod.dim_int
amax: amax
amin: amin
any: any any.dim any.dims
all: all all.dim all.dims
argmax: argmax
argmin: argmin
max: max.dim
min: min.dim
var: var.correction
cumsum: cumsum
sort: sort sort.stable
topk: topk
softmax: _softmax
log_softmax: _log_softmax
mm: mm
bmm: bmm
addmm: addmm
convolution: convolution
convolution_backward: convolution_backward
batch_norm: _native_batch_norm_legit_no_training
max_pool2d: max_pool2d_with_indices
max_pool2d_backward: max_pool2d_with_indices_backward
avg_pool2d: avg_pool2d
avg_pool2d_backward: avg_pool2d_backward
adaptive_avg_pool2d: _adaptive_avg_pool2d
adaptive_avg_pool2d_backward: _adaptive_avg_pool2d_backward
cat: cat
constant_pad: constant_pad_nd
slice_scatter: slice_scatter
select_scatter: select_scatter
gather: gather
scatter: scatter.value scatter.src
scatter_add: scatter_add
index_select: index_select
embedding: embedding
index: index.Tensor
index_put: index_put
"""


def _read(table: str) -> dict[OpOverload, str]:
    """The lines of a table, as a name for each overload."""
    found = {}
    for line in table.split("\n"):
        name, _, overloads = line.partition(": ")
        for overload in overloads.split():
            packet, _, which = overload.partition(".")
            found[getattr(getattr(aten, packet), which or "default")] = name
    return found


NAMES = {op: name for table in (VIEWS, ARITHMETIC, COMPARISONS, OTHERS) for op, name in _read(table).items()}
ARITHMETIC_NAMES = frozenset(_read(ARITHMETIC).values())
COMPARISON_NAMES = frozenset(_read(COMPARISONS).values())
VIEW_NAMES = frozenset(_read(VIEWS).values())

OPERATIONS = frozenset(str(op).removesuffix(".default") for op in NAMES)
"""The overloads that the page's engine knows, such as ``aten.add.Tensor`` and ``aten.relu``."""

# Core ATen keeps some that are simple sums of others; the fewer the page has to know, the better.
FURTHER = (
    aten.native_batch_norm, aten.native_batch_norm_backward, aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_functional, aten.native_layer_norm, aten.native_layer_norm_backward,
    aten.native_group_norm, aten.native_group_norm_backward, aten._fused_rms_norm,
    aten.addcmul, aten.addcdiv, aten.lerp,
    aten.leaky_relu, aten.elu, aten.gelu, aten.silu, aten.hardtanh_backward, aten.masked_fill, aten.repeat,
    aten._log_softmax_backward_data, aten._softmax_backward_data, aten.threshold_backward,
    aten.embedding_dense_backward, aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.std,
)  # fmt: skip


def decompositions() -> dict:
    """How torch expresses its other operations by these."""
    table = {**core_aten_decompositions(), **get_decompositions(FURTHER)}
    in_training = table[aten.native_batch_norm.default]

    def batch_norm(x, weight, bias, mean, var, training, momentum, eps):
        if training or mean is None:
            return in_training(x, weight, bias, mean, var, training, momentum, eps)
        return aten._native_batch_norm_legit_no_training(x, weight, bias, mean, var, momentum, eps)

    def var_mean(x, dim=None, *, correction=None, keepdim=False):
        dims = list(range(x.dim())) if dim is None else dim
        return aten.var.correction(x, dims, correction=correction, keepdim=keepdim), x.mean(dims, keepdim)

    def unbind(x, dim=0):
        return [x.select(dim, k) for k in range(x.shape[dim])]

    table[aten.unbind.int] = table[aten.unbind_copy.int] = unbind
    table[aten.native_batch_norm.default] = batch_norm
    table[aten.var_mean.correction] = var_mean
    table[aten.hardtanh.default] = lambda x, low=-1.0, high=1.0: aten.clamp.default(x, low, high)
    table[aten.max.default], table[aten.min.default] = aten.amax.default, aten.amin.default
    return {op: how for op, how in table.items() if op not in NAMES}
