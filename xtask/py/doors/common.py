"""What the scripts of the doors share: where the door is, and a check that names client, operation and what was expected."""

import os
import sys

ENDPOINT = os.environ["DOOR_ENDPOINT"]
KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
BUCKET = os.environ["DOOR_BUCKET"]
CLIENT = os.path.basename(sys.argv[0]).removesuffix(".py").removeprefix("with_")
done = []


def check(operation, got, expected):
    if got != expected:
        sys.exit(f"{CLIENT}: {operation}: got {got!r}, expected {expected!r}")
    if operation not in done:
        done.append(operation)


def refused(operation, call, expected):
    """Calls, and compares what the error says with what is expected of it."""
    try:
        call()
    except Exception as error:
        check(operation, expected if expected in str(error) else str(error), expected)
    else:
        sys.exit(f"{CLIENT}: {operation}: succeeded, expected {expected!r}")


def report():
    print(f"{CLIENT}: {len(done)} operations: {', '.join(done)}")
