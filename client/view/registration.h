/* Registers weight files that the engine maps, for `emctl exec --auto`. */
#pragma once

/* If the process was started so and the file is one of weights: 0 when the daemon knows a model of
 * its name. -ENOENT if there is nothing to register; -EACCES; -EIO after a message; -ENOTCONN; or
 * another negative errno. Waits until the daemon has loaded what fits. */
int registration_try(int fd);
