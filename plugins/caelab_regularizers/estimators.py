"""The built-in regularizers as parameters of scikit-learn's estimators.

The weight of a penalty and the level of a noise have defaults here, and nowhere else in caelab, since scikit-learn
makes every estimator without arguments. They are where a search begins, and no recommendation: what is right depends on
the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from torch import nn

from caelab.sklearn.autoencoder import Autoencoder
from caelab.sklearn.constraints import CONSTRAINTS, positive, weight

PENALTIES = {"kl": "sparse-kl", "l1": "sparse-l1"}


class ContractiveAutoencoder(Autoencoder):
    """An :class:`Autoencoder` with λ · mean over examples of ‖J_f(x)‖_F² in its loss (Rifai et al. 2011, ICML).

    J_f(x) = ∂f/∂x is the Jacobian of the encoder; the squares are summed over all its entries.

    Args:
        hidden: as that of :class:`Autoencoder`, as is everything but the weight.
        weight: λ, at least 0; the default begins a search, in which it is to be compared with the reconstruction error.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {**CONSTRAINTS, "weight": [weight()]}

    def __init__(
        self,
        hidden: Any = None,
        *,
        weight: float = 0.1,
        regularizers: Any = None,
        model: nn.Module | None = None,
        recipe: Any = None,
        activation: str | None = None,
        tied: bool | None = None,
        reconstruction: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        optimizer: str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        image_shape: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: Any = False,
    ) -> None:
        super().__init__(
            hidden,
            regularizers=regularizers,
            model=model,
            recipe=recipe,
            activation=activation,
            tied=tied,
            reconstruction=reconstruction,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            image_shape=image_shape,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.weight = weight

    def own_regularizers(self) -> Mapping[str, Any]:
        """The contractive penalty."""
        return {"contractive": {"weight": float(self.weight)}}


class DenoisingAutoencoder(Autoencoder):
    """An :class:`Autoencoder` that learns to undo a corruption of its input (Vincent et al. 2010, JMLR 11).

    The loss is L(x, r(x~)), x~ the corrupted x. Codes, reconstructions and scores are those of clean inputs.

    Args:
        hidden: as that of :class:`Autoencoder`, as is everything but the noise.
        noise_level: σ of ``"gaussian"``, in units of ``X``, or the probability p of ``"masking"`` and of
            ``"salt-and-pepper"``; the default begins a search, in which it is to be compared with the spread of ``X``.
        noise: x~ = x + σ ε; inputs set to 0 with probability p; or inputs set to 0 or 1 with probability p.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
        "noise_level": [positive()],
        "noise": [StrOptions({"gaussian", "masking", "salt-and-pepper"})],
    }

    def __init__(
        self,
        hidden: Any = None,
        *,
        noise_level: float = 0.3,
        noise: str = "gaussian",
        regularizers: Any = None,
        model: nn.Module | None = None,
        recipe: Any = None,
        activation: str | None = None,
        tied: bool | None = None,
        reconstruction: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        optimizer: str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        image_shape: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: Any = False,
    ) -> None:
        super().__init__(
            hidden,
            regularizers=regularizers,
            model=model,
            recipe=recipe,
            activation=activation,
            tied=tied,
            reconstruction=reconstruction,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            image_shape=image_shape,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.noise_level = noise_level
        self.noise = noise

    def own_regularizers(self) -> Mapping[str, Any]:
        """The corruption."""
        option = "sigma" if self.noise == "gaussian" else "p"
        if option == "p" and self.noise_level > 1:
            raise InvalidParameterError(
                f"The 'noise_level' parameter of {type(self).__name__} must be a float in the range (0.0, 1.0] with "
                f"noise={self.noise!r}. Got {self.noise_level!r} instead."
            )
        return {self.noise: {option: float(self.noise_level)}}


class SparseAutoencoder(Autoencoder):
    """An :class:`Autoencoder` whose code is sparse.

    ``"kl"`` adds β Σ_j KL(ρ ‖ mean activation of unit j over the batch), for codes in [0, 1] (Ng 2011, "Sparse
    autoencoder"); ``"l1"`` adds β · mean over examples of ‖h‖_1 (Kavukcuoglu, Ranzato and LeCun 2008).

    Args:
        hidden: as that of :class:`Autoencoder`, as is everything but the penalty.
        weight: β, at least 0; the default begins a search, in which it is to be compared with the reconstruction error.
        target: ρ in (0, 1), the wanted mean activation; not used by ``"l1"``.
        penalty: ``"kl"`` or ``"l1"``.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
        "weight": [weight()],
        "target": [Interval(Real, 0, 1, closed="neither")],
        "penalty": [StrOptions({*PENALTIES})],
    }

    def __init__(
        self,
        hidden: Any = None,
        *,
        weight: float = 0.1,
        target: float = 0.1,
        penalty: str = "kl",
        regularizers: Any = None,
        model: nn.Module | None = None,
        recipe: Any = None,
        activation: str | None = None,
        tied: bool | None = None,
        reconstruction: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        optimizer: str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        image_shape: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: Any = False,
    ) -> None:
        super().__init__(
            hidden,
            regularizers=regularizers,
            model=model,
            recipe=recipe,
            activation=activation,
            tied=tied,
            reconstruction=reconstruction,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            image_shape=image_shape,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.weight = weight
        self.target = target
        self.penalty = penalty

    def own_regularizers(self) -> Mapping[str, Any]:
        """The sparsity penalty."""
        target = {"target": float(self.target)} if self.penalty == "kl" else {}
        return {PENALTIES[self.penalty]: {"weight": float(self.weight), **target}}
