"""Which folders are installed as which packages: those of the top level below `onnxfix`. A new room needs no entry."""

from setuptools import find_packages, setup

BELOW = ("surgery", "diagnose", "export", "eval")

setup(
    packages=[
        *find_packages(include=["onnxfix", "onnxfix.*"]),
        *(f"onnxfix.{name}" for part in BELOW for name in find_packages(include=[part, f"{part}.*"])),
    ],
    package_dir={"onnxfix": "onnxfix", **{f"onnxfix.{part}": part for part in BELOW}},
)
