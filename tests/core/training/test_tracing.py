import torch

from caelab import hookimpl, train


class Watcher:
    @hookimpl
    def before_update(self, step):
        pass

    @hookimpl
    def extra_metrics(self, inputs):
        return {"mine": 3.0}


def trace_of(config, observers=None, out=None):
    lines = []
    run = train(config, observers=observers, out=out, trace=lines.append)
    return run, lines


def test_each_kind_of_call_is_told_once_with_shapes(small):
    """Forty examples in batches of sixteen: two kinds of batch, and the same two in every epoch."""
    _, lines = trace_of(small("dae-b", "contractive.weight=0.1"), {"watcher": Watcher()})
    assert [line.partition(" [")[0] for line in lines] == [
        "corrupt_input (epoch 1)",
        "penalty_terms (epoch 1)",
        "before_update (epoch 1, step 1)",
        "corrupt_input (epoch 1)",
        "penalty_terms (epoch 1)",
        "extra_metrics (epoch 1)",
    ]
    first, penalty, _, last, _, metrics = lines
    assert first.endswith("[masking]: clean float32 (16, 20), streams Streams -> float32 (16, 20)")
    assert last.endswith("[masking]: clean float32 (8, 20), streams Streams -> float32 (8, 20)")
    assert "code float32 (16, 12), reconstruction None" in penalty
    assert "encoder_jacobian Jacobian of Sequential at (16, 20)" in penalty
    assert penalty.endswith("-> [{contractive: float32 ()}]")
    assert metrics.endswith("[watcher]: model Autoencoder, inputs float32 (10, 20) -> [{mine: float}]")


def test_plugins_stand_in_the_order_in_which_they_are_called(small):
    called = []

    class Noting:
        def __init__(self, name):
            self.name = name

        @hookimpl
        def before_epoch(self, epoch):
            called.append(self.name)

    names = ["second", "first", "third"]
    _, lines = trace_of(small("ae", "training.epochs=1"), {name: Noting(name) for name in names})
    assert lines == [f"before_epoch (epoch 1) [{', '.join(called)}]: model Autoencoder -> nothing"]


def test_tracing_changes_nothing(small):
    config = small("dae-g", "contractive.weight=0.1")
    traced, _ = trace_of(config)
    plain = train(config)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, traced.model.state_dict()[name]), name


def test_a_run_that_is_there_already_says_why_nothing_is_told(small, tmp_path):
    run, lines = trace_of(small("cae"), out=tmp_path)
    assert lines
    _, again = trace_of(small("cae"), out=tmp_path)
    assert again == [f"no hook is called: {run.path} holds this run already; give another folder with --out"]
