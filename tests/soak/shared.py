"""Numbers that the soak and its client processes share: what the clients count, and whether the daemon is
away. They survive the processes."""
import mmap

COUNTERS = ("steps", "calls", "layers_read", "bytes_read", "refusals", "malformed", "cancels", "slow_readers",
            "forks", "views", "connections", "connections_lost")
KILLS, IS_OVER, N_GLOBALS = 0, 1, 2
TEXT_BYTES = 1000


class Shared:
    def __init__(self, n_clients):
        self.n_clients = n_clients
        cells = N_GLOBALS + n_clients * len(COUNTERS)
        self.cells = memoryview(mmap.mmap(-1, cells * 8)).cast("Q")
        self.text = mmap.mmap(-1, TEXT_BYTES)

    def say(self, text):
        """The last words of a client that failed."""
        self.text[:] = text.encode()[:TEXT_BYTES].ljust(TEXT_BYTES)

    def said(self):
        return self.text[:].decode(errors="replace").rstrip()

    def count(self, client, counter, n=1):
        """Each client writes only its own cells."""
        self.cells[N_GLOBALS + client * len(COUNTERS) + COUNTERS.index(counter)] += n

    def value(self, client, counter):
        return self.cells[N_GLOBALS + client * len(COUNTERS) + COUNTERS.index(counter)]

    def totals(self):
        return {counter: sum(self.value(client, counter) for client in range(self.n_clients))
                for counter in COUNTERS}

    @property
    def epoch(self):
        """Is odd from before the daemon is killed until the next one is ready."""
        return self.cells[KILLS]

    def turn_epoch(self):
        self.cells[KILLS] += 1

    def explains(self, epoch):
        """Whether a connection that was made in this epoch may have ended by a kill of the daemon."""
        return self.epoch != epoch or epoch % 2 == 1

    @property
    def is_over(self):
        return self.cells[IS_OVER] != 0

    @is_over.setter
    def is_over(self, value):
        self.cells[IS_OVER] = value
