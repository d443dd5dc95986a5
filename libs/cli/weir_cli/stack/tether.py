"""Tie a process to its parent's life, then become it.

    python -I -S tether.py PARENT_PID DEATH_SIGNAL USER_OR_- COMMAND…

A program and not a `preexec_fn`: that would run Python between fork and exec of a process that has
gRPC's threads. The tie is Linux's PR_SET_PDEATHSIG, which survives exec but not a change of user:
therefore the user is changed first. Where there is no prctl, the next `weir up` ends what is left.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent_pid, death_signal, user, *command = arguments
    if user != "-":
        become(user)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != int(parent_pid):
        sys.exit("the parent ended before the tie was made")
    os.execv(command[0], command)  # noqa: S606 no shell: the command is our own list


def become(user: str) -> None:
    """Give up root for `user`."""
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.chdir("/")


if __name__ == "__main__":
    main(sys.argv[1:])
