/* libedgemind: weights that every process on a device shares, inside a hard RAM budget.
 *
 * edgemindd keeps layers of neural networks in one block of memory, the arena. This library maps
 * that block once, read-only, and turns a layer's name into a pointer: no weights are copied, and
 * after the mapping only offsets travel. See libedgemind(3); link with `pkg-config --libs
 * edgemind`.
 *
 *     struct edgemind *em = edgemind_new();
 *     struct edgemind_layer *layer;
 *
 *     if (edgemind_connect(em, NULL) < 0 ||
 *         edgemind_acquire(em, "ffn10", "dense_0", 0, &layer) < 0)
 *         errx(1, "%s", edgemind_error_text(em));
 *     use(edgemind_layer_data(layer), edgemind_layer_bytes(layer));
 *     if (edgemind_release(layer) < 0)
 *         errx(1, "%s", edgemind_error_text(em));
 *     edgemind_free(em);
 *
 * Units. Sizes are in bytes, times in microseconds. Names and paths are NUL-terminated; names are
 * UTF-8.
 *
 * Errors. A function that returns int returns 0, or a negative errno; what its `ret` parameter
 * points to is written on success only. What failed last on a connection is told by
 * edgemind_error_name, edgemind_error_parameters and edgemind_error_text. A refusal of the daemon
 * has a name, which is what to switch on; the errno that goes with it is:
 *     io.edgemind.manager.OutOfMemory         -ENOMEM   larger than the whole arena
 *     io.edgemind.manager.MustUnload          -ENOSPC   others would have to give way (load: "ask")
 *     io.edgemind.manager.Busy                -EBUSY    leases of others, or loads, are in the way
 *     io.edgemind.manager.NotFound            -ENOENT   no such model, layer ...
 *     io.edgemind.manager.AlreadyLoaded       -EEXIST   a model of that name is known
 *     io.edgemind.manager.InvalidDefinition   -EINVAL   the file is no model
 *     io.edgemind.manager.SourceChanged       -ESTALE   the weight file is not what it was
 *     io.edgemind.manager.LimitExceeded       -EDQUOT   too many leases, models ...
 *     io.edgemind.manager.IOFailed            -EIO      the daemon could not read, say
 *     org.varlink.service.PermissionDenied    -EPERM
 *     org.varlink.service.InvalidParameter    -EINVAL
 *     any other                               -EPROTO
 * Failures without a name are this side's:
 *     -ENOMEM, -EMFILE    this process is out of memory, address space or descriptors
 *     -EINVAL             an argument that cannot be: no UTF-8, too long a wait
 *     -EBADMSG            a reply is not what the interface describes
 *     -EOPNOTSUPP         the daemon only simulates and has no arena
 *     -ENOTCONN           there never was a connection
 *     -ECHILD             the connection was made before this process was forked, see below
 *     -ESTALE             what is held is lost, see below; edgemind_reconnect gets it anew
 *     -ETIMEDOUT          the daemon did not answer in time
 *     -ENOENT, -ECONNREFUSED, -ECONNRESET, -EPIPE, -ENODATA
 *                         there is no daemon, or it hung up, and none came back in time
 *
 * When the daemon is restarted. A connection ends with its daemon. The next call makes a new one,
 * on which it acquires what is held and begins every run where it was, and then goes on as if
 * nothing had happened; while there is no daemon it tries so for 10 s, or for as long as
 * edgemind_set_timeout says if that is less. (Later calls try once.) Handles and pointers stay
 * valid: the daemon keeps the layers that were held where they are, for its lease-grace (30 s,
 * unless its configuration says otherwise). A program that reads a layer for longer without a call
 * should call edgemind_check meanwhile, and if that fails any other function, which makes the new
 * connection.
 *     Where a layer is not what it was, because the new daemon did not keep the arena, or because
 * lease-grace was over, the call fails with -ESTALE without a name, and says which layer. A call
 * that succeeds therefore says of everything that is held: the bytes have been the same all the
 * time. As long as something lost is held every call fails so, until edgemind_reconnect gets it
 * anew, or until it has been given back, which says -ESTALE, too. Whatever the
 * program has read from a lost layer since its last successful call may have been other bytes.
 *
 * SIGBUS. A daemon that starts without the arena that it had cuts it to nothing, so as to never
 * take memory twice. Reading on would raise SIGBUS in the reader. For that the library installs a
 * handler with the first arena that it maps, once a process: the readers get zeros from then on,
 * and every later call fails with -ESTALE, see above. Any other SIGBUS goes on to the action that
 * was there before. A program that wants a handler of its own installs it before its first
 * edgemind_acquire or edgemind_run_next; one that does so later has to pass on what is not its own
 * to the action that sigaction(2) gave it, or its readers end by SIGBUS. Because of the handler the
 * library stays loaded after dlclose(3); what is linked with the static one must stay, too. The
 * handler calls mmap(2), which POSIX does not list for handlers, but which on Linux is a plain
 * system call. A system call that is handed the bytes fails with EFAULT, and raises no signal, once
 * the arena was cut.
 *
 * Threads. A connection, with its layers and runs, belongs to one thread at a time; the library has
 * no state besides but what the handler for SIGBUS and a fork have to know, so that different
 * connections may be used at the same time. A layer's bytes and tensors may be read by any thread
 * until the layer is given back: while one thread calls functions of the connection, others may
 * read data, and call edgemind_layer_... on layers that are held throughout.
 *
 * Fork. After fork(2) the connection, with its layers and runs, is the parent's. In the child every
 * function that would use the connection fails with -ECHILD and sends nothing; edgemind_release and
 * edgemind_run_end free the child's handle, and edgemind_free the rest, and the parent keeps what
 * it holds. A child that needs layers of its own makes a connection of its own. The child's copy of
 * the socket is closed as it is forked, so that the parent's leases end with the parent. The arena
 * stays mapped in the child: data that the parent had acquired before may be read there for as long
 * as the parent holds the layer, and nothing tells the child when that ends.
 *
 * What a client has mapped is read-only: writing raises SIGSEGV. */
