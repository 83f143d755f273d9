"""Graph: a network's operations in the order in which they run, and what each of them puts out.

A module that is called again has two operations there, which is why nothing goes by its name.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx, nn
from torchvision.ops import SqueezeExcitation

from models.custom_layers import ChannelAttention, CustomConv, L2Pooling, Swish
from models.locally_connected import LocallyConnected2d

# Layers that stay whole: torch.fx cannot see into our Functions, and what a gate is made of is no
# layer on the way.
OPAQUE = (
    ChannelAttention,
    CustomConv,
    L2Pooling,
    LocallyConnected2d,
    SqueezeExcitation,
    Swish,
)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Our own layers stay whole, as PyTorch's do."""
        return isinstance(m, OPAQUE) or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,
        concrete_args: Any = None,  # noqa: ANN401 (none are given)
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Images alone: fx would take an optional argument for one that is given."""

        def forward(network: nn.Module, images: Tensor) -> Any:  # noqa: ANN401
            return root_fn(network, images)

        return super().create_args_for_root(forward, is_module, concrete_args)


def trace(network: nn.Module) -> fx.Graph:
    """The network's operations, in the order in which they run; whatever fx raises where it can't.

    What ``forward`` asks of ``training`` has the answer of now, and what it takes besides images
    its default.
    """
    parts = list(network.modules())
    hooks = [hook for part in parts for hook in part._forward_pre_hooks.values()]
    # torch's own compute weights, as spectral norm does
    own = [hook for hook in hooks if not str(hook.__module__).startswith("torch.")]
    if own or network._forward_pre_hooks or any(part._forward_hooks for part in parts):
        raise NotImplementedError("hooks are not traced")
    if "forward" in vars(network):  # fx would look into that of its class
        raise NotImplementedError("a forward of the network's own is not traced, its class's is")
    return _Tracer().trace(network)


def calls(node: fx.Node) -> dict[str, str]:
    """The calls of modules in which an operation stands, the innermost last: call -> module.

    The first call is named as the module, "block", the others are "block@1", "block@2".
    """
    return {call: path for call, (path, _) in node.meta.get("nn_module_stack", {}).items()}


def function_of(node: fx.Node) -> str:
    """Name of the function or method that an operation calls; empty for a module."""
    if node.op not in ("call_function", "call_method"):
        return ""
    return node.target if isinstance(node.target, str) else node.target.__name__


def outputs(network: nn.Module, nodes: Sequence[fx.Node], images: Tensor) -> list[Tensor]:
    """What these operations of the network's graph put out for the images."""
    interpreter = fx.Interpreter(network, garbage_collect_values=False, graph=nodes[0].graph)
    interpreter.run(images)
    return [interpreter.env[node] for node in nodes]
