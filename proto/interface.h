/* The text of the interface file, which documents the protocol. The daemon serves it. */
#pragma once

#define MANAGER_INTERFACE "io.edgemind.manager"

enum { USED_LAYERS_MAX = 4096 }; /* that one UpdateView tells of */

extern const char manager_interface_text[];
