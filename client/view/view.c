/* The mapping of each piece is always replaced with one call, so that a thread that reads there
 * gets the bytes of the file, or faults. */
#include "client/view/view.h"

#include "client/view/faults.h"
#include "client/view/real.h"
#include "client/view/route_record.h"
#include "client/view/touch.h"
#include "common/cleanup.h"
#include "common/residency/layer_uses.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static void unmap_spare(struct view *view, uint64_t begin_bytes, uint64_t end_bytes)
{
    if (begin_bytes < end_bytes)
        real_munmap(view->spare + begin_bytes, end_bytes - begin_bytes);
}

int view_make_units(struct view *view)
{
    uint32_t n_units = view->table.n_units;

    view->units = calloc(n_units, sizeof *view->units);
    if (!view->units || order_init(&view->order, n_units) < 0)
        return -ENOMEM;
    for (uint32_t i = 0; i < n_units; i++) {
        view->units[i].is_kept = true;
        if (view->largest_bytes < view->table.bytes[i])
            view->largest_bytes = view->table.bytes[i];
    }
    for (unsigned i = 0; i < VIEW_LAG_MAX; i++)
        view->streamed.last[i] = ORDER_NONE;
    view->streamed.next_kept = ORDER_NONE;
    return 0;
}

void view_free(struct view *view)
{
    for (uint32_t i = 0; view->units && i < view->table.n_units; i++)
        json_decref(view->units[i].lease);
    for (uint32_t i = 0; view->spare && i < view->table.n_pieces; i++)
        if (!view->table.pieces[i].is_moved)
            unmap_spare(view, view->table.pieces[i].begin_bytes, view->table.pieces[i].end_bytes);
    layer_uses_free(view->chance.uses);
    route_record_free(view->chance.routes);
    unit_table_done(&view->table);
    order_done(&view->order);
    free(view->units);
    free(view->model);
    free(view->file_id);
    json_decref(view->id);
    free(view->path);
    free(view);
}

/* For each piece of a unit. */
#define FOREACH_PIECE(piece, view, unit)                   \
    for (uint32_t i_ = (view)->table.begins[unit];         \
         i_ < (view)->table.begins[(unit) + 1] &&          \
         ((piece) = unit_table_piece(&(view)->table, i_)); \
         i_++)

int view_map_file(struct view *view, int prot, int flags, int fd)
{
    off64_t offset = (off64_t)view->file_offset_bytes;
    uint64_t done = 0;

    void *at = real_mmap(NULL, view->n_bytes, prot, flags, fd, offset);
    if (at == MAP_FAILED)
        return -errno;
    void *spare = real_mmap(NULL, view->n_bytes, prot, flags, fd, offset);
    if (spare == MAP_FAILED) {
        int error = errno;
        real_munmap(at, view->n_bytes);
        return -error;
    }
    view->begin = at;
    view->spare = spare;
    real_madvise(at, view->n_bytes, MADV_RANDOM);
    real_madvise(spare, view->n_bytes, MADV_RANDOM);
    for (uint32_t i = 0; i < view->table.n_pieces; i++) {
        unmap_spare(view, done, view->table.pieces[i].begin_bytes);
        done = view->table.pieces[i].end_bytes;
    }
    unmap_spare(view, done, view->n_bytes);
    return 0;
}

static int replace(struct view *view, const struct unit_piece *piece, int prot, int flags, int fd,
                   uint64_t offset_bytes)
{
    void *at = view->begin + piece->begin_bytes;
    size_t n_bytes = piece->end_bytes - piece->begin_bytes;

    if (real_mmap(at, n_bytes, prot, flags | MAP_FIXED, fd, (off64_t)offset_bytes) != at)
        return -errno;
    return 0;
}

int view_make_hole(struct view *view, uint32_t unit, const struct faults *faults)
{
    const struct unit_piece *piece;

    FOREACH_PIECE(piece, view, unit)
    {
        int r = faults_make_hole(faults, view->begin + piece->begin_bytes,
                                 piece->end_bytes - piece->begin_bytes);
        if (r < 0)
            return r;
    }
    atomic_store(&view->units[unit].state, UNIT_HOLE);
    return 0;
}

