/* Invariant: `capacity_bytes` from `base` are mapped from the file, whatever its size. If the file
 * grows, no other mmap is needed. Idle views are in the order of their last use, the latest first.
 * Together they map at most the capacity, and have at most IDLE_SEGMENTS_MAX segments. */
#include "client/library/arena_map.h"

#include "client/library/arena_guard.h"
#include "common/cleanup.h"
#include "common/file_id.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum {
    IDLE_SEGMENTS_MAX = 4096, /* of 65,530 mappings that a process may have */
    HUGE_PAGE_BYTES = 2 << 20 /* the huge page of most machines; one fault then maps all of it */
};

struct arena_view {
    TAILQ_ENTRY(arena_view) entry; /* in the list of used or of idle views */
    struct arena_guard *guard;
    unsigned n_users;
    unsigned char *base; /* of its first segment's first page */
    size_t n_bytes;      /* whole pages */
    size_t n_segments;
    struct arena_segment segments[]; /* as requested */
};

TAILQ_HEAD(view_list, arena_view);

struct arena_map {
    unsigned n_refs;
    int fd;
    uint64_t page_bytes; /* of the file; larger than the system's page if huge pages are reserved */
    uint64_t capacity_bytes;
    unsigned char *base;
    struct arena_guard *guard;
    atomic_bool is_lost; /* a thread has read beyond the file's end and gets zeros */
    struct view_list used, idle;
    uint64_t idle_bytes;
    size_t n_idle_segments;
};

/* Reserves address space for `n_bytes`, aligned to `align_bytes`, a power of two; NULL with errno.
 */
