"""The steps of the bridge's argument: the table, the figure and the sentence of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from caelab.analysis.contract import load_analysis
from caelab.analysis.plotting import display_name
from caelab_analyses import alignment_transition, twin_training
from caelab_analyses.intrinsic_dimension import LIKELIHOOD, OF_MODEL, TRUTH, TWO_NEAREST
from caelab_analyses.twin_training.comparison import CAE, RCAE

TWIN = 0.2  # relative distance up to which two functions are called twins
APART = 2.0  # times that distance: another function
SAME_WAY = 0.9  # cosine from which two fields point the same way


@dataclass(frozen=True)
class Step:
    """One figure of the argument.

    Attributes:
        name: of the figure's files.
        title: its heading.
        statement: what theory says.
        table: the stored table that it is drawn from.
        draw: from that table.
        reading: what this run found, with numbers, from that table.
    """

    name: str
    title: str
    statement: str
    table: str
    draw: Callable[[pd.DataFrame], Figure]
    reading: Callable[[pd.DataFrame], str]


@dataclass(frozen=True)
class Part:
    """A heading of the page and the steps under it."""

    title: str
    steps: Sequence[Step]


def _by_analysis(name: str, title: str, statement: str, reading: Callable[[pd.DataFrame], str]) -> Step:
    """A step whose table and figure are an analysis's own."""
    return Step(name, title, statement, name, lambda table: load_analysis(name).draw(table), reading)


def _per_model(table: pd.DataFrame, analysis: str, column: str, form: str = "{:.3g}") -> str:
    """``AE 4.1, CAE 4.0``: one number of every model's summary."""
    parts = []
    for model, rows in table.groupby("model", sort=False):
        value = load_analysis(analysis).summarise(rows).get(column, np.nan)
        if np.isfinite(value):
            parts.append(f"{display_name(str(model))} {form.format(value)}")
    return ", ".join(parts) or "no model"


