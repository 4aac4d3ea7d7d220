"""Shells complete the commands: as a shell would ask, and in a real bash."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from scripts.reference import leaf_commands
from zenzefi.cli import main

PROGRAM = Path(sys.executable).parent / "zenzefi"


def asked(shell: str, *words: str, typed: str = "") -> str:
    """The completions after these words, while ``typed`` is being typed."""
    line = " ".join(["zenzefi", *words, typed])
    env = {
        "PATH": os.environ["PATH"],
        "COMP_WORDS": line,
        "COMP_CWORD": typed if shell == "fish" else str(len(words) + 1),
        "_ZENZEFI_COMPLETE": f"{shell}_complete",
    }
    done = subprocess.run(
        [PROGRAM], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_values_are_offered(shell: str) -> None:
    assert re.search(r"\bserve\b", asked(shell, typed="se"))
    assert re.search(r"\bpromote\b", asked(shell, "user", typed="pro"))
    assert "--no-refund" in asked(shell, "token", "revoke", typed="--no")
    assert re.search(r"\b168\b", asked(shell, "token", "issue", "--hours"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_is_given_a_script_that_it_reads(shell: str) -> None:
    env = {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "_ZENZEFI_COMPLETE": f"{shell}_source"}
    script = subprocess.run(
        [PROGRAM], env=env, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "_zenzefi_completion" in script
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed: it does not read its completion script")
    done = subprocess.run([found, "-n"], input=script, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_real_bash_completes_as_the_documents_say() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed: completion does not run in it")
    typed = """
    eval "$(_ZENZEFI_COMPLETE=bash_source zenzefi)"
    complete -p zenzefi
    COMP_WORDS=(zenzefi pl) COMP_CWORD=1
    _zenzefi_completion zenzefi
    echo "${COMPREPLY[@]}"
    """
    env = {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "-c", typed], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "plugin"


_SPEAK_TO_PEOPLE = {
    *("serve", "demo", "connect"),
    *("plugin new", "plugin try", "plugin check", "plugin reference"),
}


def test_every_command_that_reports_can_do_so_in_json_and_explains_each_option() -> None:
    for path, command in leaf_commands(main, "zenzefi"):
        options = {name: one for one in command.params for name in one.opts}
        if path.removeprefix("zenzefi ") not in _SPEAK_TO_PEOPLE:
            assert "--json" in options or path == "zenzefi remote call", path  # prints JSON only
        assert command.help, path
        unexplained = [
            one.name
            for one in command.params
            if isinstance(one, click.Option) and not one.help and "plugin" not in path
        ]
        assert unexplained == [], path
