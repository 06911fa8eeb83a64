/* First makes the plain mapping and publishes the view, and then waits until the helper has
 * replaced its units by holes. Until then no other thread of the engine has its addresses. Faults,
 * server and fork handlers start with the first view. */
#include "client/view/maker.h"

#include "client/view/chance.h"
#include "client/view/daemon_link.h"
#include "client/view/notice.h"
#include "client/view/real.h"
#include "client/view/registration.h"
#include "client/view/start.h"
#include "client/view/views.h"
#include "common/address_space.h"
#include "common/cleanup.h"
#include "common/fd_path.h"
#include "common/page.h"
#include "common/units.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>

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
    int r = start_threads();
    if (r == 0)
        faults_admit(&views.faults);
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

/* As daemon_link_find_model; -EIO after a message. */
static int ask_daemon(int fd, struct view *view)
{
    int r = daemon_link_find_model(fd, view);
    if (r != -ENOENT)
        return r;
    r = registration_try(fd);
    if (r < 0)
        return r;
    r = daemon_link_find_model(fd, view);
    if (r != -ENOENT)
        return r;
    notice_about(fd, "is mapped directly: the daemon knows another file by its name");
    return -EIO;
}

/* Reports why a file is mapped directly. A reason that holds for every file is reported only once.
 */
static void explain(int fd, int error)
{
    static atomic_flag is_denied_said = ATOMIC_FLAG_INIT, is_absence_said = ATOMIC_FLAG_INIT;

    if (error == -EACCES && !atomic_flag_test_and_set(&is_denied_said))
        notice_about(fd, "is mapped directly, and so is what follows: this user may not lease");
    else if (error == -ENOTCONN && !atomic_flag_test_and_set(&is_absence_said))
        notice_about(fd, "is mapped directly: there is no daemon");
    else if (error == -ESTALE)
        notice_about(fd, "is mapped directly: it has changed since it was registered");
    else if (error != -EACCES && error != -ENOTCONN && error != -EIO && notice_is_verbose())
        notice_about(fd, "is mapped directly: %s",
                     error == -ENOENT ? "it belongs to no registered model" : strerror(-error));
}

static void tell_of_view(const struct view *view)
{
    char covered[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];

    if (notice_is_verbose())
        notice_of(view->path, "is a view of %s: %s of %s come from the arena", view->model,
                  size_format(view->table.covered_bytes, covered), size_format(view->n_bytes, all));
}

/* A view maps the file twice. */
static void tell_of_addresses(uint64_t n_bytes, int fd)
{
    char size[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX];

    notice_about(fd,
                 "is mapped directly: a view takes twice the addresses for %s, and this process "
                 "has them for %s in one piece",
                 size_format(n_bytes, size),
                 size_format(address_space_free_bytes(2 * n_bytes), all));
}

static struct view *find_model(size_t n_bytes, int fd, off64_t offset)
{
    char path[PATH_MAX];
    struct view *view = calloc(1, sizeof *view);
    if (!view)
        return NULL;
    view->n_bytes = n_bytes;
    view->path = fd_path(fd, path) == 0 ? strdup(path) : NULL;
    view->file_offset_bytes = (uint64_t)offset;
    unit_table_init(&view->table, system_page_bytes(), (uint64_t)offset, n_bytes);
    int r = ask_daemon(fd, view);
    if (r == 0 && view->table.n_units == 0)
        r = -ENOENT;
    if (r == 0)
        r = view_make_units(view);
    if (r == 0)
        r = chance_init(view);
    if (r < 0) {
        explain(fd, r);
        view_free(view);
        return NULL;
    }
    return view;
}

/* Publishes the view and waits for the helper. */
static int publish(struct view *view)
{
    atomic_store(&view->is_new, 1);
    views_lock();
    int r = views_add(view);
    views_unlock();
    if (r < 0)
        return r;
    views_kick();
    while (atomic_load(&view->is_new))
        syscall(SYS_futex, &view->is_new, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    return 0;
}

static void *make(size_t n_bytes, int prot, int flags, int fd, off64_t offset)
{
    struct view *view = find_model(n_bytes, fd, offset);
    if (!view)
        return NULL;
    /* Before the threads start: for a thread malloc may reserve 64 MiB of addresses. */
    int r = view_map_file(view, prot, flags & ~(MAP_POPULATE | MAP_LOCKED), fd);
    if (r == -ENOMEM)
        tell_of_addresses(n_bytes, fd);
    if (r == 0)
        r = start_once();
    void *at = view->begin;
    if (r == 0)
        r = publish(view);
    if (r < 0) {
        if (at)
            real_munmap(at, n_bytes);
        view_free(view);
        return NULL;
    }
    if (view->error == 0) {
        tell_of_view(view);
        return at;
    }
    views_lock();
    views_retire(at, n_bytes);
    views_unlock();
    return at;
}

void *maker_map(size_t n_bytes, int prot, int flags, int fd, off64_t offset)
{
    int error = errno;

    is_inside = true;
    void *at = make(n_bytes, prot, flags, fd, offset);
    is_inside = false;
    errno = error;
    return at;
}
