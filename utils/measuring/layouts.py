"""Layouts: where the positions of an image are once its map has another shape, and what mixes them.

A window that is moved over it again, as behind a channel shuffle by hand, sees what is not known,
unless each unit has seen the whole image meanwhile.
"""

from collections.abc import Sequence

from torch import fx, nn

from utils.measuring.graph import function_of

# fmt: off
RESHAPING_FUNCTIONS = {"flatten", "reshape", "unflatten", "view"}
REDUCING_FUNCTIONS = {"amax", "amin", "mean", "sum"}
# What mixes positions that lie along a dimension.
PRODUCT_FUNCTIONS = {"addmm", "bmm", "einsum", "matmul", "mm", "scaled_dot_product_attention"}
LAST_FUNCTIONS = {"layer_norm", "linear", "rms_norm"}  # they mix what lies along the last dimension
ALONG_FUNCTIONS = {  # and these what lies along the one that they are given
    *REDUCING_FUNCTIONS, "logsumexp", "max", "median", "min", "norm", "normalize", "softmax", "std",
    "var",
}
TURNING_FUNCTIONS = {"permute", "swapaxes", "transpose"}
# fmt: on
RESHAPING = (nn.Flatten, nn.Unflatten)
LAST_LAYERS = (nn.LayerNorm, nn.Linear, nn.RMSNorm)
MIXING = (
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool1d,
    nn.MultiheadAttention,
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
)
# Layouts of what was a map, and along which dimension there are the positions of an image.
ROWS, PLACES, TOKENS, HEADS, OTHER = "[n, chw]", "[n, c, hw]", "[n, hw, c]", "heads", "other"
ALONG = {ROWS: (1, -1), PLACES: (2, -1), TOKENS: (1, -2)}


def layout_of(
    node: fx.Node, module: nn.Module | None, before: Sequence[str], loses_channels: bool
) -> str:
    """The layout of what an operation puts out, where it was a map.

    Empty: it still is one, or its units see the whole image. ``before`` are the layouts of what it
    takes, of which none sees that yet; ``loses_channels``: as a mean over them without keepdim.
    """
    layout = next(filter(None, before), "")
    function = function_of(node)
    if function in RESHAPING_FUNCTIONS or isinstance(module, RESHAPING):
        return _layout(node, module, layout)
    if not layout:
        return OTHER if loses_channels else ""
    if function in TURNING_FUNCTIONS:
        return {PLACES: TOKENS, TOKENS: PLACES}.get(layout, layout)
    return "" if _mixes(node, module, layout, len(before)) else layout


def _mixes(node: fx.Node, module: nn.Module | None, layout: str, maps: int) -> bool:
    """Whether units see the whole image behind an operation that takes so many ``maps``."""
    function = function_of(node)
    if layout == OTHER:
        return False
    if function in PRODUCT_FUNCTIONS:
        return maps > 1 or layout == ROWS
    if layout == HEADS:
        return False
    if isinstance(module, LAST_LAYERS) or function in LAST_FUNCTIONS:
        return -1 in ALONG[layout]
    if function in ALONG_FUNCTIONS:
        place = 2 if function in ("norm", "normalize") else 1  # behind p
        default = 1 if function == "normalize" else None
        axes = node.args[place] if len(node.args) > place else default
        axes = node.kwargs.get("dim", node.kwargs.get("axis", axes))
        axes = axes if isinstance(axes, tuple | list) else [axes]
        return any(each is None or each in ALONG[layout] for each in axes)
    return isinstance(module, MIXING)


def _layout(node: fx.Node, module: nn.Module | None, before: str) -> str:
    """What a reshaping operation makes of a map, or of one that was laid out ``before``."""
    start, end = _dimensions(node, module)
    if end not in (-1, 3) or before == OTHER:
        return OTHER
    if before:  # the heads of an attention, in one dimension with others, or in one of their own
        return HEADS if before != ROWS and start in (2, 3, 4) else OTHER
    return {1: ROWS, -3: ROWS, 2: PLACES, -2: PLACES, 3: HEADS}.get(start, OTHER)


def _dimensions(node: fx.Node, module: nn.Module | None) -> tuple[int, int]:
    """The first and the last of those that become one, were it a map's last ones."""
    if isinstance(module, nn.Flatten):
        start, end = module.start_dim, module.end_dim
    elif function_of(node) == "flatten":
        given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
        start, end = given.get("start_dim", 0), given.get("end_dim", -1)
    else:
        sizes = node.args[1:]
        if sizes and isinstance(sizes[0], tuple | list):
            (sizes,) = sizes
        is_view = function_of(node) in ("reshape", "view")
        start, end = len(sizes) - 1 if is_view else 0, -1
    return start, end