#ifndef EDGEMIND_H
#define EDGEMIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct edgemind;       /* a connection to a daemon */
struct edgemind_layer; /* a layer that is held: it is neither moved nor evicted */
struct edgemind_run;   /* a model whose layers are used in order, again and again */

enum {
    EDGEMIND_NAME_MAX = 255,              /* bytes of a name, without the NUL */
    EDGEMIND_WAIT_USEC_MAX = 60 * 1000000 /* the longest that a request may be queued */
};

/* Connections */

/* A new handle, to be connected by edgemind_connect; NULL when out of memory. */
struct edgemind *edgemind_new(void);

/* Gives every layer and run back, ends the connection, unmaps the arena and frees everything:
 * handles and pointers that came from the connection are invalid then. NULL is allowed. */
void edgemind_free(struct edgemind *em);

/* Connects to the daemon at `socket_path`; NULL looks where emctl looks: $EDGEMIND_SOCKET, else
 * /run/edgemind/io.edgemind.manager, else edgemind/io.edgemind.manager below $XDG_RUNTIME_DIR.
 * Waits at most 30 s for the daemon to take the connection. 0; -ENOENT or -ECONNREFUSED if there is
 * no daemon; -EACCES if this user may not use the socket; -EISCONN if it was called before with
 * success; -ENAMETOOLONG; -ETIMEDOUT; or another negative errno. */
int edgemind_connect(struct edgemind *em, const char *socket_path);

/* The socket that edgemind_connect chose, or NULL before it was called. Owned by `em`. */
const char *edgemind_socket_path(const struct edgemind *em);

/* How long each later call waits for the daemon's answer; UINT64_MAX, as at first, is for ever. An
 * answer may take as long as the layer takes to be read, and `wait_usec` on top. (A daemon that
 * reads nothing for so long has not answered either.) After -ETIMEDOUT
 * the next call makes a new connection, as after a restart. */
void edgemind_set_timeout(struct edgemind *em, uint64_t timeout_usec);

/* Whether what is held is still held, and its bytes are what they were. Waits for nothing. 0;
 * -ESTALE if something is lost; or, if the connection is lost, the error that ended it, most often
 * -ECONNRESET: then nothing protects the bytes, and the next call of another function says whether
 * they are still the same. */
int edgemind_check(struct edgemind *em);

/* Makes a new connection to the same socket, acquires every held layer again, whether it is the
 * same or not, begins every run again where it was, and ends the old connection. All or nothing,
 * and without trying again. For what is lost; all else needs no such call.
 *
 * On success handles stay valid, those of runs and of a run's layer, too, and are held again. A run
 * that had a layer has it again, so that the step can be done once more. Pointers that were
 * obtained before (data, tensors, names) are invalid, but for this: where edgemind_layer_data
 * returns the same address as before, data is where it was. No thread may use the old pointers
 * during the call or after it.
 *
 * On failure nothing changes, and the call may be repeated.
 *
 * Errors: those of edgemind_connect, edgemind_acquire and edgemind_run_begin; -ESTALE without a
 * name if a layer now has another size or other tensors than it had. */
int edgemind_reconnect(struct edgemind *em);

/* Models */

/* Loads the model that the file at `path` describes or holds: a definition, safetensors, GGUF (any
 * part of a split one), or the index file of sharded safetensors. `path` may also be the folder of
 * such an index, or of a single weight file: -ENOENT if the folder has none, -EMLINK if it has
 * several. The library opens the file, and the weight files that it names beside it, and passes the
 * descriptors. `name` is what weights and an index are to be called; NULL calls them after the file
 * (the index: after its directory; files in the cache of Hugging Face's libraries: after their
 * repository). A definition has a name of its own, and `name` must be NULL. `on_full` is what
 * happens when the arena is full: "evict", "ask", or NULL for the daemon's setting. `ret_model`,
 * unless NULL, has room for EDGEMIND_NAME_MAX + 1 bytes and receives the model's name. Returns when
 * every layer was loaded; those that did not fit in the end have given way again. Needs root, the
 * daemon's own user or its admin group. If the daemon is restarted meanwhile the call fails with
 * -ECONNRESET, and is not made again: the new daemon may know the model, with some of its layers
 * loaded. */
