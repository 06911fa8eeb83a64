/* The models that a command is to view, made known to the daemon before it runs. */
#pragma once

#include "client/emctl/session.h"

/* Each NAME=FILE of the command line. A file that the daemon knows already, under whatever name, is
 * left as it is. With neither a model nor --auto it is enough that the daemon knows any model. */
int view_models_make_known(struct session *session);
