"""The denoisers that are trained, in a size for two CPU cores and in full size for a GPU.

`Recipe.build(rngs)` makes the network, a denoiser ``D(x, sigma)``; the rest says how it is trained:
by Adam with a warm-up and a cosine, at a noise level drawn for each example.
CRR and WCRR are by Goujon et al. (2023, 2024), DRUNet by Zhang et al. (2021), the bias-free DnCNN
by Mohan et al. (2020), gradient-step denoisers by Hurault et al. (2022).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxrecon.core import pytree, static
from jaxrecon.nets.images import DnCNN, DRUNet
from jaxrecon.nets.priors import (
    GradientStepNet,
    ImageDenoiser,
    Nonexpansive,
    RidgeNet,
    jacobian_penalty,
)
from jaxrecon.training import adamw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is made and trained."""

    build: Callable[..., Any]
    steps: int
    batch: int
    patch: int
    rate: float
    max_sigma: float = 55 / 255
    decay: float = 0.999  # of the moving average of the weights
    faster: tuple[tuple[str, float], ...] = ()  # parameters whose learning rate is multiplied
    penalty: float = 0.0  # weight of the Jacobian penalty

    def optimiser(self) -> optax.GradientTransformation:
        """For all parameters, with the steps of some stretched."""
        adam = adamw(self.rate, n_steps=self.steps, n_warmup=min(100, self.steps // 10))
        return optax.chain(adam, optax.stateless(self._stretched))

    def _stretched(self, updates: Any, params: Any) -> Any:
        del params

        def factor(path: Any) -> float:
            name = jax.tree_util.keystr(path)
            return next((f for part, f in self.faster if part in name), 1.0)

        return jax.tree_util.tree_map_with_path(lambda path, u: factor(path) * u, updates)


@pytree
class DenoisingLoss:
    """Mean absolute error at a noise level drawn for each example, and a Jacobian penalty.

    The penalty keeps ‖I − J‖ below 0.9 at the noisy image; the metrics say what it is.
    """

    max_sigma: Any
    penalty: float = static(default=0.0)

    def __call__(self, net: Any, example: dict[str, Any], key: Any) -> tuple[Any, dict[str, Any]]:
        """The loss of one image."""
        x = example["image"]
        level, noise, start = jax.random.split(key, 3)
        sigma = jax.random.uniform(level, (), x.dtype, 0.0, self.max_sigma)
        y = x + sigma * jax.random.normal(noise, x.shape, x.dtype)
        loss = jnp.mean(jnp.abs(net(y, sigma) - x))
        if not self.penalty:
            return loss, {}
        excess, size = jacobian_penalty(net, y, sigma, start)
        return loss + self.penalty * excess, {"jacobian": size}


def _denoiser(make: Callable[..., Any], *, rngs: nnx.Rngs) -> ImageDenoiser:
    return ImageDenoiser(make(2, 1, rngs=rngs), noise_map=True)


def _gradient_step(make: Callable[..., Any], *, rngs: nnx.Rngs) -> GradientStepNet:
    return GradientStepNet(_denoiser(make, rngs=rngs))


def _nonexpansive(width: int, depth: int, *, rngs: nnx.Rngs) -> Nonexpansive:
    return Nonexpansive(DnCNN(1, 1, width=width, depth=depth, residual=False, rngs=rngs))


def _ridge(modulus: float, channels: tuple[int, ...]) -> Callable[..., Any]:
    build = functools.partial(RidgeNet, modulus=modulus, channels=channels, max_sigma=55 / 255)
    return functools.partial(build, n_iter=100, tol=3e-4)


_RIDGE_RATES = (("raw_slopes", 5.0), ("log_scales", 2.0))
_ridge_cpu = functools.partial(
    Recipe, steps=1200, batch=8, patch=40, rate=0.01, decay=0.98, faster=_RIDGE_RATES
)
_ridge_gpu = functools.partial(
    Recipe, steps=6000, batch=128, patch=40, rate=0.005, decay=0.99, faster=_RIDGE_RATES
)

CPU = {
    "crr": _ridge_cpu(build=_ridge(0.0, (4, 8, 32))),
    "wcrr": _ridge_cpu(build=_ridge(1.0, (4, 8, 32))),
    "dncnn": Recipe(
        build=functools.partial(
            _denoiser, functools.partial(DnCNN, width=32, depth=9, use_bias=False)
        ),
        steps=6000,
        batch=8,
        patch=48,
        rate=1e-3,
    ),
    "drunet": Recipe(
        build=functools.partial(
            _denoiser, functools.partial(DRUNet, width=16, depth=2, n_blocks=2)
        ),
        steps=6000,
        batch=8,
        patch=64,
        rate=1e-3,
    ),
    "gradient-step": Recipe(
        build=functools.partial(
            _gradient_step,
            functools.partial(DRUNet, width=16, depth=2, n_blocks=1, activation="softplus"),
        ),
        steps=4000,
        batch=8,
        patch=48,
        rate=5e-4,
        penalty=1e-3,
    ),
    "nonexpansive": Recipe(
        build=functools.partial(_nonexpansive, 16, 8), steps=4000, batch=8, patch=48, rate=3e-3
    ),
}

GPU = {
    "crr": _ridge_gpu(build=_ridge(0.0, (4, 8, 60))),
    "wcrr": _ridge_gpu(build=_ridge(1.0, (4, 8, 60))),
    "dncnn": Recipe(
        build=functools.partial(
            _denoiser, functools.partial(DnCNN, width=64, depth=17, use_bias=False)
        ),
        steps=100_000,
        batch=128,
        patch=48,
        rate=1e-3,
    ),
    "drunet": Recipe(
        build=functools.partial(
            _denoiser, functools.partial(DRUNet, width=32, depth=3, n_blocks=2)
        ),
        steps=100_000,
        batch=64,
        patch=128,
        rate=5e-4,
        decay=0.9995,
    ),
    "gradient-step": Recipe(
        build=functools.partial(
            _gradient_step,
            functools.partial(DRUNet, width=32, depth=3, n_blocks=2, activation="softplus"),
        ),
        steps=60_000,
        batch=32,
        patch=128,
        rate=2e-4,
        penalty=1e-3,
    ),
    "nonexpansive": Recipe(
        build=functools.partial(_nonexpansive, 64, 15),
        steps=20_000,
        batch=64,
        patch=64,
        rate=1e-3,
    ),
}