static unsigned char *reserve(uint64_t n_bytes, uint64_t align_bytes)
{
    size_t n_more;

    if (__builtin_add_overflow(n_bytes, align_bytes, &n_more)) {
        errno = ENOMEM;
        return NULL;
    }
    unsigned char *begin =
        mmap(NULL, n_more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (begin == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)begin & (align_bytes - 1);
    if (before > 0)
        munmap(begin, before);
    munmap(begin + before + n_bytes, align_bytes - before);
    return begin + before;
}

/* Maps a part of the file over reserved address space. A core dump must not contain the arena, and
 * a read-only mapping must not reserve huge pages for writing. 0 or a negative errno. */
static int map_at(const struct arena_map *map, unsigned char *address, uint64_t offset_bytes,
                  size_t n_bytes)
{
    if (mmap(address, n_bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, map->fd,
             (off_t)offset_bytes) == MAP_FAILED ||
        madvise(address, n_bytes, MADV_DONTDUMP) < 0)
        return -errno;
    return 0;
}

int arena_map_new(int fd, uint64_t capacity_bytes, struct arena_map **ret)
{
    struct statfs filesystem;

    if (fstatfs(fd, &filesystem) < 0)
        return -errno;
    uint64_t page_bytes = (uint64_t)filesystem.f_bsize;
    if (page_bytes == 0 || (page_bytes & (page_bytes - 1)) != 0 || capacity_bytes == 0 ||
        capacity_bytes > INT64_MAX || capacity_bytes % page_bytes != 0)
        return -EBADMSG;
    struct arena_map *map = calloc(1, sizeof *map);
    if (!map)
        return -ENOMEM;
    *map = (struct arena_map){
        .n_refs = 1, .fd = fd, .page_bytes = page_bytes, .capacity_bytes = capacity_bytes};
    TAILQ_INIT(&map->used);
    TAILQ_INIT(&map->idle);
    map->base =
        reserve(capacity_bytes, page_bytes > HUGE_PAGE_BYTES ? page_bytes : HUGE_PAGE_BYTES);
    size_t n_bytes = (size_t)capacity_bytes;
    int r = map->base ? map_at(map, map->base, 0, n_bytes) : -errno;
    if (r == 0) {
        map->guard = arena_guard_new(map->base, n_bytes, &map->is_lost);
        r = map->guard ? 0 : -ENOMEM;
    }
    if (r < 0) {
        map->fd = -1; /* still owned by the caller */
        arena_map_unref(map);
        return r;
    }
    *ret = map;
    return 0;
}

struct arena_map *arena_map_ref(struct arena_map *map)
{
    map->n_refs++;
    return map;
}

static void view_free(struct arena_view *view)
{
    arena_guard_free(view->guard);
    munmap(view->base, view->n_bytes);
    free(view);
}

static void forget_idle(struct arena_map *map, struct arena_view *view)
{
    TAILQ_REMOVE(&map->idle, view, entry);
    map->idle_bytes -= view->n_bytes;
    map->n_idle_segments -= view->n_segments;
}

struct arena_map *arena_map_unref(struct arena_map *map)
{
    struct arena_view *view;

    if (!map || --map->n_refs > 0)
        return NULL;
    while ((view = TAILQ_FIRST(&map->idle))) {
        forget_idle(map, view);
        view_free(view);
    }
    arena_guard_free(map->guard);
    if (map->base)
        munmap(map->base, (size_t)map->capacity_bytes);
    closep(&map->fd);
    free(map);
    return NULL;
}

bool arena_map_is_lost(const struct arena_map *map)
{
    return atomic_load(&map->is_lost);
}

bool arena_map_is_of(const struct arena_map *map, int fd)
{
    struct file_id a, b;
    return !arena_map_is_lost(map) && file_id_read(map->fd, &a) && file_id_read(fd, &b) &&
           file_id_equals(&a, &b);
}

static bool has(const struct arena_map *map, uint64_t end_bytes)
{
    struct stat status;
    return !arena_map_is_lost(map) && fstat(map->fd, &status) == 0 &&
           end_bytes <= (uint64_t)status.st_size;
}

/* Checks that every segment is within the capacity and the file, and that segments meet at page
 * boundaries. `ret_bytes` is the sum of their lengths, rounded to whole pages at both ends.
 * `ret_end_bytes` is the highest end of a segment in the file. */
static int check(const struct arena_map *map, const struct arena_segment *segments,
                 size_t n_segments, uint64_t *ret_bytes, uint64_t *ret_end_bytes)
{
    uint64_t sum_bytes = segments[0].offset_bytes % map->page_bytes, end_bytes, last_bytes = 0;

    for (size_t i = 0; i < n_segments; i++) {
        if (segments[i].n_bytes == 0 ||
            __builtin_add_overflow(segments[i].offset_bytes, segments[i].n_bytes, &end_bytes) ||
            end_bytes > map->capacity_bytes ||
            (i > 0 && segments[i].offset_bytes % map->page_bytes != 0) ||
            (i + 1 < n_segments && end_bytes % map->page_bytes != 0) ||
            __builtin_add_overflow(sum_bytes, segments[i].n_bytes, &sum_bytes))
            return -EBADMSG;
        if (end_bytes > last_bytes)
            last_bytes = end_bytes;
    }
    if (!has(map, last_bytes))
        return -ENODATA;
    *ret_end_bytes = last_bytes;
    if (__builtin_add_overflow(sum_bytes, -sum_bytes & (map->page_bytes - 1), ret_bytes))
        return -EBADMSG;
    return 0;
}

static struct arena_view *find(struct view_list *list, const struct arena_segment *segments,
                               size_t n_segments)
{
    struct arena_view *view;

    TAILQ_FOREACH (view, list, entry) {
        if (view->n_segments == n_segments &&
            memcmp(view->segments, segments, n_segments * sizeof *segments) == 0)
            return view;
    }
    return NULL;
}

/* `n_bytes` is from `check`. */
static int view_new(struct arena_map *map, const struct arena_segment *segments, size_t n_segments,
                    uint64_t n_bytes, struct arena_view **ret)
{
    _cleanup_(freep) struct arena_view *view =
        calloc(1, sizeof *view + n_segments * sizeof *segments);
    if (!view)
        return -ENOMEM;
    view->base = reserve(n_bytes, map->page_bytes);
    if (!view->base)
        return -errno;
    view->n_bytes = (size_t)n_bytes;
    view->n_segments = n_segments;
    memcpy(view->segments, segments, n_segments * sizeof *segments);

    unsigned char *to = view->base;
    for (size_t i = 0; i < n_segments; i++) {
        uint64_t skip_bytes = segments[i].offset_bytes % map->page_bytes;
        size_t n = (size_t)(skip_bytes + segments[i].n_bytes);
        n += -n & (size_t)(map->page_bytes - 1);
        int r = map_at(map, to, segments[i].offset_bytes - skip_bytes, n);
        if (r < 0) {
            view_free(TAKE_PTR(view));
            return r;
        }
        to += n;
    }
    view->guard = arena_guard_new(view->base, view->n_bytes, &map->is_lost);
    if (!view->guard) {
        view_free(TAKE_PTR(view));
        return -ENOMEM;
    }
    *ret = TAKE_PTR(view);
    return 0;
}

static int take_view(struct arena_map *map, const struct arena_segment *segments, size_t n_segments,
                     uint64_t n_bytes, struct arena_view **ret)
{
    struct arena_view *view = find(&map->used, segments, n_segments);

    if (!view) {
        int r = 0;
        if ((view = find(&map->idle, segments, n_segments)))
            forget_idle(map, view);
        else
            r = view_new(map, segments, n_segments, n_bytes, &view);
        if (r < 0)
            return r;
        TAILQ_INSERT_HEAD(&map->used, view, entry);
    }
    view->n_users++;
    *ret = view;
    return 0;
}

static void give_view(struct arena_map *map, struct arena_view *view)
{
    if (--view->n_users > 0)
        return;
    TAILQ_REMOVE(&map->used, view, entry);
    TAILQ_INSERT_HEAD(&map->idle, view, entry);
    map->idle_bytes += view->n_bytes;
    map->n_idle_segments += view->n_segments;
    while (map->idle_bytes > map->capacity_bytes || map->n_idle_segments > IDLE_SEGMENTS_MAX) {
        struct arena_view *last = TAILQ_LAST(&map->idle, view_list);
        forget_idle(map, last);
        view_free(last);
    }
}

int arena_range_init(struct arena_range *range, struct arena_map *map,
                     const struct arena_segment *segments, size_t n_segments)
{
    struct arena_view *view = NULL;
    uint64_t n_bytes = 0, end_bytes = 0;

    int r = check(map, segments, n_segments, &n_bytes, &end_bytes);
    if (r == 0 && n_segments > 1)
        r = take_view(map, segments, n_segments, n_bytes, &view);
    if (r < 0)
        return r;
    *range = (struct arena_range){
        .map = arena_map_ref(map),
        .view = view,
        .end_bytes = end_bytes,
        .data = view ? view->base + segments[0].offset_bytes % map->page_bytes
                     : map->base + segments[0].offset_bytes,
    };
    return 0;
}

size_t arena_map_count_joined(const struct arena_map *map, const struct arena_segment *segments,
                              size_t n_segments)
{
    size_t n = 1;

    while (n < n_segments && segments[n].offset_bytes % map->page_bytes == 0 &&
           (segments[n - 1].offset_bytes + segments[n - 1].n_bytes) % map->page_bytes == 0)
        n++;
    return n;
}

bool arena_range_is_lost(const struct arena_range *range)
{
    return !has(range->map, range->end_bytes);
}

void arena_range_done(struct arena_range *range)
{
    if (range->view)
        give_view(range->map, range->view);
    arena_map_unref(range->map);
    *range = (struct arena_range){0};
}
