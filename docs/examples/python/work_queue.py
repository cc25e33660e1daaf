#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A work queue, as ../cpp/work_queue.cc, with which it shares its jobs.

    work_queue.py give CHANNEL FIRST COUNT    sends jobs FIRST .. FIRST + COUNT - 1
    work_queue.py work CHANNEL IDLE_MS [N]    does jobs until none came for so long, or N are done; prints "jobs N, sum S"

Pool `pay` of the daemon at $NUMAPOOL_SOCKET. $NUMAPOOL_LIBRARY names a library that is not installed.
"""

import struct
import sys

import numapool

JOB = struct.Struct("=QII4Q")  # number, operands, reserved, four operands: struct job


def give(pool, channel, first, count):
    with pool.sender(channel) as sender:
        for number in range(first, first + count):
            slot = sender.loan()
            JOB.pack_into(slot.view, 0, number, 2, 0, number, 1, 0, 0)
            sender.send(slot, JOB.size, id=number)


def work(pool, channel, idle_ns, most):
    done, total = set(), 0
    with pool.receiver(channel) as receiver:
        while len(done) < most:
            messages = receiver.receive(most=min(64, most - len(done)), timeout_ns=idle_ns)
            if not messages:
                break
            for message in messages:
                number, operands, _, *values = JOB.unpack_from(message.view)
                if not (message.redelivered and number in done):
                    total += sum(values[:operands])
                    done.add(number)
            receiver.release(*messages)
    print(f"jobs {len(done)}, sum {total}")


def main():
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in ("give", "work") or sys.argv[1:2] == ["give"] and len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with numapool.Client() as client, client.open("pay") as pool:
            if sys.argv[1] == "give":
                give(pool, sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
            else:
                work(pool, sys.argv[2], int(sys.argv[3]) * 10**6, int(sys.argv[4]) if len(sys.argv) == 5 else 2**31 - 1)
    except numapool.Error as failure:
        print(f"work_queue.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
