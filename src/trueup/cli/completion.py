"""`trueup completion SHELL`: the script that completes commands, printed."""

from __future__ import annotations

import click

HOW = {
    "bash": "echo 'eval \"$(trueup completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(trueup completion zsh)\"' >> ~/.zshrc",
    "fish": "trueup completion fish > ~/.config/fish/completions/trueup.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(HOW)))
def completion(shell: str) -> None:
    """Print the script that completes commands and options in your shell.

    \b
    Examples:
      eval "$(trueup completion bash)"
      trueup completion fish > ~/.config/fish/completions/trueup.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, f"click completes no {shell}"
    # bash's class asks the shell for its version when it makes the script; only its template is wanted.
    script = kind.source_template % {
        "complete_func": "_trueup_completion",
        "complete_var": "_TRUEUP_COMPLETE",
        "prog_name": "trueup",
    }
    click.echo(f"# Kept for every new shell by: {HOW[shell]}\n{script}")
