"""The scripts that a shell evaluates, and the answers to what they ask; click's, as far as it goes.

Bash breaks words at ``=`` and ``:``, click's script for fish breaks answers at commas, and none of click's leaves the
cursor behind a ``KEY=``; so each script is one's own.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    split_arg_string,
)

from caelab.errors import unknown_name

VARIABLE = "_CAELAB_COMPLETE"  # set by the scripts, read by the entry point, and named as click names it
NAME = "caelab"

BASH = """\
%(complete_func)s() {
    local line kind value
    COMPREPLY=()
    while IFS= read -r line; do
        kind=${line%%%%,*} value=${line#*,}
        case $kind in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain)
                [[ $value == *[=:/.] ]] && compopt -o nospace 2>/dev/null
                if [[ ${COMP_WORDS[COMP_CWORD]} != [\\"\\']* ]]; then
                    printf -v line %%q "$value"
                    [[ $value == "~"* ]] && line="~${line#??}"
                    value=$line
                fi
                COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""

ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a plain open told response
    local kind value about
    (( ! $+commands[%(prog_name)s] )) && return 1
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
%(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")
    for kind value about in ${response}; do
        case $kind in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain)
                if [[ $about != _ ]]; then told+=("$value":"$about")
                elif [[ $value == *[=:/.] ]]; then open+=("$value")
                else plain+=("$value")
                fi ;;
        esac
    done
    (( $#told )) && _describe -V unsorted told -U
    (( $#open )) && compadd -U -V unsorted -S '' -a open
    (( $#plain )) && compadd -U -V unsorted -a plain
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

FISH = """\
function %(complete_func)s
    for line in (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp | string collect) \\
COMP_CWORD=(commandline -ct | string collect; or echo) %(prog_name)s 2>/dev/null)
        set -l parts (string split -m 1 "," -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class Silent(ShellComplete):
    """Completion that says nothing where click would fail, and that knows ``--option=VALUE`` as one word."""

    def source(self) -> str:
        """The script, without asking the shell for its version."""
        return self.source_template % self.source_vars()

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """What the last word may be; nothing where that cannot be told, for any reason."""
        try:
            found = super().get_completions(args, incomplete)
        except (Exception, SystemExit):  # of any kind, from plugins that are broken to folders that may not be read
            return []
        option = re.match(r"--[\w-]+=", incomplete)
        return [_behind(option[0], each) for each in found] if option else found


def _behind(option: str, item: CompletionItem) -> CompletionItem:
    return item if item.type != "plain" else CompletionItem(f"{option}{item.value}", help=item.help)


class Bash(Silent, BashComplete):
    """Bash, which is told of the part of a word behind its last ``=`` or ``:`` only."""

    source_template: ClassVar[str] = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words of the line up to the cursor, and the last one, as the user typed them."""
        *words, last = split_arg_string(f"{os.environ['COMP_LINE']}x")  # the x is a word of its own behind a space
        return words[1:], last[:-1]

    def complete(self) -> str:
        """The answer: of each word the part that stands in place of the part that bash knows of."""
        args, whole = self.get_completion_args()
        known = os.environ.get("COMP_WORD", whole)
        before = whole.removesuffix(known) if whole.endswith(known) else ""
        items = [each for each in self.get_completions(args, whole) if str(each.value).startswith(before)]
        return "\n".join(self.format_completion(_without(len(before), each)) for each in items)


def _without(cut: int, item: CompletionItem) -> CompletionItem:
    return item if item.type != "plain" else CompletionItem(item.value[cut:])


class Zsh(Silent, ZshComplete):
    """Zsh, which shows what an option is for."""

    source_template: ClassVar[str] = ZSH


class Fish(Silent, FishComplete):
    """Fish, whose answers may hold commas."""

    source_template: ClassVar[str] = FISH


SHELLS: dict[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def script(command: click.Command, shell: str) -> str:
    """The text that a shell evaluates.

    Raises:
        CaelabError: there is no completion for a shell of this name.
    """
    if shell not in SHELLS:
        raise unknown_name("shell", shell, SHELLS)
    return SHELLS[shell](command, {}, NAME, VARIABLE).source()


def answer(command: click.Command, asked: str) -> int:
    """Print how the line of a shell may go on, and nothing else whatever happens.

    Args:
        command: whose command line it is.
        asked: the value of the variable that the script sets, as ``bash_complete``.

    Returns:
        The exit status.
    """
    shell, _, what = asked.partition("_")
    if shell not in SHELLS or what not in ("complete", "source"):
        return 1
    completer = SHELLS[shell](command, {}, NAME, VARIABLE)
    text = ""
    with _silence(), suppress(Exception, SystemExit):
        text = completer.complete() if what == "complete" else completer.source()
    click.echo(text.encode())
    return 0


@contextmanager
def _silence() -> Iterator[Any]:
    """No line of a log, no warning and no text that a plugin prints where it is imported."""
    gc.disable()  # the process ends at once, and makes no rubbish before
    logging.disable(logging.CRITICAL)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, warnings.catch_warnings(action="ignore"):
        kept = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = kept