int view_make_holes(struct view *view, const struct faults *faults)
{
    for (uint32_t i = 0; i < view->table.n_units; i++) {
        int r = view_make_hole(view, i, faults);
        if (r < 0)
            return r;
    }
    return 0;
}

static const struct unit_piece *first_piece(const struct view *view, uint32_t unit)
{
    return unit_table_piece(&view->table, view->table.begins[unit]);
}

static int map_arena(struct view *view, const struct unit_piece *piece, int flags, int arena_fd,
                     uint64_t arena_offset_bytes)
{
    int r = replace(view, piece, PROT_READ, MAP_SHARED | flags, arena_fd, arena_offset_bytes);
    if (r == 0)
        real_madvise(view->begin + piece->begin_bytes, piece->end_bytes - piece->begin_bytes,
                     MADV_DONTFORK);
    return r;
}

static int map_first(struct view *view, uint32_t unit, int flags, int arena_fd)
{
    struct unit_piece page = *first_piece(view, unit);

    page.end_bytes = page.begin_bytes + view->table.page_bytes;
    return map_arena(view, &page, flags, arena_fd, view->units[unit].first_offset_bytes);
}

/* Maps the part of a piece of the reply that is in the view. Adds its size to *bytes. */
static int map_piece(struct view *view, uint32_t unit, const json_t *row, int arena_fd,
                     enum first_page first, uint64_t *bytes)
{
    json_int_t source, file_offset, offset, length;
    uint64_t mask = view->table.page_bytes - 1;

    if (json_unpack((json_t *)(uintptr_t)row, "{s:I, s:I, s:I, s:I}", "source", &source,
                    "fileOffset", &file_offset, "offset", &offset, "length", &length) < 0 ||
        source < 0 || file_offset < 0 || offset < 0 || length <= 0 ||
        file_offset > INT64_MAX - length)
        return -EBADMSG;
    if ((uint64_t)source != view->source)
        return 0;
    if ((((uint64_t)file_offset ^ (uint64_t)offset) & mask) != 0)
        return -EBADMSG;
    uint64_t begin = ((uint64_t)file_offset + mask) & ~mask;
    uint64_t end = (uint64_t)(file_offset + length) & ~mask;
    if (end <= view->file_offset_bytes)
        return 0;
    if (begin < view->file_offset_bytes)
        begin = view->file_offset_bytes;
    uint64_t at = begin - view->file_offset_bytes, stop = end - view->file_offset_bytes;
    for (uint32_t i = unit_table_lower(&view->table, at);
         begin < end && i < view->table.n_pieces && view->table.pieces[i].begin_bytes < stop; i++) {
        struct unit_piece piece = view->table.pieces[i];
        if (piece.unit != unit)
            return -EBADMSG;
        if (piece.begin_bytes < at)
            piece.begin_bytes = at;
        if (piece.end_bytes > stop)
            piece.end_bytes = stop;
        uint64_t arena_offset = (uint64_t)offset + (piece.begin_bytes + view->file_offset_bytes -
                                                    (uint64_t)file_offset);
        bool is_first = piece.begin_bytes == first_piece(view, unit)->begin_bytes;
        uint64_t later_bytes = is_first && first != FIRST_POPULATED ? view->table.page_bytes : 0;
        int r = 0;
        *bytes += piece.end_bytes - piece.begin_bytes;
        if (is_first)
            view->units[unit].first_offset_bytes = arena_offset;
        piece.begin_bytes += later_bytes;
        if (piece.begin_bytes < piece.end_bytes)
            r = map_arena(view, &piece, MAP_POPULATE, arena_fd, arena_offset + later_bytes);
        if (r == 0 && is_first && first == FIRST_UNTOUCHED)
            r = map_first(view, unit, 0, arena_fd);
        if (r < 0)
            return r;
    }
    return 0;
}

