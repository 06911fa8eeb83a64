/* map: the arena as a picture, to attach to a report. */
#include "client/emctl/error_message.h"
#include "client/emctl/map_svg.h"
#include "client/emctl/top_feed.h"
#include "client/emctl/verb.h"
#include "client/emctl/whole_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int write_file(const char *path, const struct top_data *data, const char *host)
{
    struct whole_file file;
    int r = whole_file_begin(path, &file);

    if (r == 0)
        r = whole_file_end(&file, map_svg_write(file.stream, data, host));
    return r < 0 ? error_message_print(EXIT_OTHER, "cannot write %s: %s.", path, strerror(-r))
                 : EXIT_DONE;
}

int verb_map(struct session *session)
{
    const struct arguments *arguments = session->arguments;

    if (!arguments->svg)
        return error_message_print(EXIT_USAGE, "map needs --svg=FILE. Try 'emctl map --help'.");
    struct top_data *data = calloc(1, sizeof *data);
    int r = data ? top_feed_fetch(session, data)
                 : error_message_print(EXIT_OTHER, "%s.", strerror(ENOMEM));
    if (r == EXIT_DONE)
        r = write_file(arguments->svg, data, arguments->host);
    if (data)
        top_data_done(data);
    free(data);
    return r;
}
