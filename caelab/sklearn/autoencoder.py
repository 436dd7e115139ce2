"""The auto-encoder as an estimator of scikit-learn's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor, nn

from caelab.errors import RefusedInput
from caelab.models.reconstruction import reconstruction_error
from caelab.process.torch_settings import pinned_settings
from caelab.runs.config import RunConfig
from caelab.runs.layers import is_stack
from caelab.runs.run import Run
from caelab.sklearn.arrays import mapped, model_for
from caelab.sklearn.asking import asked_of, dataset_of, seed_of
from caelab.sklearn.constraints import CONSTRAINTS
from caelab.sklearn.refusals import told_to_users_of_sklearn
from caelab.sklearn.training import Training
from caelab.training import train
from caelab.training.asked import Asked
from caelab.training.epochs import epochs_shown
from caelab.training.greedy import trained_stack

Array = NDArray[Any]


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """An auto-encoder, r(x) = g(f(x)), with any regularizers; ``transform`` gives the code f(x).

    ``fit`` minimises the mean over the examples of L(x, r(x~)), plus the regularizers' terms; x~ is the corrupted input
    where a regularizer corrupts, and x otherwise. It trains the run that ``caelab.train`` trains from the same config
    and seed, bit for bit. Training computes in float32; codes have the type of ``X``, and those of float64 are
    computed in float64 from the trained weights.

    ``None`` stands for the value of the recipe, or, without one, for the value that is told below.

    Args:
        hidden: width of the code, or a list of the widths of all layers of the encoder; 100.
        regularizers: by name: ``{"contractive": 0.1}``, where the number is the weight (or the only option, as a noise
            level), ``{"contractive": {"weight": 0.1}}``, an instance, a name that needs no options, or a list of such
            names. They are laid over those of the recipe.
        model: an ``nn.Module`` with ``encode`` and ``decode``; a copy of it is trained. With it ``hidden``,
            ``activation`` and ``tied`` are left out.
        recipe: the name of a recipe, as ``"dae-g"``, or a config. Its data set is not used.
        activation: of the hidden layers; ``"sigmoid"``.
        tied: whether the decoder's weights are the encoder's, transposed; True.
        reconstruction: L, summed over the inputs: ``"squared-error"``, with a linear output, which fits any real data,
            or ``"cross-entropy"``, with a sigmoid output, for data in [0, 1]; ``"squared-error"``.
        epochs: passes over the examples, at most; 30.
        batch_size: examples per update; 100.
        learning_rate: of the optimiser; 0.001.
        optimizer: ``"adam"``, ``"sgd"`` or ``"rmsprop"``; ``"adam"``. ``"adamw"`` needs a recipe with weight decay.
        early_stopping: whether to hold a share of the examples out, to stop where their reconstruction error has not
            fallen for ``n_iter_no_change`` epochs, and to go back to the best epoch. A recipe may ask for it, too.
        validation_fraction: that share; a stack that is trained layer by layer holds it out in any case.
        n_iter_no_change: those epochs.
        image_shape: (height, width) or (height, width, channels) of an example, for models and figures of images.
        warm_start: whether ``fit`` goes on from the weights of the last ``fit``, with a new optimiser.
        random_state: a number is the seed of the run; ``None`` and generators draw one. A config that is given as
            ``recipe`` brings its own seed where this is ``None``.
        verbose: whether the epochs of ``fit`` are shown.

    Attributes:
        run_: the :class:`caelab.Run`, on which every analysis works. Its examples are those of ``X``; without early
            stopping all of them train, and the same ones stand for its validation and test part. After
            ``partial_fit`` they are those of the last call.
        history_: the metrics of every epoch, a table.
        n_iter_: epochs that were trained.
        components_: the encoder's weights, shape (code, input), of a model with one affine layer; with tied weights
            they are the decoder's, too. Other models have no such attribute.
        n_features_in_, feature_names_in_: of ``X``.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = CONSTRAINTS

    def __init__(
        self,
        hidden: Any = None,
        *,
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
        self.hidden = hidden
        self.regularizers = regularizers
        self.model = model
        self.recipe = recipe
        self.activation = activation
        self.tied = tied
        self.reconstruction = reconstruction
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.image_shape = image_shape
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def own_regularizers(self) -> Mapping[str, Any]:
        """What the parameters of a derived class add to ``regularizers``, in the same form; nothing here."""
        return {}

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on all examples, or, with early stopping, on those that are not held out.

        Args:
            X: shape (n, d), at least two examples of finite real numbers.
            y: not used; class labels are kept with ``run_``, for the analyses that need them.

        Raises:
            ValueError: ``X`` is not of that kind, or the parameters do not fit together, or not to ``X``.
            InvalidParameterError: a ``ValueError``: a parameter has an impossible value.
        """
        self._validate_params()
        last = self.run_.model.state_dict() if self.warm_start and hasattr(self, "run_") else None
        values = self._to_train_on(X, reset=last is None, ensure_min_samples=2)
        with told_to_users_of_sklearn():
            asked = asked_of(self, values, y, seed_of(self))
            self._training: Training | None = None
            with epochs_shown(asked, bool(self.verbose)) as shown:
                run = self._stack(shown, last) if is_stack(asked.config) else self._alone(shown, last)
        return self._fitted(run)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train for one epoch: one pass over ``X``, in batches of ``batch_size``.

        Training goes on where it stopped, after ``fit`` as well as after ``partial_fit``: the weights, the optimiser's
        averages, the random streams and the regularizers' own memory go on, also behind a pickle. So k calls with the
        same ``X`` are a ``fit`` with ``epochs=k``, bit for bit. Parameters that are changed between two calls count
        from the next ``fit`` on.

        Args:
            X: shape (n, d), at least one example.
            y: as that of ``fit``.

        Raises:
            ValueError: ``X`` is not of that kind, or the parameters ask for early stopping, for a schedule of the
                learning rate, or for a stack that is trained layer by layer.
        """
        self._validate_params()
        first = not hasattr(self, "run_")
        values = self._to_train_on(X, reset=first)
        with told_to_users_of_sklearn():
            if self.early_stopping:
                raise RefusedInput("partial_fit does not support early_stopping=True; use fit")
            asked = asked_of(self, values, y, seed_of(self)) if first else None
            _refuse_an_end(asked.config if asked else self.run_.config)
            if asked:
                self._training = Training(asked)
            assert self._training is not None
            return self._fitted(self._training.epoch(dataset_of(values, y, image_shape=self.image_shape)))

    def transform(self, X: Any) -> Array:
        """The code f(x) of every example, shape (n, code), in the type of ``X``; several axes become one."""
        values = self._checked(X)
        model = model_for(self.run_.model, values)
        with told_to_users_of_sklearn():
            return mapped(lambda part: model.encode(part).flatten(1), model, values)

    def inverse_transform(self, X: Any) -> Array:
        """The reconstruction g(h) of every code, shape (n, d), in the type of ``X``, shape (n, code)."""
        check_is_fitted(self)
        values = check_array(X, dtype=[np.float64, np.float32], input_name="X", estimator=self)
        if values.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {values.shape[1]} features, but the codes of {type(self).__name__} have {self._n_features_out} "
                "features, and inverse_transform takes codes; give what transform returned."
            )
        model, shape = model_for(self.run_.model, values), self._code_shape
        with told_to_users_of_sklearn():
            return mapped(lambda part: model.decode(part.reshape(-1, *shape)).flatten(1), model, values)

    def score(self, X: Any, y: Any = None) -> float:
        """The negative mean over the examples of L(x, r(x)), without noise and without the regularizers' terms.

        L is that of ``reconstruction``, summed over the inputs: the squared error Σ_i (r_i - x_i)², or the
        cross-entropy. The greater, the better. A search for the weight of a penalty by this score finds the least
        penalty; search by what the codes are for, as a classifier behind them in a pipeline.
        """
        values = self._checked(X)
        return -float(self.reconstruction_errors(values).mean(dtype=np.float64))

    def reconstruction_errors(self, X: Any) -> Array:
        """L(x, r(x)) of every example, shape (n,): how unusual an example is; see ``score``."""
        values = self._checked(X)
        model, kind = model_for(self.run_.model, values), self.run_.config.training.reconstruction
        with told_to_users_of_sklearn():
            return mapped(lambda part: reconstruction_error(kind, model, model.encode(part), part), model, values)

    @property
    def components_(self) -> Array:
        """The encoder's weights, shape (code, input); see the class."""
        check_is_fitted(self)
        layers = [each for each in _modules(self.run_.model) if isinstance(each, nn.Linear)]
        if len(layers) != 1 or layers[0].weight.shape != (self._n_features_out, self.n_features_in_):
            raise AttributeError(
                f"{type(self).__name__} has components_ only where its encoder has one affine layer; look at run_.model"
            )
        return layers[0].weight.detach().numpy().copy()

    @property
    def _n_features_out(self) -> int:
        return int(np.prod(self._code_shape))

    def _alone(self, asked: Asked, last: dict[str, Tensor] | None) -> Run:
        self._training = Training(asked)
        return self._training.fit(last)

    def _stack(self, asked: Asked, last: dict[str, Tensor] | None) -> Run:
        if last is not None:
            raise RefusedInput("warm_start is not for a stack that is trained layer by layer; use warm_start=False")
        with pinned_settings():
            return trained_stack(asked, None, train, None)

    def _to_train_on(self, X: Any, **checks: Any) -> Array:
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what is too large for float32 becomes infinite, which is told
            found: Array = validate_data(self, X, dtype=np.float32, **checks)
        return found

    def _checked(self, X: Any) -> Array:
        check_is_fitted(self)
        found: Array = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return found

    def _fitted(self, run: Run) -> Self:
        self.run_ = run
        self.history_ = run.history
        self.n_iter_ = len(self.history_)
        with pinned_settings():
            code: Tensor = run.encode(run.dataset.inputs[:2])
        self._code_shape = tuple(code.shape[1:])
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _refuse_an_end(config: RunConfig) -> None:
    """Refuse a run that needs to know how long it will be, or that is no single one, for training in steps.

    Raises:
        RefusedInput: says why.
    """
    if is_stack(config):
        raise RefusedInput("partial_fit is not for a stack that is trained layer by layer; use fit, or another recipe")
    if config.training.patience is not None or config.training.schedule is not None:
        raise RefusedInput("partial_fit goes on without an end, so patience and a schedule have no meaning; use fit")


def _modules(model: Any) -> list[nn.Module]:
    return [*model.encode.modules()] if isinstance(model.encode, nn.Module) else []
