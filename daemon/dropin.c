/* Owns the sum of the memory that a daemon with a given configuration may use.
 *
 * Invariant: the limit is never less than the daemon needs when it reaches its own overhead-limit.
 * It is an upper bound: with huge pages the kernel's part is smaller, and pages of the reserved
 * pool usually do not count at all. */
#include "daemon/dropin.h"

#include "common/units.h"
#include "daemon/control/server.h"
#include "daemon/metrics/listen_address.h"
#include "daemon/metrics/scrape_server.h"
#include "daemon/overhead.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <sys/socket.h>

enum {
    PAGE_TABLE_ENTRY_BYTES = 8,
    /* The kernel keeps the memfd's pages in a tree of nodes with 64 slots, 576 bytes each. */
    PAGE_INDEX_BYTES = 9,
    MIB = 1 << 20,
};

/* The unit forbids the network, which metrics-listen may need. */
static void print_network(const char *metrics_listen, FILE *out)
{
    struct listen_address address;

    if (!metrics_listen || listen_address_parse(metrics_listen, &address) < 0 ||
        address.family == AF_UNIX)
        return;
    fprintf(out,
            "# metrics-listen = %s\n"
            "RestrictAddressFamilies=%s\n"
            "PrivateNetwork=no\n"
            "IPAddressAllow=%s\n",
            metrics_listen, address.family == AF_INET ? "AF_INET" : "AF_INET6",
            address.is_loopback ? "localhost" : "any");
}

int dropin_print(const struct config *config, uint64_t page_bytes, FILE *out)
{
    uint64_t arena_bytes, kernel_bytes, peer_bytes, sum_bytes, memory_bytes, lock_bytes;
    uint64_t reply_bytes = overhead_free_bytes(config->overhead_limit_bytes);
    char arena[SIZE_TEXT_MAX], overhead[SIZE_TEXT_MAX], kernel[SIZE_TEXT_MAX];
    char replies[SIZE_TEXT_MAX], peers[SIZE_TEXT_MAX];
    char scrapes[SIZE_TEXT_MAX];
    uint64_t scrape_bytes =
        config->metrics_listen ? SCRAPE_CONNECTIONS_MAX * SCRAPE_CONNECTION_BYTES : 0;

    if (round_up(config->capacity_bytes, page_bytes, &arena_bytes) < 0 ||
        __builtin_mul_overflow(arena_bytes / page_bytes, PAGE_TABLE_ENTRY_BYTES + PAGE_INDEX_BYTES,
                               &kernel_bytes) ||
        __builtin_add_overflow(arena_bytes, config->overhead_limit_bytes, &sum_bytes) ||
        __builtin_add_overflow(sum_bytes, kernel_bytes, &sum_bytes) ||
        __builtin_mul_overflow(config->max_connections + SERVER_ROOT_CONNECTIONS,
                               SERVER_CONNECTION_BYTES, &peer_bytes) ||
        __builtin_add_overflow(sum_bytes, peer_bytes, &sum_bytes) ||
        __builtin_add_overflow(sum_bytes, scrape_bytes, &sum_bytes) ||
        __builtin_add_overflow(sum_bytes, reply_bytes, &sum_bytes) ||
        round_up(sum_bytes, MIB, &memory_bytes) < 0 || round_up(arena_bytes, MIB, &lock_bytes) < 0)
        return -EOVERFLOW;

    fprintf(out,
            "# Limits for a capacity of %" PRIu64 " bytes, from edgemindd --print-dropin.\n"
            "[Service]\n"
            "# The sum of these, rounded up to 1M:\n"
            "#   %-10s the arena: capacity, in whole pages\n"
            "#   %-10s what the daemon may use beyond it: overhead-limit\n"
            "#   %-10s replies that clients have not read\n"
            "#   %-10s the messages of all connections, in the kernel and half-read\n"
            "#   %-10s requests for metrics: metrics-listen\n"
            "#   %-10s the kernel's tables: a page table entry of %d bytes and %d bytes of the\n"
            "#   %-10s memfd's index for each page of %" PRIu64 " bytes\n"
            "# Page cache that loads fill counts, too, but the kernel drops it first.\n"
            "MemoryMax=%" PRIu64 "M\n"
            "# The arena, rounded up to 1M. %s\n"
            "LimitMEMLOCK=%" PRIu64 "M\n",
            config->capacity_bytes, size_format(arena_bytes, arena),
            size_format(config->overhead_limit_bytes, overhead), size_format(reply_bytes, replies),
            size_format(peer_bytes, peers), size_format(scrape_bytes, scrapes),
            size_format(kernel_bytes, kernel), PAGE_TABLE_ENTRY_BYTES, PAGE_INDEX_BYTES, "",
            page_bytes, memory_bytes / MIB,
            config->mlock ? "It is locked: mlock = yes." : "It is locked only with mlock = yes.",
            lock_bytes / MIB);
    print_network(config->metrics_listen, out);
    return 0;
}
