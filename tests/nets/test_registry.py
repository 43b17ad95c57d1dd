"""Every image network of the registry against every verb; every verb against something wrong."""

import time

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.core import Tracer

from tests.nets.registry import CASES, Case
from tests.nets.verbs import DERIVATIVE_VERBS, VERBS


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", CASES)
def test_verb(case, verb):
    VERBS[verb](CASES[case])


@pytest.mark.parametrize("verb", DERIVATIVE_VERBS)
@pytest.mark.parametrize("case", CASES)
def test_derivative_verb(case, verb, x64):
    DERIVATIVE_VERBS[verb](CASES[case])


# ---------------------------------------------------------------- each verb meets something wrong


@jax.custom_batching.custom_vmap
def _gain(x):
    return jnp.ones(())


@_gain.def_vmap
def _(size, batched, x):
    return jnp.full((size,), 1.01), True


@jax.custom_vjp
def _scaled_derivative(x):
    return x


_scaled_derivative.defvjp(lambda x: (x, None), lambda _, ct: (1.001 * ct,))


class Faulty(nnx.Module):
    """A linear map of channels that is wrong in one place."""

    def __init__(self, fault, *, dtype=None, param_dtype=jnp.float32, rngs):
        self.fault = fault
        options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.layer = nnx.Linear(2, 2, use_bias=False, **options)
        spare_dtype = jnp.float32 if fault == "parameter dtype" else param_dtype
        self.spare = nnx.Param(jnp.ones(1, spare_dtype))
        self.calls = nnx.BatchStat(jnp.zeros(()))
        if fault == "parameter count":
            self.further = nnx.Param(jnp.ones(1, param_dtype))
        if fault == "trace":
            self.born = time.perf_counter()

    def __call__(self, x):
        if x.shape[-1] != 2 and self.fault != "accepts":
            named = "" if self.fault == "message" else "`x` "
            raise ValueError(f"{named}has {x.shape[-1]} channels")
        y = jax.nn.relu(self.layer(x[..., :2])).astype(x.dtype)
        return self._wrong(x, y * self.spare[...].astype(x.dtype))

    def _wrong(self, x, y):
        match self.fault:
            case "shape":
                return y[..., 1:, :, :]
            case "dtype":
                return y.astype(jnp.float16)
            case "leading axes":
                return y - jnp.mean(y)
            case "eager":
                return y if isinstance(x, Tracer) else 1.01 * y
            case "vmap":
                return y * _gain(x)
            case "product":
                mix = jnp.eye(2, dtype=jnp.promote_types(x.dtype, jnp.float32))
                return (y.astype(mix.dtype) @ mix).astype(x.dtype)
            case "rough":
                return y if self.layer.dtype is None else 1.5 * y
            case "state":
                self.calls[...] += 1
            case "call":
                self.calls[...] += 1
                return y + self.calls[...]
            case "offset":
                return y + 1
            case "derivative":
                return _scaled_derivative(y)
            case "idle weight":
                return jax.nn.relu(self.layer(x))
        return y


def _case(fault, **changes):
    make = lambda **options: Faulty(fault, **options)  # noqa: E731
    return Case(make, **{"n_in": 2, "n_out": 2, "n_parameters": 5, "homogeneous": True} | changes)


FAULTS = {
    "shape": "shapes",
    "dtype": "shapes",
    "leading axes": "vmap",
    "accepts": "refusal",
    "message": "refusal",
    "eager": "jit",
    "trace": "jit",
    "vmap": "vmap",
    "parameter dtype": "parameters",
    "parameter count": "parameters",
    "product": "bfloat16",
    "rough": "bfloat16",
    "state": "evaluation",
    "call": "evaluation",
    "offset": "homogeneous",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_verb_fails(fault):
    with pytest.raises(AssertionError):
        VERBS[FAULTS[fault]](_case(fault))


def test_unpromised_homogeneity_fails():
    with pytest.raises(AssertionError, match="homogeneous"):
        VERBS["homogeneous"](_case("none", homogeneous=False))


@pytest.mark.parametrize("fault", ["derivative", "idle weight"])
def test_derivative_verb_fails(fault, x64):
    with pytest.raises(AssertionError, match=r"derivative|does not matter"):
        DERIVATIVE_VERBS["gradients"](_case(fault))


@pytest.mark.parametrize("verb", VERBS)
def test_verb_passes_without_fault(verb):
    VERBS[verb](_case("none"))


def test_derivative_verb_passes_without_fault(x64):
    DERIVATIVE_VERBS["gradients"](_case("none"))
