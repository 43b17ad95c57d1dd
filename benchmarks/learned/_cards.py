"""The cards of the networks that ship, each with the training that its weights come from."""

import argparse
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxrecon.nets.pretrained import (
    Card,
    Data,
    Denoiser,
    ImageNetwork,
    Ridge,
    Training,
    UnrolledIterations,
    versions,
)

LICENCE = "Apache-2.0"
NO_DEVICE = "no medical device"

HEAD = functools.partial(
    Data,
    name="head",
    source="InVesalius examples, CT of a head (Debian invesalius-examples)",
    licence="GPL-2",
)
STUDYFORREST = functools.partial(
    Data,
    name="studyforrest",
    source="studyforrest, T1 (datalad/example-dicom-structural)",
    licence="PDDL",
)
MNI = functools.partial(
    Data,
    name="MNI152",
    source="MNI ICBM152 2009a average, T1 (nilearn)",
    licence="MNI terms (free use with notice)",
)
COLIN = functools.partial(
    Data, name="Colin27", source="Colin27, T1 (mricron-data)", licence="BSD-3"
)
PYRADIOMICS = functools.partial(
    Data, name="pyradiomics brains", source="AIM-Harvard/pyradiomics", licence="BSD-3"
)
BERKELEY = functools.partial(
    Data,
    source="Berkeley segmentation data set, grey, as in cszn/DnCNN",
    licence="research use",
)
SET12 = functools.partial(
    Data, name="Set12", source="the usual test photographs, as in cszn/DnCNN", licence="unclear"
)

PHOTOGRAPHS = (
    BERKELEY(name="BSD400", use="training", amount="380 crops of 180 x 180 pixels"),
    BERKELEY(name="BSD400", use="validation", amount="20 crops of 128 x 128 pixels"),
    BERKELEY(name="BSD68", use="test", amount="68 photographs of 321 x 481 pixels"),
    SET12(use="test", amount="12 photographs"),
)


class Published(NamedTuple):
    """Where a network that ships comes from, and what is said of it."""

    setting: str  # of `reconstruct.py`, or "denoising"
    method: str  # trained there
    describe: Callable[[Any, argparse.Namespace], Card]  # of its recipe and the options


def _trained(command: str, recipe: str, options: argparse.Namespace) -> Training:
    return Training(
        command=f"python benchmarks/learned/{command}",
        recipe=recipe,
        seeds=(options.seed,),
        date=options.date,
        hardware=options.hardware,
        versions=versions(),
    )


# -------------------------------------------------------------------------------------- denoisers


def _denoising(name: str, recipe: Any, options: argparse.Namespace) -> Training:
    return _trained(
        f"denoising/train.py {name} --size {options.size} --seeds {options.seed}",
        f"mean absolute error, noise of 0 to {255 * recipe.max_sigma:.0f}/255 drawn for each "
        f"example, {recipe.steps} steps of Adam on {recipe.batch} patches of {recipe.patch} x "
        f"{recipe.patch}, rate {recipe.rate:g} with warm-up and cosine, moving average of the "
        "weights; flips and quarter turns",
        options,
    )


def _denoiser_grey(recipe: Any, options: argparse.Namespace) -> Card:
    width, depth = (32, 9) if options.size == "cpu" else (64, 17)
    return Card(
        name="denoiser-grey",
        title="bias-free DnCNN denoiser of grey photographs",
        task="denoising",
        modality="any",
        description=f"{depth} convolutions of {width} channels without biases, which see the image "
        "and a map of sigma (Zhang et al. 2017; Mohan et al. 2020)",
        units="images in about [0, 1], sigma in the same units; D(cx, c sigma) = c D(x, sigma)",
        use="white Gaussian noise, sigma from 0 to 55/255; plug-and-play reconstruction",
        limits=(
            "trained on photographs: of other images it keeps what photographs have",
            "not non-expansive: plug-and-play needs a schedule that ends, or a small step",
            NO_DEVICE,
        ),
        licence=LICENCE,
        architecture=Denoiser(
            network=ImageNetwork(kind="dncnn", width=width, depth=depth, use_bias=False)
        ),
        training=_denoising("dncnn", recipe, options),
        data=PHOTOGRAPHS,
    )


