/* SPDX-License-Identifier: MIT */
#include "daemon/mend.h"

#include <errno.h>

#include "core/error.h"
#include "daemon/log.h"
#include "numa/where.h"

static bool is_movable(uint32_t kind)
{
    return kind == NP_STORE_META || kind == NP_STORE_DATA || kind == NP_STORE_LANE;
}

void np_mend(const struct np_store *store, const struct np_record *asked, struct np_mend *answer)
{
    struct np_moved moved = { 0 };
    *answer = asked->mend;
    answer->moved = 0;
    int fd = is_movable(asked->key.kind) ? np_store_get(store, asked->key) : -1;
    int result = fd < 0 ? np_error(-ENOENT, "what the worker wants moved is not kept here")
                        : np_file_move(fd, asked->mend.offset, asked->mend.bytes, asked->mend.node, &moved);
    if (result < 0)
        np_log(NP_LOG_DEBUG, "pages of what is stored under %u-%u-%u cannot be moved: %s", asked->key.kind, asked->key.a,
               asked->key.b, np_error_sentence());
    answer->result = result < 0 ? result : moved.code;
    answer->moved = (uint32_t)moved.home;
}
