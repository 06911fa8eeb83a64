/* Memory for libevent. Its HTTP server (2.1.12) accesses a NULL pointer if one of several small
 * allocations fails, as when a connection is accepted. So when malloc fails, libevent gets small
 * blocks from a reserve. If that is used up as well, an allocation fails. */
#pragma once

/* Call it before any function of libevent. Afterwards only one thread may use libevent. */
void event_memory_install(void);
