/* SPDX-License-Identifier: MIT */
#include "manager.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define GET(field) atomic_load_explicit(&(field), memory_order_acquire)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_release)
#define ADD(field) atomic_fetch_add_explicit(&(field), 1, memory_order_acq_rel)

enum { KEPT_MAX = 400, FDS_MAX = 8, NAME_BYTES = 64, FIRST = 3 };

struct kept {
    int fd;
    char name[NAME_BYTES];
};

struct service {
    const struct manager *manager;
    struct manager_told *told;
    int notify_fd, listen_fd;
    struct kept kept[KEPT_MAX]; /* the oldest first */
    unsigned count;
    pid_t keeper;
    bool restarting, stopping; /* by order */
    int64_t start_at_ns;       /* INT64_MAX: not */
};

/* ---------------------------------------------------------------- what is kept */

static bool is_same(int x, int y)
{
    return syscall(SYS_kcmp, getpid(), getpid(), 0 /* KCMP_FILE */, (long)x, (long)y) == 0;
}

static void store(struct service *service, int fd, const char *name)
{
    if (service->count >= GET(service->told->most) || service->count >= KEPT_MAX) {
        ADD(service->told->refused);
        close(fd);
        return;
    }
    for (unsigned i = 0; i < service->count; i++)
        if (is_same(service->kept[i].fd, fd)) {
            close(fd);
            return;
        }
    service->kept[service->count].fd = fd;
    snprintf(service->kept[service->count++].name, NAME_BYTES, "%s", name);
    ADD(service->told->stored);
}

static void forget(struct service *service, const char *name)
{
    unsigned left = 0;
    for (unsigned i = 0; i < service->count; i++)
        if (strcmp(service->kept[i].name, name) != 0) {
            service->kept[left++] = service->kept[i];
        } else {
            close(service->kept[i].fd);
            ADD(service->told->removed);
        }
    service->count = left;
}

static void forget_all(struct service *service)
{
    for (unsigned i = 0; i < service->count; i++)
        close(service->kept[i].fd);
    service->count = 0;
}

/* ---------------------------------------------------------------- notifications */

static const char *field_of(const char *text, const char *field, char *value, size_t bytes)
{
    size_t length = strlen(field);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, field, length) == 0) {
            snprintf(value, bytes, "%.*s", (int)strcspn(line + length, "\n"), line + length);
            return value;
        }
    return NULL;
}

static void interpret(struct service *service, const char *text, int *fds, unsigned n)
{
    char value[128], name[NAME_BYTES];
    if (field_of(text, "FDSTOREREMOVE=1", value, sizeof value)) {
        if (field_of(text, "FDNAME=", name, sizeof name))
            forget(service, name);
    } else if (field_of(text, "FDSTORE=1", value, sizeof value)) {
        for (unsigned i = 0; i < n; i++) {
            store(service, fds[i], field_of(text, "FDNAME=", name, sizeof name) ? name : "stored");
            fds[i] = -1;
        }
    }
    if (field_of(text, "READY=1", value, sizeof value))
        SET(service->told->ready, GET(service->told->starts));
    if (field_of(text, "STATUS=", value, sizeof value))
        snprintf(service->told->status, sizeof service->told->status, "%s", value);
}

/* One; false: there is none. */
static bool hear(struct service *service)
{
    char text[512];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    struct iovec part = { text, sizeof text - 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    int fds[FDS_MAX];
    unsigned n = 0;
    pid_t from = 0;
    ssize_t bytes = recvmsg(service->notify_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (bytes < 0)
        return false;
    text[bytes] = '\0';
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_type == SCM_CREDENTIALS) {
            struct ucred who;
            memcpy(&who, CMSG_DATA(header), sizeof who);
            from = who.pid;
        } else if (header->cmsg_type == SCM_RIGHTS) {
            n = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(header), n * sizeof(int));
        }
    }
    if (from == service->keeper)
        interpret(service, text, fds, n);
    else
        ADD(service->told->strangers);
    for (unsigned i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]); /* also the barrier's */
    SET(service->told->kept, service->count);
    if (service->count > GET(service->told->kept_most))
        SET(service->told->kept_most, service->count);
    return true;
}

