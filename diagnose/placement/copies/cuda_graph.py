"""What prevents capturing a model as a CUDA graph: control flow, copies, and kernels that wait for the device.

Source: with `enable_cuda_graph` ONNX Runtime refuses a graph with control flow or any Memcpy node when the session is
made (inference_session.cc); shape arithmetic on the CPU is allowed, since a captured shape is fixed. Kernels whose
output size depends on data copy a count to the host and wait for it, which a capture does not survive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxfix.diagnose.placement.region import Region
from onnxfix.nouns.plan import Copy, NodePlacement, Obstacle
from onnxfix.nouns.runtime.provider import placed_on

from .copies import label


def obstacles(region: Region, nodes: Sequence[NodePlacement], copies: Sequence[Copy]) -> tuple[Obstacle, ...]:
    """Every node that prevents a CUDA graph, in the order control flow, copies, waiting kernels, nodes off the GPU."""
    return (*_control_flow(region), *_copied(copies), *_waiting(nodes), *_left_out(nodes, copies))


def _control_flow(region: Region) -> Iterator[Obstacle]:
    for inner in region.walk():
        for node in inner.nodes:
            if node.regions:
                yield Obstacle(label(node), node.op_type, f"{node.op_type} is control flow")


def _copied(copies: Sequence[Copy]) -> Iterator[Obstacle]:
    for copy in copies:
        where = copy.direction.replace("_", " ")
        yield Obstacle(copy.cause_node, copy.cause_op_type, f"{copy.value} is copied {where}: {copy.cause}")


def _waiting(nodes: Sequence[NodePlacement]) -> Iterator[Obstacle]:
    for node in nodes:
        if node.op_type in (placed_on(node.provider).waiting or ()):
            text = f"the kernel of {node.op_type} waits for the device to learn how large its result is"
            yield Obstacle(node.name, node.op_type, text)


def _left_out(nodes: Sequence[NodePlacement], copies: Sequence[Copy]) -> Iterator[Obstacle]:
    """Nodes on the host without a copy, between an input and an output of the graph: a replay would not run them."""
    blamed = {copy.cause_key for copy in copies}
    for node in nodes:
        if node.lacks_kernel and node.key not in blamed:
            yield Obstacle(node.name, node.op_type, f"a replay does not run it: {node.reason}")
