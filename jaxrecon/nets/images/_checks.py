"""What image networks ask of their arguments."""

from jaxtyping import Array, Float


def check_channels(x: Float[Array, "..."], n_in: int, n_axes: int) -> None:
    """Refuses an image without the axes or the channels that a network was built for."""
    axes = ("z", "y", "x")[-n_axes:]
    if x.ndim <= n_axes or x.shape[-1] != n_in:
        raise ValueError(
            f"`x` has shape {x.shape}, expected (..., {', '.join(axes)}, {n_in}), channels last: "
            "pass an image through `to_channels`, or build the network with another `n_in`"
        )


def check_residual(n_in: int, n_out: int) -> None:
    """Refuses a residual network with more outputs than inputs."""
    if n_out > n_in:
        raise ValueError(
            f"`n_out` is {n_out}, expected at most `n_in` {n_in} of a residual network, whose "
            "first input channels are added to the output: pass residual=False"
        )