/* ---------------------------------------------------------------- the service */

static void name_of(const struct service *service, const struct kept *kept, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%s", kept->name);
    if (GET(service->told->renames) && strncmp(name, "np1-1-", 6) == 0)
        snprintf(name, NAME_BYTES, "np1-1-dead-beef");
}

/* In the child. Newest first, sockets of the manager's own before them. */
static void pass_descriptors(const struct service *service)
{
    static char names[KEPT_MAX * NAME_BYTES];
    char name[NAME_BYTES], number[16];
    int fds[KEPT_MAX + 1], n = 0, high = KEPT_MAX + 64;
    if (service->listen_fd >= 0 && GET(service->told->activates)) {
        fds[n++] = fcntl(service->listen_fd, F_DUPFD, high);
        strcat(names, "numapoold.socket");
    }
    for (unsigned i = service->count; i-- > 0;) {
        name_of(service, &service->kept[i], name);
        if (n > 0)
            strcat(names, ":");
        strcat(names, name);
        fds[n++] = fcntl(service->kept[i].fd, F_DUPFD, high);
    }
    for (int i = 0; i < n; i++) {
        dup2(fds[i], FIRST + i);
        close(fds[i]);
    }
    if (n > 0) {
        snprintf(number, sizeof number, "%d", n);
        setenv("LISTEN_FDS", number, 1);
        setenv("LISTEN_FDNAMES", names, 1);
        snprintf(number, sizeof number, "%d", (int)getpid());
        setenv("LISTEN_PID", number, 1);
    }
    if (GET(service->told->says_most)) {
        snprintf(number, sizeof number, "%u", GET(service->told->most));
        setenv("FDSTORE", number, 1);
    }
}

static void execute(const struct service *service)
{
    const struct manager *manager = service->manager;
    char program[PATH_MAX], path[128], loop_option[32];
    const char *loop = getenv("NUMAPOOL_TEST_LOOP");
    int log = open(manager->daemon->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dup2(log, STDERR_FILENO);
    snprintf(path, sizeof path, "%s/notify", manager->daemon->directory);
    setenv("NOTIFY_SOCKET", path, 1);
    harness_program_path(program, sizeof program, "numapoold");
    snprintf(loop_option, sizeof loop_option, "--loop=%.20s", loop ? loop : "");
    pass_descriptors(service);
    while (GET(service->told->holds))
        harness_sleep_ns(200000);
    execl(program, "numapoold", "--socket", manager->daemon->socket, "--pool", manager->pool_spec, "--log", "info",
          loop && *loop ? loop_option : NULL, (char *)NULL);
    _exit(127);
}

static void start(struct service *service)
{
    pid_t parent = getpid();
    service->start_at_ns = INT64_MAX;
    SET(service->told->passed, service->count);
    service->keeper = fork();
    if (service->keeper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(2);
        execute(service);
    }
    SET(service->told->keeper, service->keeper);
    ADD(service->told->starts); /* after it: who reads the number and then whom to kill has one of that number or later */
}

/* As systemd it reads what a process has said before it looks whether it has ended. */
static void look_for_end(struct service *service)
{
    int status;
    if (service->keeper <= 0)
        return;
    siginfo_t ended = { 0 };
    if (waitid(P_PID, (id_t)service->keeper, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0)
        return;
    while (hear(service))
        continue;
    waitpid(service->keeper, &status, 0);
    service->keeper = 0;
    SET(service->told->keeper, 0);
    SET(service->told->last_status, status);
    bool in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!in_order)
        ADD(service->told->failures);
    if (service->stopping || (in_order && !service->restarting)) {
        forget_all(service); /* fully stopped, and no job is queued */
        SET(service->told->kept, 0);
        service->start_at_ns = INT64_MAX;
    } else {
        service->start_at_ns = harness_now_ns() + (service->restarting ? 0 : GET(service->told->pause_ns));
    }
    if (service->stopping || service->restarting)
        SET(service->told->order, MANAGER_NOTHING);
    service->stopping = service->restarting = false;
}

static void listen_for_it(struct service *service)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", service->manager->daemon->socket);
    service->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(service->listen_fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(service->listen_fd, 64) != 0)
        perror(address.sun_path);
}

