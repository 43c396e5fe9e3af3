"""Become a service: drop root if asked, die with the parent, take default signals, then exec the command.

Run as a plain script (`python -I -S launcher.py PARENT_PID DEATH_SIGNAL UID GID COMMAND...`): it must cost
milliseconds and must not import the package. A `preexec_fn` would do the same but is not safe beside threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
KEEP = -1


def main(argv: list[str]) -> None:
    """Never returns: execs `argv[4:]`, or exits 127 naming what is missing."""
    parent, death_signal, uid, gid = (int(value) for value in argv[:4])
    command = argv[4:]
    # A script started with `&` ignores SIGINT and passes that on; Dagster then never stops.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not None:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if uid != KEEP:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of user, which clears it.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before we asked to be told
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is what a launcher is for
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
