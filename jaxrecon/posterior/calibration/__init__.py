"""Whether a sampler's uncertainty can be believed, and how to mend it where it cannot.

Pure functions of arrays, samples on the leading axis, under jit and vmap:

- what samples say: `summarise`, or for more than memory holds `Moments`;
- checks against truth: `coverage`, `crps`, `spread_skill`, ranks and their tests; of chains without
  truth `r_hat` and effective sample sizes;
- guarantees by held-out truths: conformal thresholds with their scores and intervals, thresholds
  that control the fraction of missed pixels;
- what an image adds to its data: `hallucination_maps`, `gaussian_consistency`,
  `poisson_consistency`.
"""

from jaxrecon.posterior.calibration._chains import ess_bulk, ess_mean, ess_tail, r_hat
from jaxrecon.posterior.calibration._chi_square import Significance, chi_square_tail
from jaxrecon.posterior.calibration._conformal import (
    Interval,
    conformal_threshold,
    group_thresholds,
    patient_threshold,
    scaled_interval,
    scaled_score,
    shifted_interval,
    shifted_score,
    stretched_interval,
    stretched_score,
)
from jaxrecon.posterior.calibration._consistency import (
    Consistency,
    gaussian_consistency,
    poisson_consistency,
)
from jaxrecon.posterior.calibration._moments import (
    Moments,
    add_sample,
    merge_moments,
    moments,
    no_moments,
    shared_moments,
)
from jaxrecon.posterior.calibration._null_space import (
    Components,
    hallucination_maps,
    null_space_split,
)
from jaxrecon.posterior.calibration._ranks import (
    EcdfBand,
    chi_square_uniformity,
    ecdf_band,
    ecdf_uniformity,
    ranks,
)
from jaxrecon.posterior.calibration._risk import (
    expected_risk_threshold,
    risk_budget,
    risk_controlling_threshold,
)
from jaxrecon.posterior.calibration._summary import Summary, sample_quantiles, summarise
from jaxrecon.posterior.calibration._verification import coverage, covered, crps, spread_skill

__all__ = [
    "Components",
    "Consistency",
    "EcdfBand",
    "Interval",
    "Moments",
    "Significance",
    "Summary",
    "add_sample",
    "chi_square_tail",
    "chi_square_uniformity",
    "conformal_threshold",
    "coverage",
    "covered",
    "crps",
    "ecdf_band",
    "ecdf_uniformity",
    "ess_bulk",
    "ess_mean",
    "ess_tail",
    "expected_risk_threshold",
    "gaussian_consistency",
    "group_thresholds",
    "hallucination_maps",
    "merge_moments",
    "moments",
    "no_moments",
    "null_space_split",
    "patient_threshold",
    "poisson_consistency",
    "r_hat",
    "ranks",
    "risk_budget",
    "risk_controlling_threshold",
    "sample_quantiles",
    "scaled_interval",
    "scaled_score",
    "shared_moments",
    "shifted_interval",
    "shifted_score",
    "spread_skill",
    "stretched_interval",
    "stretched_score",
    "summarise",
]
