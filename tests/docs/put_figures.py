#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""put_figures.py [LOGS]

Puts the figures of the last run (`tools/dev check crash model`; LOGS: build/logs) into the tables of docs/reliability.md. A row whose last
cell ends with `<!-- KEY KEY... -->` gets the text of each "FIGURE KEY: text" that a test printed; a key without a point is a program, and
stands for its closing line. A key that no log has keeps what stands there, and is told.
"""
import glob
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ROW = re.compile(r"^(\|.*\| )([^|]*?)( ?<!-- ([a-z0-9_. ]+) --> \|)$", re.MULTILINE)


def read(logs):
    figures = {}
    for path in glob.glob(os.path.join(logs, "crash", "*.log")) + glob.glob(os.path.join(logs, "model", "*.log")):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        figures.update(re.findall(r"^FIGURE ([a-z0-9_.]+): (.+)$", text, re.MULTILINE))
        closing = re.findall(r"^(\d+ passed, \d+ failed)$", text, re.MULTILINE)
        if closing:
            figures[os.path.basename(path)[:-len(".log")]] = closing[-1]
    return figures


def told(key, text):
    """A bare number is told by what it counts; one of several of a kind by which it is."""
    last = key.split(".")[-1].replace("_", " ") if key.count(".") == 1 else key.split(".")[-1]
    if text.isdigit():
        return "%s %s" % (text, last)
    return "%s: %s" % (last, text) if key.count(".") > 1 else text


def main():
    figures = read(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "logs"))
    path = os.path.join(ROOT, "docs", "reliability.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()

    def put(row):
        keys = row[4].split()
        lacking = [key for key in keys if key not in figures]
        if lacking:
            print("no log has %s: the row keeps what it says" % ", ".join(lacking))
            return row[0]
        return row[1] + "; ".join(told(key, figures[key].replace("|", "/")) for key in keys) + " " + row[3].lstrip()
    new = ROW.sub(put, text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(new)


main()
