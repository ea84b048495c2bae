#!/usr/bin/env python3
"""The solver Bitwuzla from its wheel, which has no program, as smtbmc calls it: SMT-LIB on standard input."""

import sys
from collections.abc import Iterable, Iterator

import bitwuzla


def commands(lines: Iterable[str]) -> Iterator[str]:
    """Yield whole commands: smtbmc writes some on several lines, and waits for the answer to each."""
    command, depth = "", 0
    for line in lines:
        text = "" if line.lstrip().startswith(";") else line
        outside = "".join(text.split("|")[::2])  # names between bars may hold anything
        depth += outside.count("(") - outside.count(")")
        command += text
        if not depth and command.strip():
            yield command
            command = ""


def main() -> None:
    """Answer each command until the input ends."""
    if "--help" in sys.argv:
        print("--lang")  # by which smtbmc tells newer versions
        return
    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
    for command in commands(sys.stdin):
        if command.strip() == "(exit)":
            return
        parser.parse(command, False, False)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
