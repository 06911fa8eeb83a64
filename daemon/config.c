/* Owns the three places that set options: defaults, file and command line.
 *
 * Invariant: a struct config that config_load returned has a valid value in every member. Leaves to
 * the daemon whether a group exists, or whether the machine has the memory. */
#include "daemon/config.h"

#include "common/cleanup.h"
#include "daemon/option.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_BYTES_MAX = 64 << 10, VALUE_SHOWN = 64 };

/* Options of the command line only. */
static const struct {
    const char *name, *value, *help;
} switches[] = {
    {"config", "FILE", "Read FILE instead of " CONFIG_FILE_DEFAULT "."},
    {"check-config", NULL, "Check the configuration and exit."},
    {"print-dropin", NULL, "Print a systemd drop-in with limits for the capacity, and exit."},
    {"simulate", NULL, "Commit no memory and read no weights; decide as usual."},
    {"help", NULL, "Print this and exit."},
    {"version", NULL, "Print the version and exit."},
};

enum {
    SWITCH_CONFIG,
    SWITCH_CHECK,
    SWITCH_DROPIN,
    SWITCH_SIMULATE,
    SWITCH_HELP,
    SWITCH_VERSION,
    N_SWITCHES
};

__attribute__((format(printf, 3, 4))) static int fail(char *why, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, CONFIG_WHY_MAX, format, arguments);
    va_end(arguments);
    return error;
}

static const char *nearest_name(const char *name, bool with_switches)
{
    unsigned best = UINT_MAX;
    const char *nearest = "";

    for (size_t i = 0; i < N_OPTIONS + (with_switches ? N_SWITCHES : 0); i++) {
        const char *candidate = i < N_OPTIONS ? options[i].name : switches[i - N_OPTIONS].name;
        unsigned distance = option_distance(name, candidate);
        if (distance < best) {
            best = distance;
            nearest = candidate;
        }
    }
    return nearest;
}

static int set_option(struct config *config, const struct option *option, const char *text,
                      const char *where, char *why)
{
    int r = option->parse(option, text, (char *)config + option->offset);

    if (r == -ENOMEM)
        return fail(why, r, "%s: out of memory", where);
    if (r < 0)
        return fail(why, -EINVAL, "%s: '%.*s' is not valid for %s, which takes %s%s", where,
                    VALUE_SHOWN, text, option->name, option->allowed ? "" : "one of ",
                    option->allowed ? option->allowed : option->value);
    return 0;
}

/* A configuration file while inih reads it line by line. */
struct file_parser {
    struct config *config;
    const char *path, *next, *end;
    unsigned line;
    unsigned set_in_line[N_OPTIONS];
    bool is_open; /* the line has no end */
    int error;    /* the first error; after it the reader reports the end of the file */
    char *why;
};

/* Replaces fgets, because inih would divide a long line in two, and would append an indented line
 * to the line before it. */
static char *parser_read_line(char *buffer, int n_bytes, void *stream)
{
    struct file_parser *parser = stream;

    if (parser->error < 0 || parser->next == parser->end)
        return NULL;
    parser->line++;
    const char *start = parser->next;
    const char *end = memchr(start, '\n', (size_t)(parser->end - start));
    parser->next = end ? end + 1 : parser->end;
    parser->is_open = !end;
    if (!end)
        end = parser->end;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    size_t length = (size_t)(end - start);
    if (length >= (size_t)n_bytes) {
        parser->error = fail(parser->why, -E2BIG, "%s:%u: the line is longer than %d bytes",
                             parser->path, parser->line, n_bytes - 1);
        return NULL;
    }
    if (memchr(start, '\0', length)) {
        parser->error = fail(parser->why, -EINVAL, "%s:%u: the line has a NUL byte in it",
                             parser->path, parser->line);
        return NULL;
    }
    if (*start == '[' && length > 0) {
        parser->error = fail(parser->why, -EINVAL,
                             "%s:%u: sections are not allowed, only 'key = value' and '# comment'",
                             parser->path, parser->line);
        return NULL;
    }
    memcpy(buffer, start, length);
    buffer[length] = '\0';
    return buffer;
}