def _wcrr(recipe: Any, options: argparse.Namespace) -> Card:
    return Card(
        name="wcrr",
        title="weakly convex ridge regulariser",
        task="denoising",
        modality="any",
        description="the proximal map of a learned regulariser (Goujon, Neumayer and Unser 2024), "
        "which is also a functional for any solver: net.functional(sigma)",
        units="images in about [0, 1], sigma in the same units",
        use="white Gaussian noise, sigma from 0 to 55/255; regularisation with a known objective",
        limits=("trained on photographs: strength must be tuned for other images", NO_DEVICE),
        licence=LICENCE,
        architecture=Ridge(
            channels=(4, 8, 32) if options.size == "cpu" else (4, 8, 60),
            modulus=1.0,
            max_sigma=recipe.max_sigma,
            n_iter=100,
            tol=3e-4,
        ),
        training=_denoising("wcrr", recipe, options),
        data=PHOTOGRAPHS,
    )


# ---------------------------------------------------------------------------------- reconstruction


def _reconstruction(
    setting: str, method: str, recipe: Any, options: argparse.Namespace
) -> Training:
    return _trained(
        f"reconstruct.py {setting} --methods '{method}' --size {options.size} "
        f"--seeds {options.seed}",
        f"mean squared error, {recipe.steps} steps of Adam on {recipe.batch} scan(s) drawn anew, "
        f"rate {recipe.rate:g} with warm-up and cosine, moving average of the weights; flips, "
        "quarter turns, zoom by 15 %, shifts",
        options,
    )


def _ct_sparse(recipe: Any, options: argparse.Namespace) -> Card:
    n_iter, width = (6, 32) if options.size == "cpu" else (10, 64)
    return Card(
        name="ct-sparse",
        title="unrolled proximal gradients for sparse-view CT of heads",
        task="reconstruction",
        modality="ct",
        description=f"{n_iter} proximal gradient steps from filtered back-projection, each with "
        f"three convolutions of {width} channels of its own",
        units="any: scans are normalised inside",
        use="two-dimensional parallel beams of some 60 views at some 10⁴ photons a bin",
        limits=(
            "trained on one patient, of whom the test slices are another slab",
            "trained at 60 views of 10⁴ photons, 128² pixels of 1.9 mm: elsewhere it is a guess",
            NO_DEVICE,
        ),
        licence=LICENCE,
        architecture=UnrolledIterations(
            iteration="pgd",
            network=ImageNetwork(kind="convnet", width=width, depth=3),
            n_iter=n_iter,
            shared=False,
            initial="fbp",
        ),
        training=_reconstruction("head", "unrolled PGD", recipe, options),
        data=(
            HEAD(use="training", amount="slices 0 to 48"),
            HEAD(use="validation", amount="slices 53 to 57"),
            HEAD(use="test", amount="12 of the slices 63 to 96"),
        ),
    )


def _mri_multicoil(recipe: Any, options: argparse.Namespace) -> Card:
    n_iter, width = (5, 32) if options.size == "cpu" else (10, 64)
    return Card(
        name="mri-multicoil",
        title="MoDL for multi-coil Cartesian MRI of brains at 4x and 8x",
        task="reconstruction",
        modality="mri",
        description=f"{n_iter} times a network of five convolutions of {width} channels and "
        "conjugate gradients on the data, with shared weights; coil maps are given",
        units="any: scans are normalised inside",
        use="two-dimensional multi-coil scans with random lines, accelerations 4 to 8",
        limits=(
            "trained on one T1 volume and an average, 128² pixels, simulated phase and coils",
            "lines alone: masks of points are another distribution",
            NO_DEVICE,
        ),
        licence=LICENCE,
        architecture=UnrolledIterations(
            iteration="modl",
            network=ImageNetwork(kind="convnet", width=width, depth=5),
            n_iter=n_iter,
            shared=True,
            complex_values=True,
            initial="adjoint",
        ),
        training=_reconstruction("mri", "MoDL", recipe, options),
        data=(
            STUDYFORREST(use="training", amount="180 axial slices"),
            MNI(use="training", amount="50 axial slices"),
            COLIN(use="validation", amount="3 axial slices"),
            PYRADIOMICS(use="test", amount="12 slices of two patients"),
        ),
    )


CARDS = {
    "ct-sparse": Published("head", "unrolled PGD", _ct_sparse),
    "denoiser-grey": Published("denoising", "dncnn", _denoiser_grey),
    "mri-multicoil": Published("mri", "MoDL", _mri_multicoil),
    "wcrr": Published("denoising", "wcrr", _wcrr),
}
