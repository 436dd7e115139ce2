"""Jacobians of any encoder: norms, spectra, tangents and training steps, against the best that was written by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.func import jacfwd, jacrev, jvp, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from caelab import jacobian
from tests.benchmarks import networks
from tests.benchmarks.case import Bench, Case, at_most
from tests.benchmarks.measure import Effort, Spread, Work, time_ratio
from tests.benchmarks.models import quietly, random_inputs, step
from tests.benchmarks.peer_krylov import leading_by_krylov

HAND = at_most(1.25)
PAIR = 16_384  # units of either code of a pair
LONG = 4.0  # seconds of both sides from which on they are not measured again
TOLERANCE = 1e-3  # of a search's directions: the sine, for both sides


def cases() -> list[Case]:
    """The rows, in the table's order."""
    return [*_narrow(), *_sparse(), *_searched(), *_chains(), *_training()]


def _narrow() -> list[Case]:
    by_hand = "/ 32 forward products"
    return [
        Case(f"decoder 32 → 12 288, norm, batch 1 {by_hand}", HAND, partial(_narrow_norm, "decoder", 1), before="137"),
        Case(f"decoder 32 → 12 288, norm, batch 8 {by_hand}", HAND, partial(_narrow_norm, "decoder", 8),
             before="236-289"),
        Case(f"decoder 32 → 12 288, all singular values {by_hand}", HAND, partial(_narrow_spectrum, None),
             before="130-380"),
        Case(f"decoder 32 → 12 288, 10 tangents {by_hand}", HAND, partial(_narrow_spectrum, 10), before="200"),
        Case("map 20 → 10 000, norm, batch 8 / 20 forward products", HAND, partial(_narrow_norm, "map", 8),
             before="328"),
    ]  # fmt: skip


def _sparse() -> list[Case]:
    found, before = [], {(768, 16_384): ("1600", "1500"), (2_048, 32_768): ("5900", "3900")}
    for (inputs, code), (all_values, tangents) in before.items():
        what = f"sparse code {inputs} → {code}"
        values, leading = (partial(_sparse_spectrum, inputs, code, count) for count in (None, 10))
        found += [
            Case(f"{what}, all singular values / from active rows", HAND, values, before=all_values),
            Case(f"{what}, 10 tangents / from active rows", HAND, leading, before=tangents),
            Case(f"{what}, TopK, norm / from active rows", HAND, partial(_sparse_norm, inputs, code), before="60000"),
        ]
    return found


def _searched() -> list[Case]:
    return [
        Case("U-Net 64², 10 tangents / block Krylov", HAND, _denoiser_tangents, before="5.2"),
        Case("ResNet-18, 3×224×224 → 512, 10 tangents / block Krylov", HAND, partial(_resnet_tangents, 224, 1),
             before="3.3"),
        Case("ResNet-18, 3×64×64 → 512, 10 tangents, batch 8 / block Krylov", HAND, partial(_resnet_tangents, 64, 8),
             before="3.0"),
    ]  # fmt: skip


def _chains() -> list[Case]:
    mlp, never = (3072, 1024, 256, 64), at_most(1.0)
    grid = "chains, worst of a grid of widths, batches and activations / vmap(jacrev) or (jacfwd)"
    what = "MLP 3072-1024-256-64, batch 64, norm"
    return [
        Case(f"{what} / vmap(jacrev)", never, partial(_chain, mlp, 64, nn.Sigmoid, False), before="2.4"),
        Case(f"{what} with gradient / vmap(jacrev)", never, partial(_chain, mlp, 64, nn.Sigmoid, True), before="3.0"),
        Case(grid, never, partial(_worst, False), before="8.6"),
        Case(f"{grid}, with gradient", never, partial(_worst, True), before="8.8"),
    ]


def _training() -> list[Case]:
    steps = {"conv28": "convolutions 28²", "residual32": "residual convolutions 32²", "vit": "ViT 32²",
             "transformer_encoder": "TransformerEncoder 32²"}  # fmt: skip
    pair = f"step of sparse pair, {PAIR} units, with Jacobian between its codes"
    before = {"conv28": "2.2", "residual32": "1.7", "vit": "1.7", "transformer_encoder": "1.6"}
    return [
        *(
            Case(f"{what}, step with 1 projection / with double backward", at_most(1.05), partial(_step, name),
                 before=before[name])
            for name, what in steps.items()
        ),
        Case(f"{pair}, 1 row / plain pair", at_most(1.3), partial(_pair_step, 1)),
        Case(f"{pair}, all 32 rows / plain pair", None, partial(_pair_step, 32)),
    ]  # fmt: skip