static int parser_take_pair(void *user, const char *section, const char *name, const char *value)
{
    struct file_parser *parser = user;
    const struct option *option = option_find(name, strlen(name));

    (void)section; /* the reader refuses sections */
    if (parser->error < 0)
        return 0;
    if (!option) {
        parser->error =
            fail(parser->why, -EINVAL, "%s:%u: no option '%.*s'; did you mean '%s'?", parser->path,
                 parser->line, VALUE_SHOWN, name, nearest_name(name, false));
        return 0;
    }
    unsigned *set_in_line = &parser->set_in_line[option - options];
    if (*set_in_line) {
        parser->error = fail(parser->why, -EINVAL, "%s:%u: %s is already set in line %u",
                             parser->path, parser->line, option->name, *set_in_line);
        return 0;
    }
    *set_in_line = parser->line;
    _cleanup_(freep) char *where = NULL;
    if (asprintf(&where, "%s:%u", parser->path, parser->line) < 0) {
        where = NULL;
        parser->error = fail(parser->why, -ENOMEM, "%s: out of memory", parser->path);
        return 0;
    }
    parser->error = set_option(parser->config, option, value, where, parser->why);
    if (parser->is_open)
        parser->config->open_line = parser->line;
    return parser->error == 0;
}

/* Reads the whole file into malloc'ed memory. */
static int read_file(const char *path, char **ret_text, size_t *ret_bytes, char *why)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_(closep) int fd = -1;
    struct stat st;
    size_t n_bytes = 0;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO must not block */
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(why, -errno, "%s: cannot open: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(why, -EINVAL, "%s: not a regular file", path);
    text = malloc(FILE_BYTES_MAX + 1);
    if (!text)
        return fail(why, -ENOMEM, "%s: out of memory", path);
    while (n_bytes <= FILE_BYTES_MAX) {
        ssize_t n = read(fd, text + n_bytes, FILE_BYTES_MAX + 1 - n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(why, -errno, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0)
            break;
        n_bytes += (size_t)n;
    }
    if (n_bytes > FILE_BYTES_MAX)
        return fail(why, -EFBIG, "%s: larger than %d bytes", path, FILE_BYTES_MAX);
    *ret_text = TAKE_PTR(text);
    *ret_bytes = n_bytes;
    return 0;
}

static int apply_file(struct config *config, bool may_be_missing, char *why)
{
    _cleanup_(freep) char *text = NULL;
    size_t n_bytes = 0;
    int r = read_file(config->file, &text, &n_bytes, why);

    if (r == -ENOENT && may_be_missing)
        return 0;
    if (r < 0)
        return r;
    struct file_parser parser = {
        .config = config, .path = config->file, .next = text, .end = text + n_bytes, .why = why};
    int bad_line = ini_parse_stream(parser_read_line, &parser, parser_take_pair, &parser);
    if (bad_line < 0)
        return fail(why, -ENOMEM, "%s: out of memory", config->file);
    if (bad_line > 0 && (parser.error == 0 || (unsigned)bad_line < parser.line))
        return fail(why, -EINVAL, "%s:%d: not a line of the form 'key = value'", config->file,
                    bad_line);
    return parser.error;
}

/* One pass over the command line. Finds what to do and which file to read or, with `options_only`,
 * the options' values. */
static int apply_arguments(int argc, char **argv, bool options_only, struct config *config,
                           enum config_action *action, char *why)
{
    for (int i = 1; i < argc; i++) {
        const char *argument = strcmp(argv[i], "-h") == 0   ? "--help"
                               : strcmp(argv[i], "-V") == 0 ? "--version"
                                                            : argv[i];
        if (strncmp(argument, "--", 2) != 0 || argument[2] == '\0')
            return fail(why, -EINVAL, "unexpected argument '%.*s'; see --help", VALUE_SHOWN,
                        argument);
        const char *name = argument + 2;
        size_t length = strcspn(name, "=");
        const char *value = name[length] ? name + length + 1 : NULL;
        const struct option *option = option_find(name, length);
        size_t chosen = N_SWITCHES;
        for (size_t k = 0; !option && k < N_SWITCHES; k++)
            if (strlen(switches[k].name) == length && memcmp(switches[k].name, name, length) == 0)
                chosen = k;
        if (!option && chosen == N_SWITCHES) {
            char misspelt[VALUE_SHOWN + 1];
            snprintf(misspelt, sizeof misspelt, "%.*s", (int)length, name);
            return fail(why, -EINVAL, "no option '--%s'; did you mean '--%s'?", misspelt,
                        nearest_name(misspelt, true));
        }
        bool wants_value = option || switches[chosen].value;
        if (!wants_value && value)
            return fail(why, -EINVAL, "--%s takes no value", switches[chosen].name);
        if (wants_value && !value) {
            if (i + 1 == argc)
                return fail(why, -EINVAL, "%s needs a value: %s", argument,
                            option ? option->value : switches[chosen].value);
            value = argv[++i];
        }
        if (option && options_only) {
            char where[64];
            snprintf(where, sizeof where, "--%s", option->name);
            int r = set_option(config, option, value, where, why);
            if (r < 0)
                return r;
        }
        if (option || options_only)
            continue;
        switch (chosen) {
        case SWITCH_CONFIG:
            free(config->file);
            config->file = strdup(value);
            if (!config->file)
                return fail(why, -ENOMEM, "out of memory");
            break;
        case SWITCH_CHECK:
            config->check_only = true;
            *action = CONFIG_CHECKED;
            break;
        case SWITCH_DROPIN:
            *action = CONFIG_DROPIN;
            break;
        case SWITCH_SIMULATE:
            config->simulate = true;
            break;
        case SWITCH_HELP:
            *action = CONFIG_HELP;
            return 0;
        case SWITCH_VERSION:
            *action = CONFIG_VERSION;
            return 0;
        }
    }
    return 0;
}

void config_done(struct config *config)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (option_is_string(&options[i]))
            free(*(char **)((char *)config + options[i].offset));
    free(config->file);
    *config = (struct config){0};
}

