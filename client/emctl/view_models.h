/* Registers the models that a command will view, before the command runs. */
#pragma once

#include "client/emctl/session.h"

/* Registers each NAME=FILE of the command line. A file that the daemon knows already, under any
 * name, stays as it is. With neither a model nor --auto, the daemon must know at least one model.
 */
int view_models_make_known(struct session *session);
