"""Gradient methods with the problems they must solve."""

from jaxrecon.solvers.gradient import (
    FISTA,
    LBFGS,
    POGM,
    Anderson,
    Backtracking,
    BarzilaiBorwein,
    GaussNewton,
    GradientDescent,
    LevenbergMarquardt,
    ProximalGradient,
)
from tests.solvers.problems import Case

SEARCH = Backtracking()


def _real(*arguments, **options) -> Case:
    """A variant of a method that another case runs on complex images."""
    return Case(*arguments, **options, on_complex=False)


CASES: dict[str, Case] = {
    "gradient descent": _real(GradientDescent(), "huber", n_iter=5000, implicit=True),
    "gradient descent, armijo": _real(GradientDescent(line_search=SEARCH), "two blocks"),
    "proximal gradient": Case(ProximalGradient(), "lasso", implicit=True),
    "proximal gradient, backtracking": _real(
        ProximalGradient(line_search=SEARCH), "poisson", n_iter=20000, tol=1e-11
    ),
    "fista": Case(FISTA(), "lasso", implicit=True),
    "fista, function restart": _real(FISTA(restart="function"), "nonnegative", tol=1e-12),
    "fista, backtracking": _real(FISTA(line_search=SEARCH), "nonnegative", implicit=True),
    "fista, strongly convex": _real(FISTA(strong_convexity=0.5), "tikhonov"),
    # At 1e-13 a residual would equal the tolerance to one per cent.
    "pogm": Case(POGM(), "lasso", tol=7e-14, implicit=True),
    "optimised gradient": _real(POGM(), "least squares"),
    "barzilai-borwein": Case(BarzilaiBorwein(), "lasso", implicit=True),
    "barzilai-borwein, short": _real(BarzilaiBorwein(short=True), "huber", tol=1e-11),
    "l-bfgs": Case(LBFGS(), "huber", n_iter=100, tol=1e-10, implicit=True),
    "gauss-newton": _real(GaussNewton(), "two blocks", n_iter=20, tol=1e-11, implicit=True),
    "levenberg-marquardt": Case(
        LevenbergMarquardt(), "tikhonov", n_iter=60, tol=1e-11, implicit=True
    ),
    "levenberg-marquardt, majorising": _real(
        LevenbergMarquardt(), "huber", n_iter=200, tol=1e-9, implicit=True
    ),
    "anderson": Case(Anderson(ProximalGradient()), "lasso", tol=1e-12, implicit=True),
}
