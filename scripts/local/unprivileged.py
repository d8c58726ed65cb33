"""The user that PostgreSQL runs as when root starts it, which it refuses to run as itself."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from scripts.local.paths import LocalError

ROOT_BECOMES = "pgserver"  # the name that the wheel uses, too


def server_user() -> pwd.struct_passwd:
    """The user that a server started by root runs as, made when it is not there."""
    try:
        return pwd.getpwnam(ROOT_BECOMES)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", ROOT_BECOMES]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or error
        raise LocalError(
            f"PostgreSQL refuses to run as root, and there is no user {ROOT_BECOMES} to run it as: "
            f"{reason}. Run this as an ordinary user, or make one: useradd --system {ROOT_BECOMES}"
        ) from None
    return pwd.getpwnam(ROOT_BECOMES)


def give_to_server(path: Path) -> None:
    if os.getuid() == 0:
        os.chown(path, server_user().pw_uid, server_user().pw_gid)


def as_server(*entered: Path) -> list[str]:
    """What to put before a server program's command: nothing, unless it is root who runs it.

    `entered` are the program and the folder of the data.

    In a checkout that only root can enter, such as one in /root, the server keeps root's right to
    read files and pass through folders, rather than having them opened to everybody.
    """
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise LocalError(
            "As root this needs setpriv, of the package util-linux. Or run it as an ordinary user."
        )
    user = server_user()
    command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if not all(map(open_to_all, entered)):
        # Without no_setuid_fixup the kernel's access(2), which initdb asks, forgets the right.
        command += ["--securebits=+no_setuid_fixup"]
        command += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*command, "--"]


def open_to_all(path: Path) -> bool:
    """Whether every user can enter all folders above `path`, and execute or enter `path` itself."""
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))
