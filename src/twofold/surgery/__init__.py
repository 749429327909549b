"""Surgery on trained networks: statistics of activations, units that can be cut, their importance, and repairs."""

from twofold.parts.trace import blocks
from twofold.surgery.calibrate import Batch, Gram, Layer, Sample, Squares, Statistic, Walk
from twofold.surgery.costs import Budget, block_flops, unit_flops
from twofold.surgery.factorise import factorise, merged
from twofold.surgery.importance import select, select_uniform, unit_range
from twofold.surgery.interpolative import Interpolation, Pivoted, block_pivoted, pivoted, root
from twofold.surgery.least_squares import LeastSquares, r_squared
from twofold.surgery.recorder import Recording, record
from twofold.surgery.units import Heads, Neurons, Units, compact, find

__all__ = [
    "Batch",
    "Budget",
    "Gram",
    "Heads",
    "Interpolation",
    "Layer",
    "LeastSquares",
    "Neurons",
    "Pivoted",
    "Recording",
    "Sample",
    "Squares",
    "Statistic",
    "Units",
    "Walk",
    "block_flops",
    "block_pivoted",
    "blocks",
    "compact",
    "factorise",
    "find",
    "merged",
    "pivoted",
    "r_squared",
    "record",
    "root",
    "select",
    "select_uniform",
    "unit_flops",
    "unit_range",
]
