"""The command ``caelab analyse``, which measures runs or any encoder."""

from __future__ import annotations

from pathlib import Path

import click

from caelab.cli.commands.shared import RenamedOptions, plugin_options, use_plugins
from caelab.errors import CaelabError


@click.command(cls=RenamedOptions, renamed={"--data": "--dataset"})
@click.argument("analyses", nargs=-1, required=True, metavar="ANALYSIS...")
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path), help="A run's folder; may be repeated.")
@click.option("--encoder", help="An encoder of your own: package:NAME, FILE.py:NAME, or a part, FILE.py:NAME.PART.")
@click.option("--denoiser", help="In its place a map of inputs to inputs, which stands for the reconstruction.")
@click.option("--dataset", help="The data set for --encoder or --denoiser, as npz:x.npz (see caelab data).")
@click.option("--set", "settings", multiple=True, metavar="ANALYSIS.OPTION=VALUE", help="An option of an analysis.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("analysis"), show_default=True)
@plugin_options
def analyse(
    analyses: tuple[str, ...],
    runs: tuple[Path, ...],
    encoder: str | None,
    denoiser: str | None,
    dataset: str | None,
    settings: tuple[str, ...],
    out: Path,
    plugins: tuple[Path, ...],
) -> None:
    """Measure trained runs, or any encoder, and draw what was found.

    \b
    caelab analyse jacobian_spectrum tangents --run runs/cae-0123456789ab
    caelab analyse jacobian_spectrum --encoder mypackage:encoder --dataset npz:x.npz
    caelab analyse denoiser_directions --denoiser net.py:unet --dataset npz:x.npz --set denoiser_directions.sigma=0.3
    """
    use_plugins(plugins)
    target = encoder or denoiser
    if (bool(runs), bool(encoder), bool(denoiser)).count(True) != 1 or bool(target) != bool(dataset):
        raise CaelabError(
            "give either --run FOLDER (once or more), or --encoder package:attribute, or --denoiser "
            "package:attribute, the latter two with --dataset NAME"
        )
    from caelab.analysis.pieces import listening
    from caelab.analysis.standalone import analyse_runs
    from caelab.cli.progress import ExampleProgress
    from caelab.runs.external import encoder_run
    from caelab.runs.run import load_run

    found = (
        [encoder_run(target, dataset, denoiser=bool(denoiser))]
        if target and dataset
        else [load_run(path) for path in runs]
    )
    with ExampleProgress() as progress, listening(progress.show):
        for line in analyse_runs(found, analyses, settings, out):
            click.echo(line)
