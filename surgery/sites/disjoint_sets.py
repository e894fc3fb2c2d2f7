"""Disjoint sets of nodes, each a tree towards the node that stands for it (Galler and Fischer, 1964)."""

from __future__ import annotations

import onnx_ir as ir


def root(above: dict[ir.Node, ir.Node], node: ir.Node) -> ir.Node:
    """The node that stands for a node's set; shortens the way there. `above`: a root is above itself."""
    while above[node] is not node:
        above[node] = above[above[node]]
        node = above[node]
    return node
