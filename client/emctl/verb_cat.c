/* cat: writes the weights of a layer or of one tensor, as they are in the arena. The lease holds
 * the layer until everything is written. This process passes the bytes to write(2) and never reads
 * them itself: if the arena is truncated, write(2) fails, but no SIGBUS is raised. */
#include "client/emctl/error_message.h"
#include "client/emctl/unit_list.h"
#include "client/emctl/verb.h"
#include "client/library/edgemind.h"
#include "client/library/safe_text.h"
#include "common/error.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

DEFINE_CLEANUP(struct edgemind *, edgemind_free);

static int write_all(const char *bytes, size_t n_bytes)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    while (n_bytes > 0) {
        ssize_t n = write(out.fd, bytes, n_bytes);
        if (n < 0 && errno == EAGAIN)
            poll(&out, 1, -1);
        else if (n < 0 && errno != EINTR)
            return -errno;
        else if (n > 0) {
            bytes += n;
            n_bytes -= (size_t)n;
        }
    }
    return 0;
}

static int write_tensor(const struct edgemind_tensor *tensor)
{
    int r = write_all(tensor->data, tensor->bytes);

    if (r == -EPIPE)
        return EXIT_OTHER; /* the reader closed the pipe on purpose: no message */
    if (r == -EFAULT)
        return error_message_print(EXIT_OTHER, "cannot read the arena: its daemon has gone.");
    if (r < 0)
        return error_message_print(EXIT_OTHER, "cannot write to standard output: %s.",
                                   strerror(-r));
    return EXIT_DONE;
}

static int compare_places(const void *a, const void *b)
{
    const struct edgemind_tensor *x = a, *y = b;
    return (x->data > y->data) - (x->data < y->data);
}

/* Writes the tensors by their offset, without the bytes between them. Those of units are in the
 * order of the units, and each unit's by their offset. */
static int write_layer(const struct edgemind_layer *layer)
{
    const struct edgemind_tensor all = {.data = edgemind_layer_data(layer),
                                        .bytes = edgemind_layer_bytes(layer)};
    size_t n_tensors = edgemind_layer_tensors(layer);
    int r = EXIT_DONE;

    if (n_tensors == 0)
        return write_tensor(&all);
    _cleanup_(freep) struct edgemind_tensor *tensors = calloc(n_tensors, sizeof *tensors);
    if (!tensors)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    for (size_t i = 0; i < n_tensors; i++)
        edgemind_layer_tensor(layer, i, &tensors[i]);
    if (all.data)
        qsort(tensors, n_tensors, sizeof *tensors, compare_places);
    for (size_t i = 0; i < n_tensors && r == EXIT_DONE; i++)
        r = write_tensor(&tensors[i]);
    return r;
}

static int write_weights(struct session *session, const struct edgemind_layer *layer)
{
    const char *name = session->arguments->operands[2];
    struct edgemind_tensor tensor;

    if (!name)
        return write_layer(layer);
    if (edgemind_layer_find_tensor(layer, name, &tensor) < 0)
        return error_message_print(
            EXIT_NOT_FOUND,
            "layer %s of model %s has no tensor %s. 'emctl list %s --tensors' "
            "shows its tensors.",
            session->subject.layer, session->subject.model, name, session->subject.model);
    return write_tensor(&tensor);
}

/* A call of the library failed with `error` (negative). */
static int report_library_error(struct session *session, const struct edgemind *em, int error)
{
    const char *name = edgemind_error_name(em), *text = edgemind_error_parameters(em);

    if (name) {
        json_t *parameters = text ? json_loads(text, 0, NULL) : NULL;
        int r = parameters && safe_json(parameters) == 0
                    ? error_message_for_reply(name, parameters, &session->subject)
                    : error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
        json_decref(parameters);
        return r;
    }
    if (error == -ECONNRESET || error == -EPIPE)
        return error_message_broken_connection(edgemind_socket_path(em), error);
    if (error == -ENOENT || error == -ECONNREFUSED || error == -EACCES) /* it did not come back */
        return error_message_no_connection(edgemind_socket_path(em), error);
    return error_message_print(EXIT_OTHER, "%s.", edgemind_error_text(em));
}

static int acquire(struct session *session, struct edgemind *em, struct edgemind_layer **ret)
{
    const char *units = session->arguments->unit_list;
    uint32_t numbers[EDGEMIND_UNITS_MAX];

    if (!units)
        return edgemind_acquire(em, session->subject.model, session->subject.layer, 0, ret);
    return edgemind_acquire_units(em, session->subject.model, session->subject.layer, numbers,
                                  unit_list_parse(units, numbers), 0, ret);
}

int verb_cat(struct session *session)
{
    const struct arguments *arguments = session->arguments;
    struct edgemind_layer *layer;

    if (arguments->json)
        return error_message_print(EXIT_USAGE,
                                   "cat writes bytes, not JSON. Try 'emctl cat --help'.");
    if (isatty(STDOUT_FILENO) && !arguments->force)
        return error_message_print(EXIT_USAGE,
                                   "a terminal cannot show weights. Redirect the output, as "
                                   "with '>FILE', or use --force.");
    session_name_model(session, arguments->operands[0]);
    session->subject.layer = arguments->operands[1];
    _cleanup_(edgemind_freep) struct edgemind *em = edgemind_new();
    int r = em ? edgemind_connect(em, arguments->socket) : -ENOMEM;
    if (r == -ENOMEM)
        return error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    if (r < 0)
        return error_message_no_connection(edgemind_socket_path(em), r);
    r = acquire(session, em, &layer);
    if (r < 0)
        return report_library_error(session, em, r);
    int status = write_weights(session, layer);
    if (status != EXIT_DONE)
        return status; /* the lease ends with the connection */
    r = edgemind_release(layer);
    return r < 0 ? report_library_error(session, em, r) : EXIT_DONE;
}
