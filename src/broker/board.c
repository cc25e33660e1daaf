/* SPDX-License-Identifier: MIT */
#include "broker/board.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "core/error.h"
#include "core/layout.h"

uint64_t np_board_layout(void)
{
    const uint64_t layout[] = { np_layout_revision(),
                                sizeof(struct np_board_header),
                                offsetof(struct np_board_header, stamp),
                                sizeof(struct np_pool_entry),
                                offsetof(struct np_pool_entry, arena),
                                sizeof(struct np_client_entry),
                                offsetof(struct np_client_entry, pools),
                                sizeof(struct np_channel_entry),
                                sizeof(struct np_endpoint_entry),
                                sizeof(struct np_lane_entry),
                                offsetof(struct np_lane_entry, stamp),
                                NP_POOLS_MAX };
    return np_fingerprint(layout, sizeof layout / sizeof layout[0]);
}

static size_t whole_lines(size_t bytes)
{
    return (bytes + 127) / 128 * 128;
}

/* Lays the tables out behind the header; returns the bytes they take. */
static size_t lay_out(struct np_board *board, uintptr_t memory, const struct np_board_limits *limits)
{
    size_t at = whole_lines(sizeof(struct np_board_header));
    board->header = (struct np_board_header *)memory;
    board->limits = *limits;
    board->pools = (struct np_pool_entry *)(memory + at);
    at += whole_lines(NP_POOLS_MAX * sizeof *board->pools);
    board->clients = (struct np_client_entry *)(memory + at);
    at += whole_lines(((size_t)limits->clients + 1) * sizeof *board->clients);
    board->channels = (struct np_channel_entry *)(memory + at);
    at += whole_lines(((size_t)limits->channels + 1) * sizeof *board->channels);
    board->endpoints = (struct np_endpoint_entry *)(memory + at);
    at += whole_lines(((size_t)limits->endpoints + 1) * sizeof *board->endpoints);
    board->lanes = (struct np_lane_entry *)(memory + at);
    at += whole_lines(((size_t)limits->lanes + 1) * sizeof *board->lanes);
    return at;
}

size_t np_board_bytes(const struct np_board_limits *limits)
{
    struct np_board unused;
    return (lay_out(&unused, 0, limits) + 4095) / 4096 * 4096;
}

uint32_t np_board_bells(const struct np_board_limits *limits)
{
    return 1 + limits->clients + limits->endpoints;
}

int np_board_limits_check(const struct np_board_limits *limits)
{
    if (limits->clients < 1 || limits->clients > NP_CLIENTS_LIMIT)
        return np_error(-EINVAL, "clients is %u: 1 to %u can be admitted", limits->clients, NP_CLIENTS_LIMIT);
    if (limits->lanes < 1 || limits->lanes > NP_LANES_LIMIT)
        return np_error(-EINVAL, "lanes is %u: 1 to %u can be had", limits->lanes, NP_LANES_LIMIT);
    if (limits->channels < 1 || limits->channels > NP_LANES_LIMIT)
        return np_error(-EINVAL, "channels is %u: 1 to %u can be had", limits->channels, NP_LANES_LIMIT);
    if (limits->endpoints < 1 || limits->endpoints > NP_LANES_LIMIT)
        return np_error(-EINVAL, "endpoints is %u: 1 to %u can be had", limits->endpoints, NP_LANES_LIMIT);
    return 0;
}

void np_board_format(void *memory, const struct np_board_limits *limits)
{
    struct np_board_header *header = memory;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    header->layout = np_board_layout();
    header->limits = *limits;
    header->created_unix_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (getrandom(header->uuid, sizeof header->uuid, 0) != (ssize_t)sizeof header->uuid)
        memcpy(header->uuid, &header->created_unix_ns, sizeof header->created_unix_ns); /* unique enough to tell two starts apart */
    header->magic = NP_BOARD_MAGIC;
}

int np_board_attach(struct np_board *board, void *memory, size_t bytes)
{
    const struct np_board_header *header = memory;
    if (bytes < sizeof *header || header->magic != NP_BOARD_MAGIC)
        return np_error(-EBADMSG, "this is not a numapool board");
    if (header->layout != np_board_layout())
        return np_error(-EPROTO, "the board has layout %016llx, this program %016llx: use the one that came with the daemon",
                        (unsigned long long)header->layout, (unsigned long long)np_board_layout());
    struct np_board_limits limits = header->limits;
    int result = np_board_limits_check(&limits);
    if (result == 0 && np_board_bytes(&limits) > bytes)
        result = np_error(-EBADMSG, "the board has %zu bytes and its limits need %zu", bytes, np_board_bytes(&limits));
    if (result == 0)
        lay_out(board, (uintptr_t)memory, &limits);
    return result;
}
