"""Surgery on trained networks: statistics of activations, units that can be cut, their importance, repairs, and
weights in few bits.
"""

from twofold.parts.trace import blocks
from twofold.surgery.adapters import add_adapters, merge_adapters
from twofold.surgery.calibrate import Batch, Gram, Layer, Sample, Squares, Statistic, Walk
from twofold.surgery.checks import refuse_damaged, refuse_packed
from twofold.surgery.costs import Budget, block_flops, unit_flops
from twofold.surgery.elastic import mix_n_match
from twofold.surgery.factorise import factorise, merged
from twofold.surgery.grafts import graft_cross_attention
from twofold.surgery.importance import select, select_uniform, unit_range
from twofold.surgery.interpolative import Interpolation, Pivoted, block_pivoted, pivoted, root
from twofold.surgery.least_squares import LeastSquares, r_squared
from twofold.surgery.long_texts import read_longer, with_vcc
from twofold.surgery.quantize import Fp4Grid, Grid, IntGrid, Nf4Grid, Quantized, TableGrid, quantize, relative_error
from twofold.surgery.ranges import best_scale
from twofold.surgery.recorder import Recording, record
from twofold.surgery.ternary import pack_bit158, to_bit158
from twofold.surgery.transfer import transfer_weights
from twofold.surgery.units import Heads, Neurons, Units, compact, find
from twofold.surgery.upcycle import upcycle
from twofold.surgery.widths import width_search

__all__ = [
    "Batch",
    "Budget",
    "Fp4Grid",
    "Gram",
    "Grid",
    "Heads",
    "IntGrid",
    "Interpolation",
    "Layer",
    "LeastSquares",
    "Neurons",
    "Nf4Grid",
    "Pivoted",
    "Quantized",
    "Recording",
    "Sample",
    "Squares",
    "Statistic",
    "TableGrid",
    "Units",
    "Walk",
    "add_adapters",
    "best_scale",
    "block_flops",
    "block_pivoted",
    "blocks",
    "compact",
    "factorise",
    "find",
    "graft_cross_attention",
    "merge_adapters",
    "merged",
    "mix_n_match",
    "pack_bit158",
    "pivoted",
    "quantize",
    "r_squared",
    "read_longer",
    "record",
    "refuse_damaged",
    "refuse_packed",
    "relative_error",
    "root",
    "select",
    "select_uniform",
    "to_bit158",
    "transfer_weights",
    "unit_flops",
    "unit_range",
    "upcycle",
    "width_search",
    "with_vcc",
]