void config_warn(const struct config *config)
{
    if (config->open_line > 0)
        log_warn("%s:%u: the last line has no end; if the file was cut, write it again",
                 config->file, config->open_line);
}

int config_load(int argc, char **argv, struct config *ret, enum config_action *ret_action,
                char ret_why[static CONFIG_WHY_MAX])
{
    _cleanup_(config_done) struct config config = {0};
    enum config_action action = CONFIG_RUN;
    int r;

    for (size_t i = 0; i < N_OPTIONS; i++)
        if (options[i].default_text) {
            r = set_option(&config, &options[i], options[i].default_text, "default", ret_why);
            if (r < 0)
                return r;
        }
    r = apply_arguments(argc, argv, false, &config, &action, ret_why);
    if (r < 0)
        return r;
    if (action == CONFIG_HELP || action == CONFIG_VERSION)
        goto take;

    /* A simulation stands for another machine, so this machine's file does not apply. */
    bool is_default = !config.file && !config.simulate;
    if (is_default) {
        config.file = strdup(CONFIG_FILE_DEFAULT);
        if (!config.file)
            return fail(ret_why, -ENOMEM, "out of memory");
    }
    if (config.file) {
        r = apply_file(&config, is_default, ret_why);
        if (r < 0)
            return r;
    }
    r = apply_arguments(argc, argv, true, &config, &action, ret_why);
    if (r < 0)
        return r;
    if (config.on_pressure == ON_PRESSURE_TRIM && config.huge_pages == HUGE_PAGES_RESERVED)
        return fail(ret_why, -EINVAL,
                    "on-pressure=trim cannot be used with huge-pages=reserved, whose pages are not "
                    "the system's");
    if (config.capacity_bytes == 0 && config.file)
        return fail(ret_why, -EINVAL,
                    "capacity is not set: write 'capacity = SIZE' in %s, or give --capacity=SIZE",
                    config.file);
    if (config.capacity_bytes == 0)
        return fail(ret_why, -EINVAL, "capacity is not set: give --capacity=SIZE");
take:
    *ret_action = action;
    *ret = config;
    config = (struct config){0};
    return 0;
}

const char *config_next_difference(const struct config *a, const struct config *b, unsigned *cursor,
                                   bool *ret_reloadable)
{
    while (*cursor < N_OPTIONS) {
        const struct option *option = &options[(*cursor)++];
        const void *left = (const char *)a + option->offset;
        const void *right = (const char *)b + option->offset;
        bool same;
        if (option_is_string(option)) {
            const char *text = *(char *const *)left, *other = *(char *const *)right;
            same = text && other ? strcmp(text, other) == 0 : text == other;
        } else {
            same = memcmp(left, right, option->size) == 0;
        }
        if (!same) {
            *ret_reloadable = option->reloadable;
            return option->name;
        }
    }
    return NULL;
}

void config_print_help(FILE *out)
{
    fputs("Usage: edgemindd [OPTION]...\n"
          "Keeps neural-network weights inside one arena of fixed size. See edgemindd(8).\n\n"
          "Options, also as 'name = value' in " CONFIG_FILE_DEFAULT ":\n",
          out);
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option *option = &options[i];
        fprintf(out, "  --%s=%s\n        %s", option->name, option->value, option->help);
        if (option->default_text)
            fprintf(out, " Default: %s.", option->default_text);
        fputc('\n', out);
    }
    fputs("\nOnly on the command line:\n", out);
    for (size_t i = 0; i < N_SWITCHES; i++)
        fprintf(out, "  --%s%s%s\n        %s\n", switches[i].name, switches[i].value ? "=" : "",
                switches[i].value ? switches[i].value : "", switches[i].help);
}
