/* The text of the interface file, which documents the protocol. The daemon serves it. */
#pragma once

#define MANAGER_INTERFACE "io.edgemind.manager"

extern const char manager_interface_text[];
