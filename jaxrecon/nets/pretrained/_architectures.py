"""The architectures of published networks: typed settings that build them, told apart by `kind`.

A card holds one of these as a table; nothing else of a card, and nothing of a file of weights,
decides what is built. To publish another kind of network, add its settings here.
"""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrecon.nets.generative import Preconditioned, ScoreUNet
from jaxrecon.nets.images import DnCNN, DRUNet, UNet
from jaxrecon.nets.priors import ImageDenoiser, RidgeNet
from jaxrecon.nets.reconstruction import (
    Alternating,
    ConvNet,
    FilteredBackprojection,
    ProximalConsistency,
    Unrolled,
    learned_primal_dual,
    stacked,
)
from jaxrecon.nets.reconstruction._variational import KspaceRefinement
from jaxrecon.solvers import ADMM, ProximalGradient


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageNetwork:
    """An image network inside another: as `ConvNet`, `DnCNN`, `DRUNet` or `UNet`.

    Attributes:
        kind: which.
        width: channels: between convolutions, or of the first level.
        depth: convolutions of "convnet" and "dncnn", halvings of "drunet" and "unet".
        n_blocks: "drunet": residual blocks in a chain.
        norm: "dncnn" and "unet": of features, see `layers.Norm`.
        use_bias: "dncnn": whether convolutions have biases.
        residual: "convnet", "dncnn" and "unet": whether the input is added to the output.
    """

    kind: Literal["convnet", "dncnn", "drunet", "unet"]
    width: int = 32
    depth: int = 3
    n_blocks: int = 2
    norm: str = "none"
    use_bias: bool = True
    residual: bool = True

    def build(self, n_in: int, n_out: int, *, rngs: nnx.Rngs, dtype: Any = None) -> nnx.Module:
        """The network with weights drawn at random."""
        shared: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        if self.kind == "convnet":
            widths = (self.width,) * (self.depth - 1)
            return ConvNet(n_in, n_out, widths=widths, residual=self.residual, **shared)
        shared |= {"width": self.width, "depth": self.depth}
        if self.kind == "drunet":
            return DRUNet(n_in, n_out, n_blocks=self.n_blocks, **shared)
        shared |= {"norm": self.norm, "residual": self.residual}
        if self.kind == "unet":
            return UNet(n_in, n_out, **shared)
        return DnCNN(n_in, n_out, use_bias=self.use_bias, **shared)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoiser:
    """An `ImageDenoiser` for real images, which is told sigma.

    Attributes:
        network: sees the image and a map of sigma.
        margin: pixels by which the image is mirrored over its borders.
    """

    kind: Literal["denoiser"] = "denoiser"
    network: ImageNetwork
    margin: int = 0

    def build(self, *, rngs: nnx.Rngs, dtype: Any = None) -> ImageDenoiser:
        """The denoiser with weights drawn at random."""
        net = self.network.build(2, 1, rngs=rngs, dtype=dtype)
        return ImageDenoiser(net, noise_map=True, margin=self.margin)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffusionPrior:
    """A `ScoreUNet` made a denoiser by `Preconditioned`. The attributes are their arguments.

    Attributes:
        complex_values: whether images are complex.
    """

    kind: Literal["diffusion"] = "diffusion"
    width: int = 64
    factors: tuple[int, ...] = (1, 2, 2)
    n_blocks: int = 2
    attention: tuple[int, ...] = ()
    n_heads: int = 4
    window: int = 8
    patch: int = 1
    n_groups: int = 8
    n_conditions: int = 0
    complex_values: bool = False
    sigma_data: float = 0.5

    def build(self, *, rngs: nnx.Rngs, dtype: Any = None) -> Preconditioned:
        """The denoiser with weights drawn at random."""
        arguments = _arguments(self)
        n_channels = 2 if arguments.pop("complex_values") else 1
        sigma_data = arguments.pop("sigma_data")
        net = ScoreUNet(n_channels, n_channels, **arguments, dtype=dtype, rngs=rngs)
        return Preconditioned(net, sigma_data=sigma_data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ridge:
    """A `RidgeNet`: CRR for modulus 0, WCRR for 1. The attributes are its arguments."""

    kind: Literal["ridge"] = "ridge"
    channels: tuple[int, ...] = (4, 8, 60)
    kernel: int = 5
    modulus: float = 1.0
    n_knots: int = 25
    reach: float = 1.0
    n_levels: int = 11
    max_sigma: float = 50 / 255
    n_iter: int = 200
    tol: float = 1e-4

    def build(self, *, rngs: nnx.Rngs, dtype: Any = None) -> RidgeNet:
        """The denoiser with weights drawn at random.

        Raises:
            ValueError: a dtype is given: it computes in that of the image.
        """
        if dtype is not None:
            raise ValueError(
                f"`dtype` is {jnp.dtype(dtype).name}, but ridge regularisers compute in the dtype "
                "of the image: leave it out"
            )
        return RidgeNet(**_arguments(self), rngs=rngs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnrolledIterations:
    """`Unrolled` iterations with an image network.

    Attributes:
        iteration: "pgd", "admm": the network in the place of the proximal map; "modl": data
            consistency by conjugate gradients after the network; "varnet": the network beside a
            soft correction in k-space, Cartesian MRI with given maps only.
        network: the image network.
        n_iter: iterations.
        n_inner: "admm": steps of each data update that has no closed form.
        shared: whether all have the same weights; always for "modl", never for "varnet".
        complex_values: whether images are complex.
        initial: the image to start from: "adjoint", that of `normalise`, for any scan; "fbp" for
            parallel and fan beams.
    """

    kind: Literal["unrolled"] = "unrolled"
    iteration: Literal["pgd", "admm", "modl", "varnet"]
    network: ImageNetwork
    n_iter: int = 8
    n_inner: int = 3
    shared: bool = False
    complex_values: bool = False
    initial: Literal["adjoint", "fbp"] = "adjoint"

    def build(self, *, rngs: nnx.Rngs, dtype: Any = None) -> Unrolled:
        """The network with weights drawn at random."""
        n = 2 if self.complex_values else 1
        make = lambda rngs: self.network.build(n, n, rngs=rngs, dtype=dtype)  # noqa: E731
        shared = {"modl": True, "varnet": False}.get(self.iteration, self.shared)
        network: Any = make(rngs) if shared else stacked(make, self.n_iter, rngs=rngs)
        options: dict[str, Any] = {"n_iter": self.n_iter, "shared": shared}
        options["initial"] = _initial(self.initial)
        if self.iteration == "modl":
            return Unrolled(Alternating(network, ProximalConsistency(0.05)), **options)
        if self.iteration == "varnet":
            return Unrolled(KspaceRefinement(network, step=np.ones(self.n_iter)), **options)
        if self.iteration == "admm":
            algorithm, inputs = ADMM(n_inner=self.n_inner), {"penalty": 0.1}
        else:
            algorithm, inputs = ProximalGradient(1.0), {"step": 1.0}
        return Unrolled(algorithm, network, inputs=inputs, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrimalDual:
    """`learned_primal_dual`. The attributes are its arguments.

    Attributes:
        initial: the image to start from, as for `UnrolledIterations`.
    """

    kind: Literal["primal-dual"] = "primal-dual"
    n_iter: int = 10
    n_images: int = 5
    n_data: int = 5
    width: int = 32
    complex_values: bool = False
    shared: bool = False
    initial: Literal["adjoint", "fbp"] = "adjoint"

    def build(self, *, rngs: nnx.Rngs, dtype: Any = None) -> Unrolled:
        """The network with weights drawn at random."""
        arguments = _arguments(self) | {"initial": _initial(self.initial)}
        return learned_primal_dual(**arguments, dtype=dtype, rngs=rngs)


def _arguments(settings: Any) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(settings) if f.name != "kind"]
    return {name: getattr(settings, name) for name in names}


def _initial(name: str) -> Any:
    return FilteredBackprojection("hann") if name == "fbp" else None


Architecture = Denoiser | DiffusionPrior | Ridge | UnrolledIterations | PrimalDual
"""The kinds that a card may hold."""
