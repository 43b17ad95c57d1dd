"""Generators as priors: search and sampling in latent space, and networks fitted to one scan.

    found = search(problem, G, like=z, key=key)                      # a trained generator
    keep = random_rows(key, y, share=0.1)                            # an untrained one
    fit, judge = hold_out(problem, keep)
    image = fit_generator(G, z, fit, judge=judge, patience=500, key=key).value

`problem` is Σ f(A x) for any forward model and fidelity; a generator is any pytree callable
``G(z)``, and `jaxrecon.nets.generative` has networks. `posterior.MALA` samples a `latent_problem`.
"""

from jaxrecon.posterior.latent._generated import Generated, generated, latent_problem
from jaxrecon.posterior.latent._hold_out import (
    Masked,
    best_entries,
    hold_out,
    masked,
    random_rows,
)
from jaxrecon.posterior.latent._search import (
    Deviating,
    Found,
    Layers,
    Sphere,
    search,
    search_layers,
    search_with_deviation,
)
from jaxrecon.posterior.latent._untrained import Fit, Patience, Untrained, fit_generator

__all__ = [
    "Deviating",
    "Fit",
    "Found",
    "Generated",
    "Layers",
    "Masked",
    "Patience",
    "Sphere",
    "Untrained",
    "best_entries",
    "fit_generator",
    "generated",
    "hold_out",
    "latent_problem",
    "masked",
    "random_rows",
    "search",
    "search_layers",
    "search_with_deviation",
]
