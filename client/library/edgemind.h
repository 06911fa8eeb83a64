/* libedgemind: weights that every process on a device shares, inside a hard RAM budget.
 *
 * edgemindd keeps layers of neural networks in one block of memory, the arena. This library maps
 * that block once, read-only, and gives a program pointers to the layers that it names. No weights
 * are copied: after the mapping the daemon sends only offsets. See libedgemind(3); link with
 * `pkg-config --libs edgemind`.
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
 * Errors. A function that returns int returns 0 or a negative errno. It writes to its `ret`
 * parameter only on success. edgemind_error_name, edgemind_error_parameters and edgemind_error_text
 * describe a connection's last failure. If the daemon refuses a request, the refusal has a name,
 * and programs should test that name. These errnos go with the names:
 *     io.edgemind.manager.OutOfMemory         -ENOMEM   larger than the whole arena
 *     io.edgemind.manager.MustUnload          -ENOSPC   others would have to be evicted (load:
 * "ask") io.edgemind.manager.Busy                -EBUSY    other clients or loads hold the layers
 *     io.edgemind.manager.NotFound            -ENOENT   no such model, layer ...
 *     io.edgemind.manager.AlreadyLoaded       -EEXIST   the daemon knows a model of that name
 *     io.edgemind.manager.InvalidDefinition   -EINVAL   the file is not a model
 *     io.edgemind.manager.SourceChanged       -ESTALE   the weight file has changed
 *     io.edgemind.manager.LimitExceeded       -EDQUOT   too many leases, models ...
 *     io.edgemind.manager.IOFailed            -EIO      the daemon could not read a file, say
 *     org.varlink.service.PermissionDenied    -EPERM
 *     org.varlink.service.InvalidParameter    -EINVAL
 *     any other                               -EPROTO
 * Failures without a name come from the library:
 *     -ENOMEM, -EMFILE    this process is out of memory, address space or descriptors
 *     -EINVAL             an argument is invalid: not UTF-8, too long a wait ...
 *     -EBADMSG            a reply is not what the interface describes
 *     -EOPNOTSUPP         the daemon only simulates and has no arena
 *     -ENOTCONN           the handle was never connected
 *     -ECHILD             the connection was made before this process was forked, see below
 *     -ESTALE             a held layer is lost, see below; edgemind_reconnect acquires it again
 *     -ETIMEDOUT          the daemon did not answer in time
 *     -ENOENT, -ECONNREFUSED, -ECONNRESET, -EPIPE, -ENODATA
 *                         there is no daemon, or it hung up, and none came back in time
 *
 * When the daemon is restarted. When a daemon ends, its connections end. The next call makes a new
 * connection, acquires the held layers again, begins every run again at its place, and then does
 * its own work as if nothing had happened. While there is no daemon, the call tries for 10 s, or
 * for the time that edgemind_set_timeout has set if that is shorter. (Later calls try once.)
 * Handles and pointers stay valid, because the daemon keeps held layers in place for its
 * lease-grace (30 s, unless its configuration says otherwise). A program that reads a layer for
 * longer than that without any call should call edgemind_check meanwhile. If edgemind_check fails,
 * the program should call any other function, which makes the new connection.
 *     A layer is lost if the new daemon did not keep the arena, or if lease-grace was over. Then
 * the call fails with -ESTALE without a name, and its text names the layer. So a call that succeeds
 * confirms that the bytes of all held layers have been the same all the time. While a lost layer is
 * held, every call fails like this. edgemind_reconnect acquires the layer again; or the program
 * releases it, which also returns -ESTALE. Bytes that the program has read from a lost layer since
 * its last successful call may be wrong.
 *
 * SIGBUS. A daemon that starts without its old arena truncates the old one to zero bytes, so that
 * it never takes memory twice. A program that still reads the old arena would get SIGBUS. Therefore
 * the library installs a handler when it maps its first arena, once per process. Readers of the
 * arena then get zeros, and every later call fails with -ESTALE, see above. The handler passes any
 * other SIGBUS on to the action that was installed before. A program that wants a handler of its
 * own should install it before its first edgemind_acquire or edgemind_run_next. A handler that is
 * installed later has to pass foreign signals on to the action that sigaction(2) returned;
 * otherwise SIGBUS ends the program's readers. Because of the handler the library stays loaded
 * after dlclose(3); a shared object that is linked with the static library must stay loaded, too.
 * The handler calls mmap(2), which POSIX does not list for handlers, but which is a plain system
 * call on Linux. A system call that is given bytes of a truncated arena fails with EFAULT and
 * raises no signal.
 *
 * Threads. Only one thread at a time may use a connection with its layers and runs. Different
 * connections may be used at the same time: they share no state except what the SIGBUS handler and
 * fork need. Any thread may read a layer's bytes and tensors until the layer is released. So while
 * one thread calls functions of the connection, other threads may read data and call
 * edgemind_layer_... on layers that stay held meanwhile.
 *
 * Fork. After fork(2) the connection, with its layers and runs, belongs to the parent. In the child
 * every function that would use the connection fails with -ECHILD and sends nothing.
 * edgemind_release and edgemind_run_end free the child's handle, edgemind_free frees the rest, and
 * the parent still holds its layers. A child that needs layers of its own makes its own connection.
 * During the fork the library closes the child's copy of the socket, so the parent's leases end
 * with the parent. The arena stays mapped in the child. The child may read data that the parent
 * acquired before the fork, for as long as the parent holds the layer. Nothing tells the child when
 * the parent releases it.
 *
 * The mapping of the arena is read-only: writing to it raises SIGSEGV. */
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
struct edgemind_layer; /* a held layer: the daemon neither moves nor evicts it */
struct edgemind_run;   /* a model whose layers are used in order, again and again */