int edgemind_load(struct edgemind *em, const char *path, const char *name, const char *on_full,
                  char *ret_model);

/* Layers */

/* Makes a layer resident, loading it if need be, and holds it until edgemind_release. If the
 * layers that would have to give way are held by other clients, the request waits in a queue for at
 * most `wait_usec` (0: not at all; EDGEMIND_WAIT_USEC_MAX at most) before it fails with Busy. A
 * layer may be held several times. */
int edgemind_acquire(struct edgemind *em, const char *model, const char *layer, uint64_t wait_usec,
                     struct edgemind_layer **ret);

/* Gives a layer back. The daemon is told and does not answer: it reads this before the connection's
 * later calls, but another connection may find the layer held for a moment longer. Whatever is
 * returned, the handle is freed and pointers to the layer's bytes and tensors are invalid: the
 * lease has ended, or will with the connection. 0 says that the bytes were the layer's to the end.
 * NULL is allowed. Not for a run's layer. */
int edgemind_release(struct edgemind_layer *layer);

/* The layer's bytes: contiguous, read-only, and the same for as long as the layer is held. Bytes
 * before and after them are not the layer's. A tensor is as aligned as it was in its weight file.
 */
const void *edgemind_layer_data(const struct edgemind_layer *layer);
size_t edgemind_layer_bytes(const struct edgemind_layer *layer);

/* Owned by the layer. */
const char *edgemind_layer_name(const struct edgemind_layer *layer);
const char *edgemind_layer_model(const struct edgemind_layer *layer);

/* Part of a layer. Everything is owned by the layer, and inside its bytes. */
struct edgemind_tensor {
    const char *name;
    const char *dtype;     /* as the weight file has it: "F32", "BF16", "Q4_K" ... */
    const uint64_t *shape; /* n_dimensions numbers, outermost first */
    size_t n_dimensions;   /* 0: a scalar */
    const void *data;
    size_t bytes;
};

/* 0 for a layer that is defined by its size alone. */
size_t edgemind_layer_tensors(const struct edgemind_layer *layer);

/* The tensor with that index, from 0, in the model's order, or with that name. 0 or -ENOENT, which
 * is not kept as the connection's error. */
int edgemind_layer_tensor(const struct edgemind_layer *layer, size_t index,
                          struct edgemind_tensor *ret);
int edgemind_layer_find_tensor(const struct edgemind_layer *layer, const char *name,
                               struct edgemind_tensor *ret);

/* Runs: one pass after the other through a model that need not fit into the arena */

/* Declares that the connection will use the model's layers in order, again and again: with the
 * policy next-use the daemon then keeps what is needed soonest, and reads ahead what is missing. */
int edgemind_run_begin(struct edgemind *em, const char *model, struct edgemind_run **ret);

/* Where a run has come to. */
struct edgemind_step {
    const struct edgemind_layer *layer; /* owned by the run, valid until its next step or its end */
    uint64_t index;                     /* of the layer in the model, from 0 */
    uint64_t pass;                      /* how often the run has come to the model's end */
    bool hit; /* the layer was not loaded for this step, or ahead for it */
};

/* Gives the run's layer back and acquires the next one; the first call acquires the model's first
 * layer, and after the last comes the first. `wait_usec` as for edgemind_acquire. After a failure
 * the run is where it was, and the call may be repeated. The layer before is given back unless the
 * call fails without having been answered: with -EINVAL, -ESTALE without a name, or because the
 * connection was lost. */
int edgemind_run_next(struct edgemind_run *run, uint64_t wait_usec, struct edgemind_step *ret);

/* How many layers one pass has. */
uint64_t edgemind_run_layers(const struct edgemind_run *run);

/* Gives the run's layer back and ends the run. Whatever is returned, the run is freed. 0 says of
 * its layer what it says for edgemind_release. NULL is allowed. */
int edgemind_run_end(struct edgemind_run *run);

/* What failed last on the connection; owned by it and valid until the next failure. */

/* The daemon's refusal by its wire name, as "io.edgemind.manager.Busy"; NULL if it was no refusal,
 * or if nothing has failed. */
const char *edgemind_error_name(const struct edgemind *em);

/* The refusal's parameters as a JSON object, as the interface file describes them; NULL likewise.
 */
const char *edgemind_error_parameters(const struct edgemind *em);

/* One line for people, with the figures; safe to show on a terminal. "" if nothing has failed; for
 * a NULL `em` the text of -ENOMEM, so that edgemind_new's failure needs no test of its own. */
const char *edgemind_error_text(const struct edgemind *em);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