int view_map_unit(struct view *view, uint32_t unit, const json_t *reply, int arena_fd,
                  enum first_page first)
{
    const json_t *rows = json_object_get(reply, "pieces"), *row;
    uint64_t bytes = 0;
    size_t i;

    json_array_foreach ((json_t *)(uintptr_t)rows, i, row) {
        int r = map_piece(view, unit, row, arena_fd, first, &bytes);
        if (r < 0)
            return r;
    }
    if (bytes != view->table.bytes[unit])
        return -EBADMSG;
    atomic_store(&view->units[unit].state, first == FIRST_HOLE ? UNIT_ARMED : UNIT_MAPPED);
    return 0;
}

bool view_is_touched(const struct view *view, uint32_t unit, int touch_fd)
{
    return touch_is_seen(touch_fd, view->begin + first_piece(view, unit)->begin_bytes);
}

bool view_untouch(struct view *view, uint32_t unit, int touch_fd)
{
    void *page = view->begin + first_piece(view, unit)->begin_bytes;

    if (real_madvise(page, view->table.page_bytes, MADV_DONTNEED) < 0)
        (void)real_madvise(page, view->table.page_bytes, MADV_DONTNEED_LOCKED);
    return !view_is_touched(view, unit, touch_fd);
}

int view_arm(struct view *view, uint32_t unit, const struct faults *faults)
{
    int r = faults_make_hole(faults, view->begin + first_piece(view, unit)->begin_bytes,
                             view->table.page_bytes);
    if (r == 0)
        atomic_store(&view->units[unit].state, UNIT_ARMED);
    return r;
}

int view_disarm(struct view *view, uint32_t unit, int arena_fd)
{
    int r = map_first(view, unit, MAP_POPULATE, arena_fd);
    if (r == 0)
        atomic_store(&view->units[unit].state, UNIT_MAPPED);
    return r;
}

static void become_plain(struct view *view, uint32_t index)
{
    struct unit *unit = &view->units[index];

    if (atomic_exchange(&unit->state, UNIT_PLAIN) != UNIT_PLAIN)
        atomic_fetch_add(&view->plain_bytes, view->table.bytes[index]);
    unit->must_release = unit->lease != NULL;
}

int view_make_plain(struct view *view, uint32_t unit)
{
    for (uint32_t i = view->table.begins[unit]; i < view->table.begins[unit + 1]; i++) {
        struct unit_piece *piece = &view->table.pieces[view->table.of_units[i]];
        if (piece->is_moved)
            continue;
        size_t n_bytes = piece->end_bytes - piece->begin_bytes;
        if (real_mremap(view->spare + piece->begin_bytes, n_bytes, n_bytes,
                        MREMAP_MAYMOVE | MREMAP_FIXED,
                        view->begin + piece->begin_bytes) == MAP_FAILED)
            return -errno;
        piece->is_moved = true;
    }
    become_plain(view, unit);
    return 0;
}

int view_make_bad(struct view *view, uint32_t unit)
{
    const struct unit_piece *piece;
    int fd = memfd_create("edgemind-unreadable", MFD_CLOEXEC), r = fd < 0 ? -errno : 0;

    FOREACH_PIECE(piece, view, unit)
    {
        if (r == 0)
            r = replace(view, piece, PROT_READ, MAP_SHARED, fd, 0);
    }
    if (fd >= 0)
        close(fd);
    if (r == 0)
        become_plain(view, unit);
    return r;
}

void view_wake(struct view *view, uint32_t unit, const struct faults *faults)
{
    struct unit *woken = &view->units[unit];
    const struct unit_piece *piece;

    atomic_store(&woken->wanted, 0);
    atomic_fetch_add(&woken->generation, 1);
    syscall(SYS_futex, &woken->generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    woken->must_wake = !faults;
    if (!faults)
        return;
    FOREACH_PIECE(piece, view, unit)
    faults_wake(faults, view->begin + piece->begin_bytes, piece->end_bytes - piece->begin_bytes);
}