enum {
    EDGEMIND_NAME_MAX = 255,               /* bytes of a name, without the NUL */
    EDGEMIND_WAIT_USEC_MAX = 60 * 1000000, /* the longest that a request may be queued */
    EDGEMIND_UNITS_MAX = 512               /* of a layer, that are held together */
};

/* Connections */

/* Makes a handle, which edgemind_connect then connects. NULL when out of memory. */
struct edgemind *edgemind_new(void);

/* Releases every layer, ends every run and the connection, unmaps the arena and frees everything.
 * Handles and pointers that came from the connection are then invalid. NULL is allowed. */
void edgemind_free(struct edgemind *em);

/* Connects to the daemon at `socket_path`. If that is NULL, the socket is $EDGEMIND_SOCKET, else
 * /run/edgemind/io.edgemind.manager, else edgemind/io.edgemind.manager below $XDG_RUNTIME_DIR, as
 * for emctl. Waits at most 30 s for the daemon to accept the connection, or for the time that
 * edgemind_set_timeout has set if that is shorter. Returns 0; -ENOENT or
 * -ECONNREFUSED if there is no daemon; -EACCES if this user may not use the socket; -EISCONN if the
 * handle is already connected; -ENAMETOOLONG; -ETIMEDOUT; or another negative errno. */
int edgemind_connect(struct edgemind *em, const char *socket_path);

/* The path of the socket that edgemind_connect chose, or NULL before the first call of
 * edgemind_connect. Owned by `em`. */
const char *edgemind_socket_path(const struct edgemind *em);

/* Sets how long each later call waits for the daemon's answer. The default, UINT64_MAX, means
 * without limit. An answer may take as long as the daemon needs to read the layer, plus
 * `wait_usec`. The limit also covers the time until the daemon reads the call. After -ETIMEDOUT the
 * next call makes a new connection, as after a restart. */
void edgemind_set_timeout(struct edgemind *em, uint64_t timeout_usec);

/* Checks that all held layers are still held and that their bytes have not changed. Never waits.
 * Returns 0; -ESTALE if a layer is lost; or, if the connection is lost, the error that ended it,
 * most often -ECONNRESET. In that case nothing protects the bytes, and the next call of another
 * function reports whether they are still the same. */
