"""Masks computed: their part of a graph, cut out and run on samples of padding and length."""
