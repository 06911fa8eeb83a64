/* Embeds io.edgemind.manager.varlink. The Makefile has this dependency. */
#include "proto/interface.h"

__asm__(".pushsection .rodata\n"
        ".global manager_interface_text\n"
        "manager_interface_text:\n"
        ".incbin \"proto/io.edgemind.manager.varlink\"\n"
        ".byte 0\n"
        ".popsection\n");
