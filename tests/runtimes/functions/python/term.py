import atexit
import signal
import sys
import threading

atexit.register(lambda: print("at exit"))
released = threading.Event()
signal.signal(signal.SIGUSR2, lambda number, frame: released.set())


def handler(event, context):
    print("waits")
    while not released.wait(0.02):
        pass
    return "finished"


def ready(event, context):
    return "ready"


def own(event, context):
    def on_term(number, frame):
        print("own SIGTERM")
        sys.exit(7)

    signal.signal(signal.SIGTERM, on_term)
    return "ready"
