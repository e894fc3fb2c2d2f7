"""Which provider takes which node: kernel tables, shape chains, inlined operators, TensorRT's parser."""
