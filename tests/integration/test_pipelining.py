"""Calls are sent faster than they are answered, in pieces of any size: each gets its reply, in
order. """
import os
import random
import threading
import unittest

import harness


class Pipelining(harness.TestCase):
    options = {"capacity": "1M"}
    CALLS = 20000

    def test_every_call_is_answered(self):
        """If a wake-up were lost, calls would stay in the socket for ever."""
        seed = int(os.environ.get("EDGEMIND_SEED") or random.randrange(1 << 32))
        print("seed %d" % seed)
        for chunk in (1 << 16, 4096, 700, 39):
            chooser = random.Random(seed)
            peer = self.connect()
            peer.socket.settimeout(60)
            # Every tenth is an unknown method, so that order shows.
            calls = b"".join(
                b'{"method":"io.edgemind.manager.%s"}\0' % (b"No%d" % i if i % 10 == 0 else b"Stats")
                for i in range(self.CALLS))

            def send():
                sent = 0
                while sent < len(calls):
                    n = chooser.randint(1, chunk) if chunk > 39 else 39
                    peer.socket.sendall(calls[sent:sent + n])
                    sent += n

            sender = threading.Thread(target=send)
            sender.start()
            data = b""
            n_replies = 0
            while n_replies < self.CALLS:
                part = peer.socket.recv(1 << 18)
                self.assertTrue(part, "hung up on after %d replies, seed %d" % (n_replies, seed))
                *whole, data = (data + part).split(b"\0")
                for reply in whole:
                    expected = b'"io.edgemind.manager.No%d"' % n_replies
                    self.assertEqual(expected in reply, n_replies % 10 == 0, reply)
                    n_replies += 1
            sender.join()
            self.assertEqual(data, b"")


if __name__ == "__main__":
    unittest.main()