int edgemind_check(struct edgemind *em);

/* Makes a new connection to the same socket, acquires every held layer again, even if its bytes
 * have changed, begins every run again at its place, and ends the old connection. It tries once,
 * and does all of this or nothing. Only lost layers need this call.
 *
 * On success all handles stay valid and held, including those of runs and of a run's layer. A run
 * that had a layer has it again, so that the program can repeat the step. Pointers from before the
 * call (data, tensors, names) are invalid, with one exception: if edgemind_layer_data returns the
 * same address as before, pointers to the data are still valid. No thread may use the old pointers
 * during the call or after it.
 *
 * On failure nothing changes, and the call may be repeated.
 *
 * Errors: those of edgemind_connect, edgemind_acquire and edgemind_run_begin; -ESTALE without a
 * name if the size or the tensors of a layer have changed. */
int edgemind_reconnect(struct edgemind *em);

/* Models */

/* Loads the model in the file at `path`: a definition, a safetensors file, a GGUF file (any part of
 * a split one), or the index file of sharded safetensors. `path` may also be a folder with one such
 * index or one weight file; the call fails with -ENOENT if the folder has none, and with -EMLINK if
 * it has several. The library opens the file and the weight files that belong to it, and passes the
 * descriptors to the daemon.
 *
 * `name` is the model's name in a weight file or an index. If it is NULL, the model gets the name
 * of the file, of the index's directory, or, in the cache of Hugging Face's libraries, of the
 * repository. A definition has its own name, and then `name` must be NULL. `on_full` says what the
 * daemon does when the arena is full: "evict", "ask", or NULL for the daemon's setting. `ret_model`
 * is NULL or has room for EDGEMIND_NAME_MAX + 1 bytes, and receives the model's name.
 *
 * Returns when every layer has been loaded. If the arena is smaller than the model, some of the
 * layers have been evicted again. Needs root, the daemon's own user or its admin group. If the
 * daemon is restarted meanwhile, the call fails with -ECONNRESET, and the library does not repeat
 * it: the new daemon may know the model, with some of its layers loaded. */
int edgemind_load(struct edgemind *em, const char *path, const char *name, const char *on_full,
                  char *ret_model);

/* Layers */

/* Loads a layer unless it is resident, and holds it until edgemind_release. If other clients hold
 * the layers that would have to be evicted, the request waits in a queue for `wait_usec` (0: not at
 * all; at most EDGEMIND_WAIT_USEC_MAX) before it fails with Busy. A layer may be held several
 * times. */
int edgemind_acquire(struct edgemind *em, const char *model, const char *layer, uint64_t wait_usec,
                     struct edgemind_layer **ret);

/* The same for some units of a layer, such as experts of a mixture of experts: all of them, or none
 * if the call fails. `units` are their numbers; a unit may be named once, and a lease has at most
 * EDGEMIND_UNITS_MAX. The model must have been cut into units, which LoadModel's `unitBytes` does;
 * edgemind_load does not.
 *     The handle is that of a layer that has the tensors of these units, in the order of `units`:
 * "blk.0.ffn_up_exps.weight[5]" is the slice of expert 5. edgemind_layer_data returns NULL, because
 * the units lie apart; edgemind_layer_bytes is their sum. If the layer has no such unit, or none at
 * all, the error is NotFound, whose parameter `units` is how many it has. */
int edgemind_acquire_units(struct edgemind *em, const char *model, const char *layer,
                           const uint32_t *units, size_t n_units, uint64_t wait_usec,
                           struct edgemind_layer **ret);

/* Releases a layer. The library sends this to the daemon without waiting for an answer. The daemon
 * reads it before the connection's later calls, but for another connection the layer may be held a
 * moment longer. The handle is freed even if the call fails, and pointers to the layer's bytes and
 * tensors are invalid then; the lease has ended, or will end with the connection. 0 confirms that
 * the layer's bytes did not change until the release. NULL is allowed. A run's layer must not be
 * released with this function. */
