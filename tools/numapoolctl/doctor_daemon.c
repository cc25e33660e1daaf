/* SPDX-License-Identifier: MIT
 * The daemon, where one answers: what it runs on, and whether its pools are where they should be, as its board says. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "doctor.h"
#include "view.h"

struct places {
    unsigned pools, arenas;
    uint64_t misplaced;
    unsigned strayed, stuck, gone, untold;
};

static void look_at_arenas(const struct np_pool_entry *entry, struct places *places)
{
    unsigned arenas = np_pool_arenas(entry);
    places->pools++;
    places->arenas += arenas;
    for (unsigned i = 0; i < arenas; i++) {
        places->misplaced += entry->arena[i].misplaced_pages;
        switch (np_load32(&entry->arena[i].state, memory_order_relaxed)) { /* relaxed: only told */
        case NP_PLACE_STRAYED:
            places->strayed++;
            break;
        case NP_PLACE_STUCK:
            places->stuck++;
            break;
        case NP_PLACE_NODE_GONE:
            places->gone++;
            break;
        case NP_PLACE_UNTOLD:
            places->untold++;
            break;
        default:
            break;
        }
    }
}

static void tell_loop(const struct np_board_header *header, struct np_doctor_finding *finding)
{
    uint32_t loop = np_load32(&header->loop, memory_order_relaxed); /* relaxed, both: only told */
    uint32_t refusal = np_load32(&header->loop_refusal, memory_order_relaxed);
    np_found(finding, ", on %s",
             loop == NP_BOARD_LOOP_IO_URING ? "io_uring"
             : loop == NP_BOARD_LOOP_EPOLL  ? "epoll"
                                            : "a loop that it does not tell");
    if (refusal != 0)
        np_found(finding, " (io_uring: %s)", strerror((int)refusal));
    if (refusal != 0)
        np_means(finding, NP_DOCTOR_NOTE, "io_uring was refused to it when its worker started; see io_uring");
    if (np_load64(&header->topology, memory_order_acquire) != 0) { /* pairs with the worker's store, after the name */
        np_found(finding, ", imagined nodes %.64s", header->topology_name);
        np_means(finding, NP_DOCTOR_WARNING,
                 "its nodes are made up (NUMAPOOL_TOPOLOGY), and prove nothing about where memory is");
    }
}

static const char *plural(unsigned count)
{
    return count == 1 ? "" : "s";
}

static void tell_places(const struct places *places, struct np_doctor_finding *finding)
{
    np_found(finding, "; %u pool%s, %u arena%s", places->pools, plural(places->pools), places->arenas,
             plural(places->arenas));
    if (places->gone > 0)
        np_means(finding, NP_DOCTOR_WARNING,
                 "the node of %u arena%s is not there any more: their pages are wherever the kernel put them", places->gone,
                 plural(places->gone));
    if (places->stuck > 0)
        np_means(finding, NP_DOCTOR_WARNING,
                 "pages of %u arena%s are elsewhere and cannot be moved back: there is no room, or CAP_SYS_NICE is missing",
                 places->stuck, plural(places->stuck));
    if (places->strayed > 0)
        np_means(finding, NP_DOCTOR_WARNING, "pages of %u arena%s are elsewhere, and are being moved back", places->strayed,
                 plural(places->strayed));
    else if (places->misplaced > 0)
        np_means(finding, NP_DOCTOR_WARNING, "%" PRIu64 " pages were not on their node when they were last looked at",
                 places->misplaced);
    if (places->untold > 0)
        np_means(finding, NP_DOCTOR_NOTE, "where the pages of %u arena%s are cannot be told", places->untold,
                 plural(places->untold));
    if (places->gone + places->stuck + places->strayed > 0 || places->misplaced > 0)
        np_mend(finding, "numapoolctl verify");
}

void np_doctor_daemon(const struct np_doctor *doctor, struct np_doctor_finding *finding)
{
    struct np_view view;
    struct places places = { 0 };
    int result = np_view_open(&view, doctor->socket_path);
    if (result < 0) {
        bool refused = result == -EACCES || result == -EPERM, none = result == -ENOENT || result == -ECONNREFUSED;
        np_found(finding,
                 refused ? "the one at %.200s does not serve this user"
                 : none  ? "none answers at %.200s"
                         : "nothing at %.200s can be asked",
                 doctor->socket_path);
        np_means(finding, none ? NP_DOCTOR_OK : NP_DOCTOR_NOTE, "%.400s", np_error_sentence());
        return;
    }
    np_found(finding, "answers at %.200s", doctor->socket_path);
    tell_loop(view.board.header, finding);
    for (uint32_t i = 0; i < NP_POOLS_MAX; i++)
        if (np_entry_is(&view.board.pools[i].state, NP_ACTIVE))
            look_at_arenas(&view.board.pools[i], &places);
    tell_places(&places, finding);
    np_means(finding, NP_DOCTOR_OK,
             finding->state < NP_DOCTOR_WARNING ? "every page that was looked at was on its node"
                                                : "it serves all the same");
    np_view_close(&view);
}
