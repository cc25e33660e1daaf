/* SPDX-License-Identifier: MIT */
#include "storm.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#define DRAINED_WITHIN_NS INT64_C(30000000000)

/* Of those who lived to the end of all broadcasters: whoever had joined before a message was sent has it, or nobody has. */
static void compare_readers(struct storm *storm)
{
    const struct crew_record *record = storm->record;
    for (uint32_t sender = 1; sender <= CREW_BROADCASTERS_MAX && GET(record->begun[sender]) > 0; sender++) {
        uint32_t most = 0;
        for (unsigned place = 0; place < CREW_PLACES; place++)
            if (GET(record->seen[place].is_whole) && GET(record->seen[place].last[sender]) > most)
                most = GET(record->seen[place].last[sender]);
        for (unsigned place = 0; place < CREW_PLACES; place++) {
            const struct crew_seen *seen = &record->seen[place];
            if (GET(seen->is_whole) && GET(seen->joined[sender]) - 1 < most && GET(seen->last[sender]) != most)
                ledger_breach(storm->ledger, "of broadcaster %u one reader has %u and another, who was there, %u", sender,
                              most, GET(seen->last[sender]));
        }
    }
}

static void judge_tally(struct storm *storm, const struct tally *tally)
{
    uint32_t first = 0;
    uint64_t lost = tally_lost(tally, &first);
    if (lost > 0)
        ledger_breach(storm->ledger, "%llu messages of %s were sent and never received, the first is %u",
                      (unsigned long long)lost, tally->name, first);
    storm->sent += GET(tally->next) - 1;
    storm->received += GET(tally->received);
}

static void judge_relay(struct storm *storm)
{
    struct ledger_verdict verdict = ledger_judge(storm->ledger, true);
    if (verdict.lost > 0)
        ledger_breach(storm->ledger,
                      "%llu messages of the relay were sent and never received, the first is %llu, %llu of them came on a",
                      (unsigned long long)verdict.lost, (unsigned long long)verdict.first_lost,
                      (unsigned long long)verdict.only_on_a);
    storm->sent += verdict.sent;
    storm->again += verdict.redelivered;
    storm->received += GET(storm->ledger->received[LEDGER_B]);
}

static bool is_empty(void *context)
{
    struct harness_left left = harness_look_left(context);
    return left.clients == 0 && left.endpoints == 0 && left.lanes == 0 && left.channels == 0;
}

static void judge_board(struct storm *storm)
{
    struct np_check check;
    if (!harness_wait_until(is_empty, &storm->look, INT64_C(5000000000))) {
        struct harness_left left = harness_look_left(&storm->look);
        ledger_breach(storm->ledger, "left on the board: %u clients, %u senders and receivers, %u channels, %u lanes",
                      left.clients, left.endpoints, left.channels, left.lanes);
    }
    if (!harness_look_check(&storm->look, &check))
        ledger_breach(storm->ledger, "the words cannot be looked at");
    else if (check.wrong > 0 || check.free_slots != check.slots)
        ledger_breach(storm->ledger, "of %llu slots %llu are free, %llu held, %llu in flight; %llu findings",
                      (unsigned long long)check.slots, (unsigned long long)check.free_slots, (unsigned long long)check.held,
                      (unsigned long long)check.in_flight, (unsigned long long)check.wrong);
}

bool storm_checkpoint(struct storm *storm)
{
    int64_t begun_ns = harness_now_ns();
    struct role_start start = { .ledger = storm->ledger, .socket = storm->daemon.socket, .role = ROLE_DRAINER,
                                .incarnation = ++storm->incarnation, .place = CREW_PLACES, .seed = 1, .lane_slots = 256,
                                .record = storm->record };
    int status = harness_join(role_spawn(&start), DRAINED_WITHIN_NS);
    if (status != 0)
        ledger_breach(storm->ledger, "who takes what is left ended with status %x", (unsigned)status);
    compare_readers(storm);
    judge_relay(storm);
    judge_tally(storm, storm->record->mail);
    judge_tally(storm, storm->record->small);
    judge_tally(storm, storm->record->asked);
    judge_board(storm);
    unsigned breaches = GET(storm->ledger->breaches);
    for (unsigned i = 0; i < breaches && i < LEDGER_BREACHES_MAX; i++)
        harness_note("act %u: %s", storm->act, storm->ledger->breach[i]);
    storm->check_ns += harness_now_ns() - begun_ns;
    return breaches == 0;
}

bool storm_memory_of(pid_t pid, struct storm_memory *memory)
{
    char path[64], line[256];
    unsigned long long kib;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1) {
            memory->anonymous_kib = kib;
            found = true;
        }
    if (status)
        fclose(status);
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *descriptors = opendir(path);
    if (!descriptors)
        return false;
    memory->descriptors = 0;
    for (const struct dirent *entry; (entry = readdir(descriptors)) != NULL;)
        memory->descriptors += entry->d_name[0] != '.';
    closedir(descriptors);
    return found;
}
