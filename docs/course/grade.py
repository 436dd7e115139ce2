"""Grade the exercises of the course: of one student, or of a class.

    python grade.py exercises                           one folder of answers
    python grade.py class/* --table grades.csv          a folder for each student, and a table of all
    python grade.py exercises --only penalties          the exercises of one notebook

Every folder is graded in a process of its own, with a limit of time; its code is run, so grade in a container what you
do not trust. Exit status 1 says that an answer is missing or wrong.
"""

import argparse
import importlib.util
import io
import subprocess
import sys
from pathlib import Path

import pandas as pd

COLUMNS = ["exercise", "verdict", "why"]
FILES = ("pca", "denoising", "contraction", "spectrum", "score", "penalties")
RIGHT, WRONG, TO_DO = "right", "wrong", "to do"


def graded(folder="exercises", only=None):
    """The verdict on every exercise of a folder of answers, or of one file in it.

    Args:
        folder: with the files pca.py, denoising.py, contraction.py, spectrum.py, score.py and penalties.py.
        only: the name of one of them, as "pca".

    Returns:
        A table with the columns exercise, verdict ("right", "wrong" or "to do") and why.

    Raises:
        ValueError: the folder does not exist, or there is no such file of exercises.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"expected a folder of answers, but {folder} is none")
    if only is not None and only not in FILES:
        raise ValueError(f"expected one of {', '.join(FILES)}, but {only!r} came")
    from expected import CHECKS  # it imports torch, which takes seconds

    names = FILES if only is None else [only]
    return pd.DataFrame(
        [row for name in names for row in of_file(folder / f"{name}.py", CHECKS[name])], columns=COLUMNS
    )


def of_file(path, checks):
    """The rows of one file of answers."""
    try:
        answers = imported(path)
    except FileNotFoundError:
        return [(f"{path.stem}.{name}", TO_DO, f"there is no {path.name}") for name in checks]
    except (Exception, SystemExit) as error:  # a student's file may fail in any way
        return [(f"{path.stem}.{name}", WRONG, f"{path.name} does not import: {told(error)}") for name in checks]
    return [(f"{path.stem}.{name}", *verdict(getattr(answers, name, None), check)) for name, check in checks.items()]


def imported(path):
    """A file of answers as a module of its own, whatever was imported before."""
    if not path.is_file():
        raise FileNotFoundError(path)
    spec = importlib.util.spec_from_file_location(f"answers_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdict(answer, check):
    """The verdict on one answer, and why."""
    if answer is None:
        return TO_DO, "it is not in the file"
    try:
        wrong = check(answer)
    except NotImplementedError:
        return TO_DO, "not written yet"
    except (Exception, SystemExit) as error:  # an answer may fail in any way
        return WRONG, told(error)
    return (WRONG, wrong) if wrong else (RIGHT, "")


def told(error):
    """An error in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".removesuffix(": ")


def of_student(folder, only, limit):
    """``graded`` in a process of its own; if it fails, in one for each file: an endless loop spoils its file alone."""
    table, why = in_a_process(folder, only, limit)
    if table is None and only is None:
        return pd.concat([of_student(folder, name, limit) for name in FILES], ignore_index=True)
    return failed(only, why) if table is None else table


def failed(name, why):
    """The rows of a file whose process failed."""
    from expected import CHECKS

    return pd.DataFrame([(f"{name}.{each}", WRONG, why) for each in CHECKS[name]], columns=COLUMNS)


def in_a_process(folder, only, limit):
    """The table of ``graded``, computed in a process of its own, and None; or None, and why the process failed."""
    words = [sys.executable, __file__, str(folder), "--alone", *(["--only", only] if only else [])]
    try:
        done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return None, f"it did not end within {limit:g} s"
    table = done.stdout.rpartition(MARK)[2]
    if done.returncode or not table:
        return None, (done.stderr.strip().splitlines() or ["its process ended"])[-1]
    return pd.read_json(io.StringIO(table), orient="split", dtype=False), None


MARK = "\x1e"  # between what the answers print and the table


def main(words=None):
    """The command; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a folder of answers")
    parser.add_argument("--only", metavar="FILE", help="the exercises of one file, as pca")
    parser.add_argument("--table", type=Path, metavar="CSV", help="write every verdict of every folder there")
    parser.add_argument(
        "--limit",
        type=float,
        default=300,
        metavar="SECONDS",
        help="for a folder, and for a file of one that fails (300)",
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.only and asked.only not in FILES:
        parser.error(f"expected --only with one of {', '.join(FILES)}, but {asked.only!r} came")
    missing = [str(folder) for folder in asked.folders if not folder.is_dir()]
    if missing:
        parser.error(f"expected folders of answers, but {', '.join(missing)} is none")
    if asked.alone:
        print(MARK + graded(asked.folders[0], asked.only).to_json(orient="split"))
        return 0
    return report(asked)


def report(asked):
    """Grade every folder, print what is missing or wrong, and write the table."""
    tables = []
    for folder in asked.folders:
        table = of_student(folder, asked.only, asked.limit)
        print(f"{folder}: {(table['verdict'] == RIGHT).sum()} of {len(table)} right")
        for row in table[table["verdict"] != RIGHT].itertuples():
            print(f"  {row.verdict:5}  {row.exercise}: {row.why}")
        tables.append(table.assign(student=folder.resolve().name))
    everyone = pd.concat(tables)[["student", *COLUMNS]]
    if asked.table:
        everyone.to_csv(asked.table, index=False)
        print(asked.table)
    return 0 if (everyone["verdict"] == RIGHT).all() else 1


if __name__ == "__main__":
    sys.exit(main())
