#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""put_table.py TABLE

Puts a table that `tools/dev bench --markdown TABLE` wrote into docs/performance.md, and its ratios into the rows of README.md.
"""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ROW = re.compile(r"^\| `([a-z0-9_]+)` \| (\w+)[^|]*\|[^|]*\|[^|]*\| ([0-9.]+) \|", re.MULTILINE)


def replace(name, change):
    path = os.path.join(ROOT, name)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    new = change(text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(new)


def put_table(table):
    # which kernel, without what its builder called it; the heading of a group without a sentence is its first row's name again
    table = re.sub(r"Linux (\d+\.\d+)[^\s,]*", r"Linux \1", table)
    table = re.sub(r"\n[a-z0-9_]+\n\n\| row", r"\n| row", table)

    def change(text):
        new, times = re.subn(r"(<!-- table:bench -->\n).*?(<!-- end:bench -->\n)",
                             lambda marks: marks[1] + table.rstrip("\n") + "\n" + marks[2], text, flags=re.DOTALL)
        if times != 1:
            sys.exit("docs/performance.md has no place for the table")
        return new
    replace("docs/performance.md", change)


def lacking(table):
    """Rows of README.md that are not in it: it is of a part of the benchmarks, and would take the others' place."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        quoted = re.findall(r"^\| [^|`]* \| `([a-z0-9_]+)` \| [^|]* \| [^|]* \|$", file.read(), re.MULTILINE)
    measured = {row[0] for row in ROW.findall(table)}
    return [name for name in quoted if name not in measured]


def put_ratios(table):
    ratios = {}
    for name, cpus, ratio in ROW.findall(table):
        ratios.setdefault(name, {})[cpus] = ratio

    def of(match):
        by_state = ratios.get(match[2])
        if not by_state:
            return match[0]
        told = ", ".join("%s%s" % ("" if cpus == "one" else cpus + " ", ratio) for cpus, ratio in by_state.items())
        return match[1] + told + " |"

    def change(text):
        return re.sub(r"^(\| [^|`]* \| `([a-z0-9_]+)` \| [^|]* \| )[^|]* \|$", of, text, flags=re.MULTILINE)
    replace("README.md", change)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        table = file.read()
    if not ROW.search(table):
        sys.exit("%s has no rows" % sys.argv[1])
    if lacking(table):
        sys.exit("%s is not of all benchmarks: it lacks %s" % (sys.argv[1], ", ".join(lacking(table))))
    put_table(table)
    put_ratios(table)


if __name__ == "__main__":
    main()
