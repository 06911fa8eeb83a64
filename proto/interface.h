/* The interface file's text, which the daemon serves and which is the protocol's documentation. */
#pragma once

#define MANAGER_INTERFACE "io.edgemind.manager"

extern const char manager_interface_text[];
