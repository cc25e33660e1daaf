#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions of the warm path, counted by callgrind and compared with those pinned in pins.txt.

  counts.py PROGRAM            prints the table
  counts.py PROGRAM --check    the same as a test; the last line is "N passed, N failed"
  counts.py PROGRAM --pin      writes what was counted into pins.txt, and into the table of docs/performance.md
  counts.py PROGRAM --where OPERATION
                               where its instructions are: functions, and the source lines with most of them

PROGRAM is tests/counts/operations of a build with the compiler and flags that pins.txt names: with others, or without valgrind,
nothing can be said, and NOT RUN is.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PINS = os.path.join(HERE, "pins.txt")
DOCUMENT = os.path.join(HERE, "..", "..", "docs", "performance.md")
# Above its pin by more than this is worse, below it by a tenth is better than pinned. A member of a struct that has moved, and what an
# operation does every so many rounds, make an instruction or two: of a bulk or batch, not of each in it.
SLACK, SLACK_SHARE, BETTER_SHARE = 1.0, 0.02, 0.1
# glibc chooses a memcpy by processor; without these all take the one that every x86-64 has.
TUNABLES = "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load"
PIN_ANEW = "pin anew, if that is how it has to be, by: tools/dev counts --pin"


class Count:
    """What callgrind dumped for one operation."""

    def __init__(self, name):
        self.name = name
        self.instructions = 0
        self.executed = {}  # object file: {address: times}
        self.calls = {}     # function that calls: {function called: times}
        self.functions = {}  # {function: instructions of its own}
        self.lines = {}     # {(file, line): instructions}


def read_dump(path):
    count, names, position, source_line, of_call = None, {}, 0, 0, False
    where = {"ob": "", "fn": "", "cob": "", "cfn": "", "file": ""}
    with open(path, encoding="utf-8", errors="replace") as dump:
        for line in dump:
            line = line.rstrip("\n")
            trigger = re.match(r"desc: Trigger: Client Request: (\w+)", line)
            if trigger:
                count = Count(trigger.group(1))
            if count is None:
                continue
            if line.startswith("totals:"):
                count.instructions = int(line.split()[1])
            named = re.match(r"(ob|fn|cob|cfn|fl|fi|fe|cfi|cfl)=(?:\((\d+)\))?\s*(.*)", line)
            if named:
                kind, number, name = named.groups()
                family = kind[1:] if kind in ("cob", "cfn") else ("file" if kind[-2:] in ("fl", "fi", "fe") else kind)
                if name and number:
                    names[family, number] = name
                where["file" if kind in ("fl", "fi", "fe") else kind] = names.get((family, number), name)
                continue
            if line.startswith("calls="):
                times = int(line[6:].split()[0])
                called = count.calls.setdefault(where["fn"], {})
                called[where["cfn"]] = called.get(where["cfn"], 0) + times
                of_call = True
                continue
            cost = re.match(r"(0x[0-9a-f]+|[+-]\d+|\*) ([+-]?\d+|\*) (\d+)$", line)
            if not cost:
                continue
            place, at, times = cost.group(1), cost.group(2), int(cost.group(3))
            position = position if place == "*" else int(place, 16) if place.startswith("0x") else position + int(place)
            source_line = source_line if at == "*" else source_line + int(at) if at[0] in "+-" else int(at)
            if of_call:  # what was called, which has lines of its own
                of_call = False
                continue
            addresses = count.executed.setdefault(where["ob"], {})
            addresses[position] = addresses.get(position, 0) + times
            count.functions[where["fn"]] = count.functions.get(where["fn"], 0) + times
            line_of = (os.path.basename(where["file"]), source_line)
            count.lines[line_of] = count.lines.get(line_of, 0) + times
    return count


