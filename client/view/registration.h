/* Registers weight files that the engine maps, for `emctl exec --auto`. */
#pragma once

/* Registers the file if the process was started with --auto and it is a weight file. Waits until
 * the daemon has loaded as many layers as fit. 0 if the daemon then knows a model of its name;
 * -ENOENT if there is nothing to register; -EACCES; -EIO after a message; -ENOTCONN; or another
 * negative errno. */
int registration_try(int fd);
