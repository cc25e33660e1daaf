#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# docs/operations.md, "Troubleshooting", quotes sentences as the programs say them: each occurs in the sources. "..." and a lone N stand
# for anything. Takes no arguments; the last line is "N passed, N failed".
set -euo pipefail

source_directory=${NUMAPOOL_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
if ! command -v python3 >/dev/null; then
    printf 'NOT RUN: there is no python3\n1 passed, 0 failed\n'
    exit 0
fi
exec python3 - "$source_directory" <<'END'
import pathlib, re, sys

root = pathlib.Path(sys.argv[1])
literal = r'"((?:[^"\\\n]|\\.)*)"'
# Adjacent literals are one text; a macro between them, as PRIu64 is, belongs to the conversion before it.
run = re.compile(literal + r'(?:\s*(?:PRI[a-zA-Z0-9]+\s*)?' + literal + r')*')
texts = []
for folder in ('src', 'include', 'tools'):
    for path in sorted((root / folder).rglob('*.[ch]')):
        for match in run.finditer(path.read_text()):
            joined = ''.join(re.findall(literal, match.group(0)))
            texts.append(re.sub(r'%[-+ #0-9.*]*(?:hh|h|ll|l|z|j|t)?[a-zA-Z]?', '\0', joined).replace('\\"', '"'))

document = (root / 'docs/operations.md').read_text()
section = re.search(r'^## \d+\. Troubleshooting$(.*?)(?=^## |\Z)', document, re.M | re.S).group(1)
passed = failed = 0
for line in section.splitlines():
    if not line.startswith('| `') and not line.startswith('| ...'):
        continue
    for quoted in re.findall(r'`([^`]+)`', line.split(' | ')[0]):
        parts = [part for part in re.split(r'\.\.\.|\bN\b', quoted) if part.strip()]
        pattern = re.compile('.*?'.join(re.escape(part.strip(' ')) for part in parts), re.S)
        if parts and any(pattern.search(text) for text in texts):
            passed += 1
        else:
            failed += 1
            print(f'FAIL no source says "{quoted}"')
if passed + failed < 20:
    failed += 1
    print(f'FAIL only {passed} sentences are found in the section')
print(f'{passed} passed, {failed} failed')
sys.exit(failed > 0)
END
