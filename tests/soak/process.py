"""The processes of the soak's clients: each does one thing after another at random.

What a process does in its n-th step depends only on the seed, its number, its life (how many of its
predecessors were killed) and n. What comes of it depends on the others, too.
"""
import os
import random
import sys
import traceback

import wire
from client import LOST, REFUSALS, Failed
from deeds import Deeds
from leasing import become, let_go_of_descriptors

# How often a member of the socket's group does each deed, and an administrator.
MEMBER = {"acquire": 30, "release": 30, "verify": 10, "run": 12, "plan": 3, "look": 8, "cancel": 6,
          "slow_reader": 4, "malformed": 6, "fork": 3, "cat": 2, "view": 2, "forbidden": 2}
ADMIN = {**MEMBER, "load_model": 8, "load_layer": 6, "unload": 6, "reset": 1, "set_policy": 3,
         "too_large": 1, "scrape": 2, "forbidden": 0}
USERS = [None, 65534, 65533]  # None: an administrator


def user_of(number):
    return USERS[number % len(USERS)] if os.geteuid() == 0 else None


def choice(seed, number, life, step):
    """The name of the deed, and the random numbers for its details."""
    rng = random.Random("%d %d %d %d" % (seed, number, life, step))
    table = MEMBER if number % len(USERS) else ADMIN
    return rng.choices(list(table), table.values())[0], rng


def take_step(client, deed, rng):
    try:
        getattr(client, deed)(rng)
    except wire.VarlinkError as refused:
        if refused.error not in REFUSALS:
            raise
        client.count("refusals")
    except TimeoutError as hang:
        raise Failed("no reply") from hang
    except LOST:
        client.lost()
    client.count("steps")


def live(client, seed, life):
    step, deed = 0, "connect"
    try:
        try:
            client.connect()
        except LOST:
            client.lost()
        while not client.shared.is_over:
            deed, rng = choice(seed, client.number, life, step)
            take_step(client, deed, rng)
            step += 1
    except BaseException as failure:
        client.shared.say("step %d (%s): %s: %s" % (step, deed, type(failure).__name__, failure))
        traceback.print_exc()
        return 1
    return 0


def start(shared, seed, number, life, service, models):
    """Forks such a process, with a process group of its own. Returns its PID."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.setpgid(pid, pid)
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        let_go_of_descriptors(-1)
        user = user_of(number)
        if user is not None:
            become(user, [os.getgid()])
        status = live(Deeds(shared, number, user is None, service, models), seed, life)
    finally:
        sys.stderr.flush()
        os._exit(status)
