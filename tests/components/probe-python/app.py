"""A query builder that tries each way out of its sandbox. What came of it is the error that `build` gives back."""

import os
import random
import socket
import sys
import time

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.query_builder import NamedQuery
from wit_world.imports.types import Error_Invalid


def read_file():
    return open("/etc/passwd").read()


def list_folders():
    return str(os.listdir("/"))


def environment():
    return f"{len(os.environ)} variables, arguments {sys.argv[1:]}"


def connect():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    return "a socket"


def resolve():
    return str(socket.getaddrinfo("localhost", 80))


def clocks():
    first = time.time(), time.monotonic()
    time.sleep(0.05)
    return f"{'stand' if first == (time.time(), time.monotonic()) else 'run'} at {first[0]:.0f}"


def dice():
    return f"{random.SystemRandom().randrange(10**12)} {os.urandom(4).hex()}"


def sleep():
    time.sleep(60)
    return "awake"


def flood():
    for n in range(5_000):
        print(f"line {n}")
    print("bad", file=sys.stderr)
    return "printed"


def loop():
    while True:
        pass


def hog():
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


ATTEMPTS = {f.__name__.replace("_", "-"): f for f in (
    read_file, list_folders, environment, connect, resolve, clocks, dice, sleep, flood, loop, hog)}


class QueryBuilder(exports.QueryBuilder):
    def describe(self):
        return [NamedQuery(name, "", [], False) for name in ATTEMPTS]

    def build(self, name, params):
        try:
            said = f"came through: {ATTEMPTS[name]()}"
        except Exception as e:
            said = f"{type(e).__name__}: {e}"
        raise Err(Error_Invalid(said))

    def transform(self, name, params, batch, last):
        return batch
