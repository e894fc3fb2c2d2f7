"""The parts of attention and of rotations written out: how each is read."""
