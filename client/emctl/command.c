/* Reads only a program's header and its program headers. If these do not decide, this file assumes
 * that preloading works: the loader finally decides. */
#include "client/emctl/command.h"

#include "client/emctl/error_message.h"
#include "common/cleanup.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { INTERPRETERS_MAX = 4, LINE_MAX_BYTES = 256 }; /* as Linux follows and reads them */

static int look(const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return -errno;
    return S_ISREG(status.st_mode) && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? 0
                                                                                       : -EACCES;
}

int command_find(const char *name, char **ret_path)
{
    const char *directories = getenv("PATH");
    bool denied = false;

    if (!*name)
        return -ENOENT;
    if (strchr(name, '/')) {
        int r = look(name);
        if (r < 0)
            return r == -EACCES ? r : -ENOENT;
        *ret_path = strdup(name);
        return *ret_path ? 0 : -ENOMEM;
    }
    if (!directories)
        directories = "/bin:/usr/bin";
    for (bool last = false; !last; directories++) {
        _cleanup_(freep) char *path = NULL;
        int n = (int)strcspn(directories, ":");
        if (asprintf(&path, "%.*s%s%s", n, directories, n > 0 ? "/" : "", name) < 0) {
            path = NULL;
            return -ENOMEM;
        }
        int r = look(path);
        if (r == 0) {
            *ret_path = TAKE_PTR(path);
            return 0;
        }
        denied = denied || r == -EACCES;
        directories += n;
        last = *directories == '\0';
    }
    return denied ? -EACCES : -ENOENT;
}

/* Finds the path in the first line of a script; false if it is not a script. */
static bool find_interpreter(int fd, char path[static LINE_MAX_BYTES])
{
    char line[LINE_MAX_BYTES];
    ssize_t n = pread(fd, line, sizeof line - 1, 0);

    if (n < 3 || line[0] != '#' || line[1] != '!')
        return false;
    line[n] = '\0';
    const char *begin = line + 2 + strspn(line + 2, " \t");
    size_t length = strcspn(begin, " \t\n");
    memcpy(path, begin, length);
    path[length] = '\0';
    return length > 0;
}

static bool is_privileged(int fd)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return false;
    return (status.st_mode & S_ISUID && status.st_uid != geteuid()) ||
           (status.st_mode & S_ISGID && status.st_mode & S_IXGRP && status.st_gid != getegid()) ||
           (geteuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0);
}

/* Finds the architecture of an ELF file, and in `ret_is_dynamic` whether it names a loader. False
 * if it is not an ELF file. */
static bool read_elf(int fd, uint32_t *ret_architecture, bool *ret_is_dynamic)
{
    union {
        unsigned char ident[EI_NIDENT];
        Elf32_Ehdr small;
        Elf64_Ehdr large;
    } header;

    if (pread(fd, &header, sizeof header, 0) != sizeof header ||
        memcmp(header.ident, ELFMAG, SELFMAG) != 0)
        return false;
    bool is_large = header.ident[EI_CLASS] == ELFCLASS64;
    *ret_architecture = (uint32_t)header.ident[EI_CLASS] << 24 |
                        (uint32_t)header.ident[EI_DATA] << 16 | header.large.e_machine;
    *ret_is_dynamic = false;
    unsigned n = is_large ? header.large.e_phnum : header.small.e_phnum;
    off_t at = is_large ? (off_t)header.large.e_phoff : (off_t)header.small.e_phoff;
    for (; n > 0 && !*ret_is_dynamic; n--) {
        uint32_t type; /* comes first in both */
        if (pread(fd, &type, sizeof type, at) != sizeof type)
            break;
        *ret_is_dynamic = type == PT_INTERP;
        at += is_large ? (off_t)sizeof(Elf64_Phdr) : (off_t)sizeof(Elf32_Phdr);
    }
    return true;
}

static bool is_foreign(uint32_t architecture)
{
    _cleanup_(closep) int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    uint32_t own_architecture;
    bool is_dynamic;

    return own >= 0 && read_elf(own, &own_architecture, &is_dynamic) &&
           architecture != own_architecture;
}

enum preloading command_preloading(const char *path)
{
    char interpreter[LINE_MAX_BYTES];
    uint32_t architecture;
    bool is_dynamic;

    for (unsigned i = 0; i < INTERPRETERS_MAX; i++) {
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            break;
        if (read_elf(fd, &architecture, &is_dynamic))
            return is_foreign(architecture) ? PRELOADING_FOREIGN
                   : is_privileged(fd)      ? PRELOADING_PRIVILEGED
                   : is_dynamic             ? PRELOADING_WORKS
                                            : PRELOADING_STATIC;
        if (!find_interpreter(fd, interpreter))
            break;
        path = interpreter;
    }
    return PRELOADING_WORKS;
}

int command_execute(char **command)
{
    execvp(command[0], command);
    int error = errno;
    return error_message_print(error == ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_RUN,
                               "cannot run %s: %s.", command[0], strerror(error));
}
