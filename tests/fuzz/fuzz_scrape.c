/* The input is a byte that decides the sizes of the pieces in which the request arrives, and then
 * what a client of the metrics sends. Whatever that is, the client gets an HTTP reply or the end of
 * the connection. */
#include "daemon/metrics/scrape_server.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/count_open.h"

#include <fcntl.h>

enum { TURNS = 8, REPLY_BYTES_MAX = SCRAPE_CONNECTION_BYTES };

static int format(char text[static SCRAPE_TEXT_BYTES_MAX], void *context)
{
    (void)context;
    return snprintf(text, SCRAPE_TEXT_BYTES_MAX, "# HELP a b\n# TYPE a gauge\na 1\n");
}

static void turn(struct event_base *base)
{
    for (int i = 0; i < TURNS; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
}

static size_t take_reply(int fd, char *reply, size_t n)
{
    for (ssize_t got; n < REPLY_BYTES_MAX; n += (size_t)got)
        if ((got = recv(fd, reply + n, REPLY_BYTES_MAX - n, MSG_DONTWAIT)) <= 0)
            break;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static char reply[REPLY_BYTES_MAX];
    struct sockaddr_un address;
    struct scrape_server *server;
    size_t n_open = count_open(), n_reply = 0;

    if (n_bytes == 0)
        return 0;
    unsigned step = *data++;
    n_bytes--;
    socklen_t n_address = fuzz_address(&address);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE(bind(listener, (struct sockaddr *)&address, n_address) == 0);
    REQUIRE(listen(listener, 4) == 0);
    struct event_base *base = event_base_new();
    REQUIRE(base && scrape_server_new(base, listener, format, NULL, &server) == 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(connect(client, (struct sockaddr *)&address, n_address) == 0);

    for (unsigned i = 1; n_bytes > 0; i++) {
        size_t n = 1 + (size_t)step * i % 251;
        if (n > n_bytes)
            n = n_bytes;
        if (fuzz_send(client, data, n, -1) != (ssize_t)n)
            break;
        data += n;
        n_bytes -= n;
        turn(base);
        n_reply = take_reply(client, reply, n_reply);
    }
    shutdown(client, SHUT_WR);
    turn(base);
    n_reply = take_reply(client, reply, n_reply);
    REQUIRE(n_reply < REPLY_BYTES_MAX);
    /* The reply has the version of the request. */
    if (n_reply > 0)
        REQUIRE(memcmp(reply, "HTTP/", 5) == 0);
    close(client);
    turn(base);
    scrape_server_free(server);
    event_base_free(base);
    REQUIRE(count_open() == n_open);
    return 0;
}