static void carry_out(struct service *service)
{
    enum manager_order order = (enum manager_order)GET(service->told->order);
    if (GET(service->told->activates) && service->listen_fd < 0)
        listen_for_it(service);
    if (service->stopping || service->restarting || order == MANAGER_NOTHING)
        return;
    if (order == MANAGER_START || service->keeper == 0) {
        service->start_at_ns = order == MANAGER_STOP ? INT64_MAX : 0;
        if (order == MANAGER_STOP)
            forget_all(service);
        SET(service->told->order, MANAGER_NOTHING);
        return;
    }
    service->stopping = order == MANAGER_STOP;
    service->restarting = order == MANAGER_RESTART;
    kill(service->keeper, SIGTERM);
}

static int play(void *context)
{
    static struct service service;
    const struct manager *manager = context;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int yes = 1;
    service = (struct service){ .manager = manager, .told = manager->told, .listen_fd = -1, .start_at_ns = INT64_MAX };
    snprintf(address.sun_path, sizeof address.sun_path, "%.80s/notify", manager->daemon->directory);
    service.notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (service.notify_fd < 0 || setsockopt(service.notify_fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) != 0 ||
        bind(service.notify_fd, (struct sockaddr *)&address, sizeof address) != 0)
        return 1;
    for (;;) {
        bool deaf = GET(service.told->deaf);
        struct pollfd polled = { .fd = deaf ? -1 : service.notify_fd, .events = POLLIN };
        poll(&polled, 1, 1);
        while (!deaf && hear(&service))
            harness_sleep_ns(GET(service.told->slow_ns));
        look_for_end(&service);
        carry_out(&service);
        if (service.keeper == 0 && harness_now_ns() >= service.start_at_ns)
            start(&service);
    }
}

/* ---------------------------------------------------------------- the test's side */

void manager_begin(struct manager *manager, struct harness_daemon *daemon, const char *pool_spec)
{
    *manager = (struct manager){ .daemon = daemon, .pool_spec = pool_spec };
    manager->told = mmap(NULL, sizeof *manager->told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (manager->told == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    SET(manager->told->most, KEPT_MAX);
    manager->pid = harness_fork(play, manager);
}

static bool is_done(void *context)
{
    const struct manager *manager = context;
    return GET(manager->told->order) == MANAGER_NOTHING;
}

void manager_do(struct manager *manager, enum manager_order order)
{
    SET(manager->told->order, order);
    harness_wait_until(is_done, manager, INT64_C(10000000000));
}

struct waited {
    const struct manager *manager;
    uint32_t before;
};

static bool is_ready(void *context)
{
    const struct waited *waited = context;
    return GET(waited->manager->told->ready) > waited->before && GET(waited->manager->told->keeper) != 0;
}

bool manager_wait(struct manager *manager, uint32_t before, int64_t timeout_ns)
{
    struct waited waited = { manager, before };
    bool ready = harness_wait_until(is_ready, &waited, timeout_ns);
    manager->daemon->keeper = GET(manager->told->keeper);
    return ready;
}

void manager_end(struct manager *manager)
{
    char path[128];
    harness_kill(manager->pid);
    snprintf(path, sizeof path, "%s/notify", manager->daemon->directory);
    unlink(path);
    munmap(manager->told, sizeof *manager->told);
}
