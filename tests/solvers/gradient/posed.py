"""What the tests of gradient methods share: a small quadratic problem and how to iterate on it."""

import jax
import numpy as np

from jaxrecon import functionals as F
from jaxrecon.core import Problem, identity, run
from tests.solvers.problems import Dense

KEYS = jax.random.split(jax.random.key(5), 8)
N_DATA, N = 9, 6


def lasso(M, y, weight=1.5):
    A = Dense(M)
    return Problem(((F.LeastSquares(y), A), (F.L1(weight), identity(A.domain))))


def least_squares(M, y):
    return Problem(((F.LeastSquares(y), Dense(M)),))


def soft(v, threshold):
    return np.sign(v) * np.maximum(np.abs(v) - threshold, 0)


def iterate(algorithm, problem, n_iter, x0=None):
    return np.asarray(run(algorithm, problem, x0, n_iter=n_iter).value)