def run(program):
    """{name: Count} in the order of the program, and its list."""
    listed = [line.split() for line in output_of([program, "--list"]).splitlines()]
    with tempfile.TemporaryDirectory() as scratch:
        dumps = os.path.join(scratch, "dump")
        result = subprocess.run(
            ["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no", "--dump-instr=yes", "--callgrind-out-file=" + dumps,
             program], env=dict(os.environ, GLIBC_TUNABLES=TUNABLES, LD_BIND_NOW="1"), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 0:
            sys.exit("%s under callgrind ended with %d:\n%s" % (program, result.returncode, result.stderr))
        counts = [read_dump(os.path.join(scratch, file)) for file in os.listdir(scratch)]
    by_name = {count.name: count for count in counts if count}
    for name, _, _, _ in listed:
        if name not in by_name:
            sys.exit("callgrind dumped nothing for %s" % name)
    return by_name, listed


def output_of(command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True).stdout


def figures(counts, listed):
    """[(name, per, instructions of one)]"""
    lines = []
    for name, per, number, rest in listed:
        if rest == "-":
            continue
        taken_off = counts[rest].instructions  # as many rounds of nothing
        lines.append((name, per, (counts[name].instructions - taken_off) / int(number)))
    return lines


def read_pins():
    """What they are pinned for, and {name: (per, instructions)}."""
    build, pins = None, {}
    with open(PINS, encoding="utf-8") as file:
        for line in file:
            if line.startswith("# build: "):
                build = line[9:].strip()
            elif line.strip() and not line.startswith("#"):
                name, figure, per = line.split()
                pins[name] = (per, float(figure))
    return build, pins


def write_pins(build, lines):
    with open(PINS, "w", encoding="utf-8") as file:
        file.write("# SPDX-License-Identifier: MIT\n"
                   "# Instructions of one operation, counted by callgrind; written by `tools/dev counts --pin`.\n"
                   "# build: %s\n" % build)
        for name, per, figure in lines:
            file.write("%-24s %8.1f %s\n" % (name, figure, per))


def write_table(build, lines):
    """The same in the document; tests/docs/performance.sh compares the two."""
    table = ["Built by %s:" % build, "", "| operation | instructions | for each |", "|---|---:|---|"]
    table += ["| `%s` | %.1f | %s |" % (name, figure, per) for name, per, figure in lines]
    with open(DOCUMENT, encoding="utf-8") as file:
        text = file.read()
    new = re.sub(r"(<!-- table:counts -->\n).*(<!-- end:counts -->\n)", lambda marks: marks[1] + "\n".join(table) + "\n" + marks[2],
                 text, count=1, flags=re.DOTALL)
    if new == text and "\n".join(table) not in text:
        sys.exit("%s has no place for the table of counts" % DOCUMENT)
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(new)


# ---------------------------------------------------------------- which instructions


def disassembly(path):
    """{address: text}"""
    found = {}
    for line in output_of(["objdump", "-d", "--no-show-raw-insn", path]).splitlines():
        match = re.match(r"\s*([0-9a-f]+):\s+(.*)", line)
        if match:
            found[int(match.group(1), 16)] = match.group(2)
    return found


COSTLY = re.compile(r"^(lock\b|xchg\b.*\(|xchg\w?\s+.*\(|mfence|lfence|sfence|syscall|sysenter|int\s|cpuid|rdtsc)")


def costly(count, disassemblies):
    """Atomic instructions, fences, system calls and looks at the clock that were executed: {text: times}"""
    found, seen = {}, 0
    for path, addresses in count.executed.items():
        if not os.path.exists(path):
            continue
        if path not in disassemblies:
            disassemblies[path] = disassembly(path)
        for address, times in addresses.items():
            text = disassemblies[path].get(address)
            if text is None:
                continue
            seen += times
            if COSTLY.match(text):
                found[text] = found.get(text, 0) + times
    if seen * 10 < count.instructions * 9:
        found["only %d of %d instructions could be looked up" % (seen, count.instructions)] = 1
    return found


# What the warm path never does, whatever the operation: promise 2 of the design.
PROMISED = re.compile(r"^(get_put_|bulk_|get_wait_put|thread_magazine|loan_unloan|message_|sender_|receiver_|small_|keyed_|keep|forward_|to_2_|from_2_|receive_|broadcast_|request_|waitset_)")


def tell(passed, what, more=""):
    print("%s %s" % ("PASS" if passed else "FAIL", what))
    if not passed and more:
        print("    " + more.replace("\n", "\n    "))
    return passed


def check_counts(lines, pins, listed):
    numbers = {name: int(number) for name, _, number, _ in listed}
    for name, per, figure in lines:
        if name not in pins:
            yield tell(False, "%s: %.1f instructions a %s" % (name, figure, per), "it is not pinned: tools/dev counts --pin")
            continue
        pinned = pins[name][1]
        what = "%s: %.1f instructions a %s, pinned %.1f" % (name, figure, per, pinned)
        slack = SLACK * numbers["nothing"] / numbers[name]
        if figure > pinned + max(slack, pinned * SLACK_SHARE, 0.1):  # pins have one digit
            yield tell(False, what, "more than pinned: find out why; " + PIN_ANEW)
        elif figure < pinned * (1 - BETTER_SHARE) - slack:
            yield tell(False, what, "better than pinned: lower the pin, by: tools/dev counts --pin")
        else:
            yield tell(True, what)
    for name in sorted(set(pins) - {line[0] for line in lines}):
        yield tell(False, "%s is pinned" % name, "but not counted: tools/dev counts --pin")


def written(program, function):
    """The instructions of a function as they stand in the program, also those that were not executed."""
    text = []
    for symbol in (function, function + ".cold"):
        for line in output_of(["objdump", "-d", "--no-show-raw-insn", "--disassemble=" + symbol, program]).splitlines():
            match = re.match(r"\s*[0-9a-f]+:\s+(.*)", line)
            if match:
                text.append(match.group(1))
    return text


def check_promise(program, counts, listed):
    disassemblies = {}
    for name, _, _, rest in listed:
        if rest != "-" and PROMISED.match(name):
            found = costly(counts[name], disassemblies)
            told = "\n".join("%d times: %s" % (times, text) for text, times in sorted(found.items()))
            yield tell(not found, "%s: nothing atomic, no fence, no system call, no clock" % name, told)
    # The inline calls are a pop and a push: what they may call at all is their slow halves, and not while they are warm.
    text = written(program, "run_inline")
    others = [line for line in text if COSTLY.match(line) or
              (line.startswith("call") and not re.search(r"<numapool_(get|put)_slow", line))]
    slow = sum(line.startswith("call") for line in text)
    yield tell(not others and slow == 2, "get_put_inline: beside two calls of the slow halves no call and nothing atomic is compiled",
               "\n".join(others or text))
    called = counts["get_put_inline"].calls.get("run_inline", {})
    yield tell(not called, "get_put_inline: calls nothing", "it calls " + ", ".join(sorted(called)))


def print_where(count, number):
    for what, table in (("function", count.functions), ("source line", count.lines)):
        print("%8s  %s" % ("each", what))
        for place, times in sorted(table.items(), key=lambda entry: -entry[1])[:40]:
            if times / number >= 0.5:
                print("%8.1f  %s" % (times / number, place if isinstance(place, str) else "%s:%d" % place))


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    program = os.path.abspath(sys.argv[1])
    mode = sys.argv[2] if len(sys.argv) > 2 else ""
    if mode not in ("", "--check", "--pin", "--where") or len(sys.argv) != (4 if mode == "--where" else 3 if mode else 2):
        sys.exit(__doc__)
    build = output_of([program, "--build"]).strip()
    pinned_build, pins = read_pins() if os.path.exists(PINS) else (build, {})
    why = None
    for tool in ("valgrind", "objdump"):
        if not shutil.which(tool):
            why = "no %s here" % tool
    if build.startswith("uncounted"):
        why = build
    if not why and mode == "--check" and build != pinned_build:
        why = "this is a build by %s, and the counts are pinned for %s" % (build, pinned_build)
    if why:
        print("NOT RUN: counts of instructions: %s" % why)
        if mode == "--check":
            print("0 passed, 0 failed")
        return 0 if mode == "--check" else 1
    counts, listed = run(program)
    lines = figures(counts, listed)
    if mode == "--where":
        numbers = {name: int(number) for name, _, number, _ in listed}
        if sys.argv[3] not in numbers:
            sys.exit("no operation '%s'; there are: %s" % (sys.argv[3], " ".join(numbers)))
        print_where(counts[sys.argv[3]], numbers[sys.argv[3]])
        return 0
    if mode == "--check":
        results = list(check_counts(lines, pins, listed)) + list(check_promise(program, counts, listed))
        print("%d passed, %d failed" % (results.count(True), results.count(False)))
        return 0 if all(results) else 1
    print("%-24s %12s %8s %8s" % ("operation", "instructions", "pinned", "each"))
    for name, per, figure in lines:
        pinned = "%.1f" % pins[name][1] if name in pins else "-"
        print("%-24s %12.1f %8s %8s" % (name, figure, pinned, per))
    if build != pinned_build:
        print("pinned for another build: %s; this is %s" % (pinned_build, build))
    if mode == "--pin":
        write_pins(build, lines)
        write_table(build, lines)
        print("pinned")
    return 0


if __name__ == "__main__":
    sys.exit(main())
