"""The command ``caelab completion``, which prints the script that a shell completes command lines with."""

from __future__ import annotations

import click

from caelab.errors import CaelabError

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument(
    "shell",
    required=False,
    metavar="|".join(SHELLS),
    shell_complete=lambda _, __, begun: [each for each in SHELLS if each.startswith(begun)],
)
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print the script with which a shell completes recipes, data sets, analyses, settings, runs and options.

    \b
    eval "$(caelab completion bash)"      in ~/.bashrc
    eval "$(caelab completion zsh)"       in ~/.zshrc, behind compinit
    caelab completion fish | source       in ~/.config/fish/config.fish
    """
    from caelab.cli.completion.shells import script

    if shell is None:
        raise CaelabError("expected the name of a shell, bash, zsh or fish, as in: caelab completion bash")
    click.echo(script(context.find_root().command, shell), nl=False)
