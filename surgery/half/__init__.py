"""What passes for half precision share: rounding, constants, functions that keep islands in fp32."""
