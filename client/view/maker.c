/* The plain mapping comes first, holes are put over its units, and then the view is known. Until
 * that moment nobody has its addresses. Faults, server and fork handlers start with the first view.
 */
#include "client/view/maker.h"

#include "client/view/daemon_link.h"
#include "client/view/own_fds.h"
#include "client/view/real.h"
#include "client/view/server.h"
#include "client/view/views.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>

static __thread bool is_inside;

bool maker_is_inside(void)
{
    return is_inside;
}

static void fork_in_child(void)
{
    for (unsigned i = 0; i < VIEWS_MAX; i++) {
        struct view *view = atomic_load(&views.slots[i]);
        for (uint32_t j = 0; view && j < view->table.n_units; j++)
            if (atomic_load(&view->units[j].state) != UNIT_PLAIN)
                (void)view_make_plain(view, j);
        atomic_store(&views.slots[i], NULL);
    }
    atomic_store(&views.disabled, true);
    views_unlock();
}

static int start(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    fd = fd < 0 ? -errno : own_fd_keep(fd);
    if (fd < 0)
        return fd;
    views.wake_fd = fd;
    int r = faults_start(&views.faults, getenv("EDGEMIND_VIEW_FAULTS"), views_report);
    if (r == 0 && !views.faults.by_signal)
        own_fd_mark(views.faults.uffd);
    if (r == 0)
        r = server_start();
    return r == 0 ? -pthread_atfork(views_lock, views_unlock, fork_in_child) : r;
}

static int start_once(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int result = 1;

    pthread_mutex_lock(&lock);
    if (result == 1) {
        result = start();
        atomic_store(&views.started, result == 0);
        if (result < 0)
            atomic_store(&views.disabled, true);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int make_holes(struct view *view)
{
    for (uint32_t i = 0; i < view->table.n_units; i++) {
        int r = view_make_hole(view, i, &views.faults);
        if (r < 0)
            return r;
    }
    return 0;
}

static struct view *find_model(size_t n_bytes, int prot, int flags, int fd, off_t offset)
{
    struct view *view = calloc(1, sizeof *view);
    if (!view)
        return NULL;
    view->prot = prot;
    view->flags = flags & ~(MAP_POPULATE | MAP_LOCKED);
    view->n_bytes = n_bytes;
    view->file_offset_bytes = (uint64_t)offset;
    view->file_fd = -1;
    unit_table_init(&view->table, (uint64_t)sysconf(_SC_PAGESIZE), (uint64_t)offset, n_bytes);
    if (daemon_link_find_model(fd, view) < 0 || view->table.n_units == 0 ||
        !(view->units = calloc(view->table.n_units, sizeof *view->units))) {
        view_free(view);
        return NULL;
    }
    return view;
}

static void *make(size_t n_bytes, int prot, int flags, int fd, off_t offset)
{
    struct view *view = find_model(n_bytes, prot, flags, fd, offset);
    if (!view)
        return NULL;
    int own = start_once() == 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    view->file_fd = own >= 0 ? own_fd_keep(own) : -1;
    void *at = view->file_fd >= 0
                   ? real_mmap(NULL, n_bytes, prot, view->flags, view->file_fd, offset)
                   : MAP_FAILED;
    if (at == MAP_FAILED) {
        view_free(view);
        return NULL;
    }
    view->begin = at;
    real_madvise(at, n_bytes, MADV_RANDOM);
    views_lock();
    int r = make_holes(view);
    if (r == 0)
        r = views_add(view);
    views_unlock();
    if (r < 0) {
        real_munmap(at, n_bytes);
        view_free(view);
        return NULL;
    }
    return at;
}

void *maker_map(size_t n_bytes, int prot, int flags, int fd, off_t offset)
{
    int error = errno;

    is_inside = true;
    void *at = make(n_bytes, prot, flags, fd, offset);
    is_inside = false;
    errno = error;
    return at;
}
