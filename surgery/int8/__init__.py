"""What passes for int8 share: the quantizer, calibration, ranges of channels, outliers, blocks."""