def expansion(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``noise_expansion``."""
    orders = _per_model(table, "noise_expansion", "remainder order", "{:.2f}")
    full = _per_model(table, "noise_expansion", "relative error at smallest sigma", "{:.2%}")
    floor = _per_model(table, "noise_expansion", "Gauss-Newton error at smallest sigma", "{:.1%}")
    return (
        f"At σ = {table['sigma'].min():g} the full expansion misses the increment by {full}; what it leaves grows "
        f"with σ to the power {orders} (4 in theory). Gauss-Newton, which forgets the residual's curvature, keeps a "
        f"floor of {floor}."
    )


def twins(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``deterministic_twin``."""
    found = [
        f"{corruption} to {_per_model(table, 'deterministic_twin', f'{corruption} twin holds to')}"
        for corruption in table["corruption"].unique()
    ]
    return (
        "The strength up to which the second order stays within a fifth of what the corruption adds: "
        f"{'; '.join(found)}."
    )


def twin_training_reading(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``twin_training``."""
    single = table[table["at"].isna()].set_index(["quantity", "twin", "sigma"])["value"].sort_index()
    sentences = []
    for quantity, form in (("distance of r(x) - x", "{:.1%}"), ("cosine of r(x) - x", "{:.3f}")):
        each = [
            f"{display_name(twin)} "
            + ", ".join(f"{form.format(value)} at σ = {sigma:g}" for sigma, value in single[quantity, twin].items())
            for twin in (RCAE, CAE)
        ]
        sentences.append(f"{quantity[0].upper()}{quantity[1:]} to the DAE's: {'; '.join(each)}.")
    gradients = table[(table["quantity"] == "gradient cosine (penalty)")].groupby("twin")["value"].median()
    cosines = ", ".join(f"{display_name(str(twin))} {value:.3f}" for twin, value in gradients.items())
    return (
        f"{' '.join(sentences)} Median cosine of the penalty's gradient with denoising's along the way: {cosines}. "
        f"{how_they_meet(single)}"
    )


def how_they_meet(single: pd.Series) -> str:
    """What contraction of f led to beside that of g∘f, chosen from the numbers at every σ at which RCAE and DAE agree.

    Args:
        single: values by quantity, twin and σ.
    """
    near = single["distance of r(x) - x", RCAE]
    near = near[near < TWIN]
    if near.empty:
        return f"At no σ is the RCAE within {TWIN:.0%} of the DAE: nothing follows here about the CAE."
    far, cosines = (single[quantity, CAE][near.index] for quantity in ("distance of r(x) - x", "cosine of r(x) - x"))
    apart = f"the CAE's is {span(far / near, '{:.2g}')} times as far from the DAE's as the RCAE's is"
    if (far < APART * near).any():
        return (
            f"Contraction of the encoder f and of the reconstruction g∘f led to much the same function here: {apart}."
        )
    if (cosines > SAME_WAY).all():
        way = f"both functions point the same way (cosine {span(cosines, '{:.2f}')})"
        return f"CAE and DAE meet half way: {way}, but {apart}."
    return f"Contraction of the encoder f led to another function than contraction of the reconstruction g∘f: {apart}."


def span(values: pd.Series, form: str) -> str:
    """The range of some numbers as text, from the smallest to the largest."""
    low, high = (form.format(value) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def score(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``score_field``."""
    cosine = _per_model(table, "score_field", "score cosine", "{:.3f}")
    blurred = _per_model(table, "score_field", "blurred score cosine", "{:.3f}")
    return (
        f"At σ = {table['sigma'].iloc[0]:g}, median cosine of (r(x) - x) / σ² with the true score: {cosine}; with the "
        f"score of the data with the noise, which denoising aims at: {blurred}."
    )


def dimension(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``intrinsic_dimension``."""
    of_model = [
        f"{name}: {_per_model(table, 'intrinsic_dimension', f'dimension by {name}', '{:.3g}')}" for name in OF_MODEL
    ]
    known = table[table["estimator"].isin([TRUTH, TWO_NEAREST, LIKELIHOOD])].groupby("estimator", sort=False)
    of_data = ", ".join(f"{name} {value:.3g}" for name, value in known["dimension"].mean().items())
    return f"Median over examples by {'; by '.join(of_model)}. The data alone say: {of_data}."


def samples(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``samples``."""
    return (
        "Median distance of the chains' second halves from the nearest training example: Langevin "
        f"{_per_model(table, 'samples', 'langevin distance')}; the walk "
        f"{_per_model(table, 'samples', 'walk distance')}."
    )


def linear(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``linear_limit``."""
    return (
        "‖J‖² of the trained model over its linear limit: "
        f"{_per_model(table, 'linear_limit', 'squared norm over its linear limit', '{:.2f}')}. Where it is 1, "
        "contraction is weight decay; the further below, the more of it is saturation."
    )


def images(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``manifold_alignment`` on images."""
    share = table[(table["source"] == "local PCA")]["value"].mean()
    return (
        "Share of shift, rotation, scale and thickness within the leading directions: "
        f"{_per_model(table, 'manifold_alignment', 'tangent share', '{:.2f}')}; local PCA, which sees the data and no "
        f"model, {share:.2f}."
    )


def transition(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``alignment_transition``."""
    best = table.loc[table.groupby("recipe")["angle"].idxmin()]
    found = []
    for recipe, angle, gap, strength in best[["recipe", "angle", "gap", "strength"]].values.tolist():
        beside = f" with a gap of {gap:.2f} (strength {strength:g})" if np.isfinite(gap) else ""
        found.append(f"{display_name(recipe)} {angle:.1f}°{beside}")
    return f"Smallest angle to the true tangents that each reaches: {'; '.join(found)}."


def curvature(table: pd.DataFrame) -> str:
    """Sentence on the tables of ``higher_order``."""
    of = {str(model): load_analysis("higher_order").summarise(rows) for model, rows in table.groupby("model")}
    changes = [
        f"{of['cae-h'][column] / of['cae'][column] - 1:+.0%} {place}"
        for place, column in (("along", "curvature along tangents"), ("across", "curvature across tangents"))
    ]
    return (
        "Curvature of the code over its slope, along the leading tangents: "
        f"{_per_model(table, 'higher_order', 'curvature along tangents')}; across them: "
        f"{_per_model(table, 'higher_order', 'curvature across tangents')}. From CAE to CAE+H: {', '.join(changes)}."
    )


def _score_on(dataset: str, title: str) -> Step:
    """The step of the field on one density."""
    name = f"score on {dataset}"
    return Step(
        name.replace(" ", "_"),
        title,
        "As σ → 0 the best reconstruction is r(x) = x + σ² ∇ log p(x) + o(σ²) (Alain and Bengio 2014). It is that of "
        "DAE and RCAE, not of the CAE.",
        name,
        lambda table: load_analysis("score_field").draw(table),
        score,
    )


def _twins_on(dataset: str) -> Step:
    """The step of the twins trained on one data set."""
    name = f"twins on {dataset}"
    return Step(
        name.replace(" ", "_"),
        f"Trained side by side on {dataset}",
        "As σ falls, DAE(σ) and the reconstruction-contractive AE with λ = σ² have the same optimum; the CAE, which "
        "contracts the encoder alone, has another.",
        name,
        twin_training.draw,
        twin_training_reading,
    )


PARTS = (
    Part(
        "Expansion: denoising is a penalty, to second order",
        [
            _by_analysis(
                "noise_expansion",
                "What noise adds to the loss",
                "E L(x, r(x + ε)) = L + σ² (‖J_r‖² + residual · curvature) + O(σ⁴) for squared error (Bishop 1995); "
                "for cross-entropy with weights y (1 - y) on the logits' gradients.",
                expansion,
            ),
            _by_analysis(
                "linear_limit",
                "Where contraction is weight decay",
                "For a linear encoder J_f = W: the contractive penalty is weight decay exactly.",
                linear,
            ),
        ],
    ),
    Part(
        "Twins: a deterministic penalty for every corruption",
        [
            _by_analysis(
                "deterministic_twin",
                "Where the twin holds",
                "Any corruption with mean μ(x) and covariance C(x) has the twin L(x, r(μ)) + ½ Σ_k L''_k (J C Jᵀ)_kk: "
                "½ Σ_k y_k (1 - y_k) (J_a C J_aᵀ)_kk for cross-entropy, a the logits and y = s(a), and tr(J_r C J_rᵀ) "
                "for squared error.",
                twins,
            )
        ],
    ),
    Part("Training: which twin is which", [_twins_on("gaussian-mixture"), _twins_on("digits")]),
    Part(
        "Score: what the reconstruction points at",
        [
            _score_on("gaussian-mixture", "The field against the true score"),
            _score_on("spiral", "The same on a spiral"),
            _by_analysis(
                "samples",
                "Chains that a trained auto-encoder drives",
                "Langevin's chain follows the learned score; the walk of Rifai et al. (2012) moves along the tangents.",
                samples,
            ),
        ],
    ),
    Part(
        "Tangents: what contraction leaves",
        [
            Step(
                "transition",
                "From blind to aligned",
                "As the penalty grows, the leading directions of J_f turn into the data's tangents, and a gap opens "
                "behind them.",
                "transition",
                alignment_transition.draw,
                transition,
            ),
            _by_analysis(
                "manifold_alignment",
                "On images",
                "Small shifts, rotations, scalings and changes of thickness are tangents that are known.",
                images,
            ),
            _by_analysis(
                "intrinsic_dimension",
                "How many directions are left",
                "An encoder that keeps the k directions along a manifold and contracts all others has k large singular "
                "values.",
                dimension,
            ),
            _by_analysis(
                "higher_order",
                "What the higher-order penalty adds",
                "CAE+H penalises changes of J_f as well, to straighten the code around the examples.",
                curvature,
            ),
        ],
    ),
)
