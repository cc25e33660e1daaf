// SPDX-License-Identifier: MIT
//
// A work queue: jobs go to workers in turn, without a copy; what a killed worker had not finished goes to another one.
//
//     work_queue give CHANNEL FIRST COUNT    sends jobs FIRST .. FIRST + COUNT - 1
//     work_queue work CHANNEL IDLE_MS [N]    does jobs until none came for so long, or N are done; prints "jobs N, sum S"
//
// Pool `pay` of the daemon at $NUMAPOOL_SOCKET. ../python/work_queue.py does the same and shares its jobs: struct job is the format.
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <set>

#include "numapool.hpp"

namespace {

struct job {
    uint64_t number;
    uint32_t operand_count;
    uint32_t reserved;
    uint64_t operands[4];
};

void give(const std::string &channel, uint64_t first, uint64_t count)
{
    numapool_example::client client;
    numapool_example::pool pool(client, "pay");
    numapool_example::sender sender(pool, channel);
    for (uint64_t number = first; number < first + count; number++) {
        auto job = sender.borrow<struct job>();
        job->number = number;
        job->operand_count = 2;
        job->operands[0] = number;
        job->operands[1] = 1;
        job.send(number);
    }
}

void work(const std::string &channel, int64_t idle_ns, uint64_t most)
{
    numapool_example::client client;
    numapool_example::pool pool(client, "pay");
    numapool_example::receiver receiver(pool, channel);
    std::set<uint64_t> done; // a job that comes again after somebody's death is done once
    uint64_t sum = 0;
    receiver.each<job>(idle_ns, [&](const job &job, const numapool_msg &message) {
        if ((message.flags & NUMAPOOL_REDELIVERED) && done.count(job.number))
            return true;
        for (uint32_t i = 0; i < job.operand_count && i < 4; i++)
            sum += job.operands[i];
        done.insert(job.number);
        return done.size() < most;
    });
    std::cout << "jobs " << done.size() << ", sum " << sum << std::endl;
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string what = argc > 2 ? argv[1] : "";
    if (what == "give" && argc == 5)
        give(argv[2], std::strtoull(argv[3], nullptr, 10), std::strtoull(argv[4], nullptr, 10));
    else if (what == "work" && (argc == 4 || argc == 5))
        work(argv[2], std::strtoll(argv[3], nullptr, 10) * 1000000, argc == 5 ? std::strtoull(argv[4], nullptr, 10) : UINT64_MAX);
    else {
        std::cerr << "usage: work_queue give CHANNEL FIRST COUNT | work_queue work CHANNEL IDLE_MS [N]" << std::endl;
        return 2;
    }
    return 0;
} catch (const std::exception &failure) {
    std::cerr << "work_queue: " << failure.what() << std::endl;
    return 1;
}
