"""Runs the blocks of docs/from-pytorch.md: lines of `console` that begin with `$ rigl`, with the program given here, then
`python`, all in the order of the document and in one fresh folder.

    python -m pip install torch==2.15.0 safetensors==0.8.0 numpy pandas
    cargo build --release
    python reference/check_docs.py target/release/rigl

A block of Python that needs a package which is not there is skipped, with a notice. Exits with 1 at the first block that
fails, and names its line.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "from-pytorch.md"


def blocks(text):
    """Language, first line's number, and text of each fenced block."""
    for fence in re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield fence[1], text.count("\n", 0, fence.start(2)) + 1, fence[2]


def console(rigl, text):
    for line in text.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "))
        assert line.startswith("$ ") and program == "rigl", f"no command of rigl: {line}"
        subprocess.run([rigl, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rigl = Path(sys.argv[1]).resolve(strict=True)
    names = {}
    ran, skipped = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for language, line, text in blocks(DOCUMENT.read_text(encoding="utf-8")):
            where = f"{DOCUMENT.name}:{line}"
            try:
                if language == "console":
                    console(rigl, text)
                elif language == "python":
                    # Blank lines in front, so that a trace has the document's line numbers.
                    exec(compile("\n" * (line - 1) + text, DOCUMENT, "exec"), names)
                else:
                    continue
            except ModuleNotFoundError as error:
                print(f"{where}: skipped, there is no package `{error.name}`", file=sys.stderr)
                skipped += 1
                continue
            except Exception:
                traceback.print_exc()
                sys.exit(f"{where}: failed")
            ran += 1
            print(f"{where}: {language} ran")
        os.chdir(DOCUMENT.parent)
    if ran == 0:
        sys.exit("no block ran")
    print(f"{ran} blocks ran, {skipped} skipped")


if __name__ == "__main__":
    main()