int edgemind_release(struct edgemind_layer *layer);

/* The layer's bytes, or NULL if only units of it are held: contiguous, read-only, and unchanged for
 * as long as the layer is held. Bytes before and after them do not belong to the layer. A tensor
 * has the same alignment as in its weight file. */
const void *edgemind_layer_data(const struct edgemind_layer *layer);
size_t edgemind_layer_bytes(const struct edgemind_layer *layer);

/* Owned by the layer. */
const char *edgemind_layer_name(const struct edgemind_layer *layer);
const char *edgemind_layer_model(const struct edgemind_layer *layer);

/* A tensor of a layer. The layer owns everything here; `data` is within the layer's bytes. */
struct edgemind_tensor {
    const char *name;
    const char *dtype;     /* as in the weight file: "F32", "BF16", "Q4_K" ... */
    const uint64_t *shape; /* n_dimensions numbers, outermost first */
    size_t n_dimensions;   /* 0: a scalar */
    const void *data;
    size_t bytes;
};

/* How many tensors the layer has; 0 if its definition gives only its size. */
size_t edgemind_layer_tensors(const struct edgemind_layer *layer);

/* Finds a tensor by its index, from 0, in the model's order, or by its name. 0 or -ENOENT; this
 * -ENOENT does not count as the connection's last failure. */
int edgemind_layer_tensor(const struct edgemind_layer *layer, size_t index,
                          struct edgemind_tensor *ret);
int edgemind_layer_find_tensor(const struct edgemind_layer *layer, const char *name,
                               struct edgemind_tensor *ret);

/* Runs: repeated passes through a model, which may be larger than the arena */

/* Declares that the connection will use the model's layers in order, again and again. With the
 * policy next-use the daemon then keeps the layers that are needed soonest, and reads missing
 * layers ahead. */
int edgemind_run_begin(struct edgemind *em, const char *model, struct edgemind_run **ret);

/* The present position of a run. */
struct edgemind_step {
    const struct edgemind_layer *layer; /* owned by the run, valid until its next step or its end */
    uint64_t index;                     /* of the layer in the model, from 0 */
    uint64_t pass;                      /* how often the run has reached the model's end */
    bool hit; /* false if the layer was loaded for this step, even if it was read ahead */
};

/* Releases the run's layer and acquires the next one. The first call acquires the model's first
 * layer; after the last layer comes the first again. `wait_usec` is as for edgemind_acquire. After
 * a failure the run keeps its place, and the call may be repeated. The previous layer is then
 * released, unless the daemon did not answer the call: with -EINVAL, with -ESTALE without a name,
 * or when the connection was lost. */
int edgemind_run_next(struct edgemind_run *run, uint64_t wait_usec, struct edgemind_step *ret);

/* How many layers one pass has. */
uint64_t edgemind_run_layers(const struct edgemind_run *run);

/* Releases the run's layer and ends the run. The run is freed even if the call fails. The return
 * value has the same meaning for the run's layer as that of edgemind_release. NULL is allowed. */
int edgemind_run_end(struct edgemind_run *run);

/* The connection's last failure. The connection owns these strings; they are valid until the next
 * failure. */

/* The name of the daemon's refusal, as "io.edgemind.manager.Busy"; NULL if the daemon did not
 * refuse the request, or if nothing has failed. */
const char *edgemind_error_name(const struct edgemind *em);

/* The refusal's parameters as a JSON object, as the interface file describes them; NULL in the same
 * cases. */
const char *edgemind_error_parameters(const struct edgemind *em);

/* One line for people, with the figures, and safe to show on a terminal. "" if nothing has failed.
 * For a NULL `em` it is the text of -ENOMEM, so a failure of edgemind_new needs no separate
 * message. */
const char *edgemind_error_text(const struct edgemind *em);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
