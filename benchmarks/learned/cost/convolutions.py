"""What do the convolutions' own derivatives bring on this machine, inside loops and outside?

    python benchmarks/learned/cost/convolutions.py [--size 128] [--batch 2] [--n-iter 6] [--quick]

One gradient, in the kernels, of K residual blocks of three convolutions with 32 channels: as a scan
over the blocks and written out one after the other; with the convolution of `nets.layers` and with
XLA's, as flax calls it. On a CPU XLA orders a convolution's axes at a program's top level alone, so
that its backward pass inside a loop is the slow one. Prints the least of five calls in milliseconds
and XLA's temporaries in MB; gradients must agree to 1e-3.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import _memory
import jax
import jax.numpy as jnp
import numpy as np
from solvers import relative

from jaxrecon.nets.layers._correlation import correlate

PADDING = ((1, 1), (1, 1))
WIDTHS = (1, 32, 32, 1)
ORDER = ("NHWC", "HWIO", "NHWC")


def xla(x: Any, kernel: Any) -> Any:
    """As flax has it."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), PADDING, dimension_numbers=ORDER)


def own(x: Any, kernel: Any) -> Any:
    """As `nets.layers.Conv` has it."""
    return correlate(x, kernel, PADDING)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="pixels along a side")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--n-iter", type=int, default=6, help="blocks")
    parser.add_argument("--quick", action="store_true", help="16 pixels, 2 blocks")
    options = parser.parse_args()
    if options.quick:
        options.size, options.n_iter = 16, 2
    device = jax.devices()[0].device_kind
    print(json.dumps({"jax": jax.__version__, "python": platform.python_version(), "on": device}))
    keys = jax.random.split(jax.random.key(0), len(WIDTHS))
    x = jax.random.normal(keys[-1], (options.batch, options.size, options.size, 1))
    shapes = zip(keys, WIDTHS[:-1], WIDTHS[1:])
    kernels = [0.05 * jax.random.normal(k, (options.n_iter, 3, 3, a, b)) for k, a, b in shapes]
    expected = None
    for form, loop in (("scan", True), ("written out", False)):
        for name, convolution in (("own", own), ("XLA's", xla)):
            gradient, record = timed(slope(convolution, loop), kernels, x)
            expected = gradient if expected is None else expected
            record["differs_by"] = float(f"{relative(gradient, expected):.2g}")
            assert record["differs_by"] < 1e-3, record
            print(json.dumps({"form": form, "convolution": name, **record}), flush=True)


def slope(convolution: Callable, loop: bool) -> Callable:
    """The gradient of a loss through the blocks."""

    def block(x: Any, kernels: Any) -> tuple[Any, None]:
        y = x
        for kernel in kernels[:-1]:
            y = jax.nn.relu(convolution(y, kernel))
        return x + convolution(y, kernels[-1]), None

    def loss(kernels: Any, x: Any) -> Any:
        n_iter = kernels[0].shape[0]
        return jnp.mean(jax.lax.scan(block, x, kernels, unroll=1 if loop else n_iter)[0] ** 2)

    return jax.jit(jax.grad(loss))


def timed(function: Any, *arguments: Any) -> tuple[np.ndarray, dict]:
    """What a function returns, as one array, and its least time of five."""
    program, times = function.lower(*arguments).compile(), []
    result = jax.block_until_ready(program(*arguments))
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times.append(time.perf_counter() - start)
    flat = np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(result)])
    megabytes = (_memory.temporary_bytes(program) or 0) / 1e6
    return flat, {"ms": round(1e3 * min(times), 1), "temporary_mb": round(megabytes, 1)}


if __name__ == "__main__":
    main()
