/* Calls and answers for the tests of libedgemind over a restart. */
#pragma once

#include "tests/unit/played_daemon.h"

#define ACQUIRE   CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\"}")
#define ACQUIRE_N CALL("Acquire", "{\"model\":\"n\",\"layer\":\"l\"}")
/* With the fill that the layer had: the lease is taken up. */
#define TAKE_UP       CALL("Acquire", "{\"model\":\"m\",\"layer\":\"l\",\"fill\":1}")
#define TAKE_UP_N     CALL("Acquire", "{\"model\":\"n\",\"layer\":\"l\",\"fill\":1}")
#define TAKE_STEP(id) CALL("Next", "{\"run\":\"" id "\",\"fill\":1}")
#define STATS         CALL("Stats", "{}")
#define NEXT(id)      CALL("Next", "{\"run\":\"" id "\"}")
#define BEGUN(id)     "{\"parameters\":{\"run\":\"" id "\",\"layers\":3}}"
#define PLACE(i, p)   ",\"index\":" #i ",\"pass\":" #p ",\"hit\":true"
#define REFUSAL(name) "{\"error\":\"io.edgemind.manager." name "\"}"

static int held_arena;
static struct edgemind_layer *held; /* in `held_arena`, over the first connection */

static inline void setup_held(void)
{
    setup();
    held_arena = new_arena(10);
    held = acquire_first(held_arena);
}

/* Acquires the layer of acquire_first on a new connection. */
static inline void will_answer_the_same(struct successor *successor, const char *lease)
{
    will_answer(successor, layer_reply(lease, page, 10, WITH_ARENA));
}

/* Every call fails, and none sends anything to the daemon. */
static inline void expect_lost(const char *text)
{
    struct edgemind_layer *layer;

    ck_assert_int_eq(edgemind_check(em), -ESTALE);
    ck_assert_int_eq(edgemind_acquire(em, "x", "l", 0, &layer), -ESTALE);
    ck_assert_ptr_null(edgemind_error_name(em));
    ck_assert_msg(strstr(edgemind_error_text(em), text), "%s", edgemind_error_text(em));
    expect_no_client();
}
