"""How parameters are optimised: the keys that pretraining and fine-tuning share; without torch, to be quick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from caelab.options import MANY, Count, Positive
from caelab.registry.signatures import SENTENCE
from caelab.runs.section import Section


class Schedule(Section):
    """The learning rate over time, in epochs; it changes after every update.

    The rate rises in equal steps from 0 to ``learning_rate`` over the first ``warmup`` epochs, W. After them, at epoch
    t (a fraction within an epoch) of T, it is ``learning_rate`` times

    * ``constant``: 1;
    * ``step``: ``factor`` to the power of the whole part of (t - W) / ``every``;
    * ``cosine``: ``final`` + (1 - ``final``) (1 + cos(pi (t - W) / (T - W))) / 2 (Loshchilov and Hutter 2017, eq. 5).

    Attributes:
        kind: see above.
        warmup: epochs; a part of one, as 0.5, is allowed.
        every: epochs between two steps of ``step``.
        factor: of each step of ``step``.
        final: the last rate of ``cosine``, as a share of ``learning_rate``.
    """

    kind: Literal["constant", "step", "cosine"]
    warmup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    every: Count | None = None
    factor: Annotated[float, Field(gt=0, le=1)] | None = None
    final: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> Schedule:
        """Refuse a step without its length, and keys of another kind."""
        if self.kind == "step" and self.every is None:
            raise PydanticCustomError(
                SENTENCE, "expected the key every, the number of epochs after which the rate falls, as in every: 10"
            )
        owners = {"every": "step", "factor": "step", "final": "cosine"}
        for key, kind in owners.items():
            if getattr(self, key) is not None and kind != self.kind:
                raise PydanticCustomError(
                    SENTENCE, "{key} belongs to the kind {kind}; leave it out", {"key": key, "kind": kind}
                )
        return self


def _kind_alone(given: Any) -> Any:
    """``cosine`` stands for ``{kind: cosine}``."""
    if isinstance(given, Mapping) and "kind" not in given:
        raise PydanticCustomError(SENTENCE, "expected the key kind, too: constant, step or cosine, as in kind: cosine")
    return {"kind": given} if isinstance(given, str) else given


class Optimisation(Section):
    """How parameters are found: optimiser, learning rate, batches, and when to stop.

    Attributes:
        optimizer: torch's Adam, AdamW (decoupled weight decay), SGD or RMSprop.
        learning_rate: its largest value, where a schedule changes it.
        epochs: passes over the training examples, at most.
        batch_size: examples per update.
        momentum: of SGD and RMSprop.
        patience: epochs without a better validation after which training stops, and goes back to the best one; None
            trains to the last epoch.
        weight_decay: the factor that torch's optimisers call so: a part of the weights in the gradient, and for AdamW
            of each update. The regularizer ``weight-decay`` is a term of the loss instead.
        schedule: of the learning rate; constant where it is None.
        clip_norm: the largest norm of the gradient of all parameters; a longer one is shortened to it.
    """

    only_where_set: ClassVar[tuple[str, ...]] = ("weight_decay", "schedule", "clip_norm")

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"]
    learning_rate: Positive
    epochs: Annotated[int, Field(ge=0, le=MANY)]
    batch_size: Count = 100
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    schedule: Annotated[Schedule, BeforeValidator(_kind_alone)] | None = None
    clip_norm: Positive | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Optimisation:
        if self.optimizer == "adamw" and self.weight_decay is None:
            raise PydanticCustomError(
                SENTENCE, "expected weight_decay, since adamw is Adam with decoupled weight decay; adam has none"
            )
        if self.schedule is not None and self.epochs and self.schedule.warmup >= self.epochs:
            raise PydanticCustomError(
                SENTENCE,
                "expected a warm-up of the learning rate that ends before training does, but it takes {warmup} of "
                "{epochs} epochs; lower schedule.warmup",
                {"warmup": self.schedule.warmup, "epochs": self.epochs},
            )
        return self
