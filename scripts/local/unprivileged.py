"""The user that PostgreSQL runs as when root starts it: it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from scripts.local.paths import LocalError

ROOT_BECOMES = "pgserver"  # as in the code of the wheel


def server_user() -> pwd.struct_passwd:
    """The user of a server that root starts. Makes the user if there is none."""
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
    """The words before the command of a server program: none, except for root.

    `entered` are the program and the folder of the data. If only root can enter them, as in /root,
    the server keeps root's right to read files and to enter folders. So no folder has to be opened
    to all users.
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
        # initdb calls access(2), which ignores that right without no_setuid_fixup.
        command += ["--securebits=+no_setuid_fixup"]
        command += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*command, "--"]


def open_to_all(path: Path) -> bool:
    """Whether every user can enter all folders above `path`, and execute or enter `path` itself."""
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))