def ratio(bench: Bench, ours: Work, theirs: Work) -> Spread:
    """As ``Bench.ratio``; one round of what takes long, after one that sets things up where that is short."""
    theirs()  # torch sets up forward mode at its first use, for seconds
    took = [_once(ours), _once(theirs)]
    if bench.device == "cuda" or sum(took) < LONG:
        return bench.ratio(ours, theirs)
    if took[0] < 5 * LONG:
        took[0] = _once(ours)
    return Spread.of([took[0] / took[1]])


def _once(work: Work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


@cache
def network(name: str) -> nn.Module:
    """One of ``networks``, with weights from a seed."""
    torch.manual_seed(0)
    made: nn.Module = getattr(networks, name)()
    return made.eval()


def columns(encode: nn.Module, inputs: Tensor) -> Tensor:
    """J by forward products with all unit vectors, (input, batch, code)."""
    units = torch.eye(inputs.shape[1], device=inputs.device)
    return vmap(lambda unit: jvp(encode, (inputs,), (unit.expand_as(inputs),))[1])(units).flatten(2)


def _narrow_norm(kind: str, batch: int, bench: Bench) -> Spread:
    encode = network("decoder" if kind == "decoder" else "wide_map").to(bench.device)
    x = random_inputs(batch, 32 if kind == "decoder" else 20, device=bench.device)
    theirs = quietly(lambda: columns(encode, x).square().sum(dim=(0, 2)))
    return ratio(bench, quietly(lambda: jacobian(encode, x).squared_norm()), theirs)


def _narrow_spectrum(count: int | None, bench: Bench) -> Spread:
    encode, x = network("decoder").to(bench.device), random_inputs(1, 32, device=bench.device)

    def by_hand() -> object:
        matrix = columns(encode, x).transpose(0, 1).double()
        return torch.linalg.eigh(matrix @ matrix.mT) if count else torch.linalg.eigvalsh(matrix @ matrix.mT)

    j = partial(jacobian, encode, x)
    ours = quietly(lambda: j().tangents(count) if count else j().singular_values())
    return ratio(bench, ours, quietly(by_hand))


@cache
def sparse(inputs: int, code: int, top_k: bool) -> nn.Module:
    """A sparse encoder with weights from a seed."""
    torch.manual_seed(0)
    return networks.sparse_encoder(inputs, code, top_k)


def _sparse_spectrum(inputs: int, code: int, count: int | None, bench: Bench) -> Spread:
    encode, x = sparse(inputs, code, False).to(bench.device), random_inputs(8, inputs, device=bench.device) - 0.5

    def by_hand() -> None:
        weight = encode[0].weight  # type: ignore[index,union-attr]
        for active in encode(x) > 0:
            rows = weight[active].double()  # type: ignore[index]
            squares = rows @ rows.T
            if count is None:
                torch.linalg.eigvalsh(squares)
            else:
                values, vectors = torch.linalg.eigh(squares)
                _ = vectors[:, -count:].T @ rows / values[-count:, None].sqrt()

    j = partial(jacobian, encode, x)
    ours = quietly(lambda: j().tangents(count) if count else j().singular_values())
    return ratio(bench, ours, quietly(by_hand))


def _sparse_norm(inputs: int, code: int, bench: Bench) -> Spread:
    encode, x = sparse(inputs, code, True).to(bench.device), random_inputs(8, inputs, device=bench.device) - 0.5

    def by_hand() -> object:
        places = encode[0](x).topk(networks.ACTIVE, dim=1).indices  # type: ignore[operator]
        return torch.stack([encode[0].weight[each].square().sum() for each in places])  # type: ignore[index]

    return ratio(bench, quietly(lambda: jacobian(encode, x).squared_norm()), quietly(by_hand))


def _searched_against(encode: nn.Module, x: Tensor, bench: Bench) -> Spread:
    ours = quietly(lambda: jacobian(encode, x).tangents(10, tolerance=TOLERANCE))

    def by_hand() -> None:
        for one in x:
            leading_by_krylov(encode, one, 10, TOLERANCE)

    return ratio(bench, ours, by_hand)


def _denoiser_tangents(bench: Bench) -> Spread:
    draws = torch.Generator().manual_seed(7)
    noisy = networks.smooth_images(1, draws)
    noisy = noisy + 0.3 * torch.randn(noisy.shape, generator=draws)
    return _searched_against(networks.denoiser().to(bench.device), noisy.to(bench.device), bench)


def _resnet_tangents(size: int, batch: int, bench: Bench) -> Spread:
    x = random_inputs(batch, 3, size, size, device=bench.device)
    return _searched_against(network("resnet18").to(bench.device), x, bench)


def _chain(
    widths: tuple[int, ...],
    batch: int,
    activation: type[nn.Module],
    gradient: bool,
    bench: Bench,
    double: bool = False,
    effort: Effort | None = None,
) -> Spread:
    torch.manual_seed(0)
    encode = networks.mlp(widths, activation).to(bench.device)
    x = random_inputs(batch, widths[0], device=bench.device)
    if double:
        encode, x = encode.double(), x.double()
    by_hand = vmap((jacrev if widths[-1] <= widths[0] else jacfwd)(encode))
    ours, theirs = (
        _with_gradient(encode, norms) if gradient else quietly(norms)
        for norms in (lambda: jacobian(encode, x).squared_norm(), lambda: by_hand(x).square().sum(dim=(1, 2)))
    )
    return time_ratio(ours, theirs, effort) if effort else bench.ratio(ours, theirs)


def _with_gradient(encode: nn.Module, norms: Callable[[], Tensor]) -> Work:
    def run() -> None:
        encode.zero_grad()
        norms().sum().backward()

    return run


GRID = [
    *(((3072, 1024, 256, 64), batch, act) for batch, act in ((1, nn.Sigmoid), (8, nn.ReLU), (64, nn.Tanh))),
    *(((784, 1000, 500, 30), batch, act) for batch, act in ((1, nn.ReLU), (8, nn.Tanh), (64, nn.Sigmoid))),
    *(((20, 500, 500, 10_000), batch, act) for batch, act in ((1, nn.Tanh), (8, nn.Sigmoid), (8, nn.ReLU))),
    *(((64, 64, 64), batch, act) for batch, act in ((1, nn.Sigmoid), (8, nn.ReLU), (64, nn.Tanh), (128, nn.ReLU))),
    *(((784, 1000, 1000, 500), batch, act) for batch, act in ((1, nn.ReLU), (8, nn.Sigmoid))),
    *(((784, 1000, 30, 1000, 784), batch, act) for batch, act in ((1, nn.Sigmoid), (8, nn.ReLU))),
]
SHORT = Effort(seconds=0.6, least=3, most=15)


def _worst(gradient: bool, bench: Bench) -> Spread:
    """The largest of the ratios; every second chain of the grid in float64."""
    found = [
        _chain(widths, batch, act, gradient, bench, double=place % 2 == 1, effort=SHORT)
        for place, (widths, batch, act) in enumerate(GRID)
    ]
    return max(found, key=lambda spread: spread.middle)


def _step(name: str, bench: Bench) -> Spread:
    """A step of auto-encoder training with a linear decoder; both estimates see the code that the loss has."""
    width = {"conv28": 784}.get(name, 3072)
    torch.manual_seed(0)
    encode = getattr(networks, name)().to(bench.device)
    x = random_inputs(64 if name == "conv28" else 16, width, device=bench.device)
    decode = nn.Linear(encode(x[:1]).shape[1], width).to(bench.device)
    optimizer = torch.optim.Adam([*encode.parameters(), *decode.parameters()], lr=1e-4)

    @sdpa_kernel(SDPBackend.MATH)  # torch's other kernels of attention have no second derivative
    def one(penalty: Callable[[Tensor, Tensor], Tensor]) -> None:
        inputs = x.detach().requires_grad_()
        code = encode(inputs)
        error = F.mse_loss(decode(code), x, reduction="sum") / len(x)
        optimizer.zero_grad()
        (error + 0.01 * penalty(inputs, code)).backward()
        optimizer.step()

    def double_backward(inputs: Tensor, code: Tensor) -> Tensor:
        signs = torch.randint(0, 2, code.shape, device=code.device).to(code.dtype) * 2 - 1
        (row,) = torch.autograd.grad(code, inputs, signs, create_graph=True)
        return row.square().sum() / len(row)

    def ours(inputs: Tensor, code: Tensor) -> Tensor:
        return jacobian(encode, inputs, code, gradients=True).squared_norm(samples=1).mean()

    return bench.ratio(partial(one, ours), partial(one, double_backward))


def _pair_step(rows: int, bench: Bench) -> Spread:
    """Sparse auto-encoders before and behind an MLP block of digits' width, with the penalty and without."""
    penalised = step("jsae", 128, PAIR, [f"jacobian-sparsity.rows={rows}"], device=bench.device)
    return bench.ratio(penalised, step("sae-pair", 128, PAIR, device=bench.device))
