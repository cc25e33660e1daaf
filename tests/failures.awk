# SPDX-License-Identifier: MIT
#
# awk -v most=N -f failures.awk LOG
# The lines of a test's log, or of a suite's, that tell what failed and how, at most N of them: what is printed above and below each line that
# says so, up to the next that says that something is well. A log in which nothing says so is shown from its end.

function is_well(text) { return text ~ /^ *(ok|PASS|passed)[: ]/ }
function mark(n) { if (!(n in marked)) { marked[n] = 1; count++ } }

{ line[NR] = $0 }
/^ *(FAIL|FAILED)[: ]|^ *not so: |:[FE]:|(^|=)ERROR:|: [Ee]rror: |WARNING: ThreadSanitizer|runtime error:|AssertionError|Assertion .* failed/ { bad[++bads] = NR }
{ if ($0 ~ /[^ ]/) last = NR }

END {
    for (i = 1; i <= bads; i++) {
        mark(bad[i])
        for (n = bad[i] - 1; n >= 1 && n >= bad[i] - 6 && !is_well(line[n]); n--)
            mark(n)
        for (n = bad[i] + 1; n <= NR && n <= bad[i] + 12 && !is_well(line[n]); n++)
            mark(n)
    }
    if (bads > 0)
        mark(last)
    left = count - most
    for (n = bads > 0 ? 1 : NR - most + 1; n <= NR; n++) {
        if (bads > 0 && !(n in marked))
            continue
        if (bads > 0 && left > 0 && shown == most - 1 && n != last) # the last one is the sum
            continue
        if (n >= 1) {
            if (shown > 0 && n != before + 1)
                print "..."
            print line[n]
            before = n
            shown++
        }
    }
}
