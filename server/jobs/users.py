"""Users and their tokens.

A token is 32 random bytes; the store holds only its sha256. (A slow hash guards guessable
passwords; there is nothing to guess in 256 random bits.) A server used by one person on one
machine makes its own token on first start and leaves it in a file only that person can read.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from server.errors import SettingsError
from server.jobs.errors import AuthenticationError
from server.jobs.store import Store, User

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
TOKEN_FILE = "token"


def hash_token(token: str) -> bytes:
    """What the store keeps of a token."""
    return hashlib.sha256(token.encode()).digest()


def add_user(store: Store, name: str, *, is_admin: bool = False, groups: Sequence[str] = ()) -> str:
    """Add somebody, or give them a new token in place of the old one.

    Returns:
        The token: it is shown once and kept nowhere.

    Raises:
        SettingsError: the name has other characters than letters, digits and ``. _ @ -``.
    """
    if not _NAME.match(name):
        raise SettingsError(f"Expected a user name of letters, digits and . _ @ -, found {name!r}.")
    token = f"sgm_{secrets.token_urlsafe(32)}"
    store.add_user(User(name, is_admin, tuple(groups)), token_hash=hash_token(token))
    return token


def authenticate(store: Store, authorization: str) -> User:
    """Who sent this ``authorization`` value.

    Raises:
        AuthenticationError: it is no token, or one nobody has.
    """
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer" or not token:
        raise AuthenticationError(
            "The call carries no token. Set SEGMATTE_TOKEN, or run the client as the user who "
            "started the server."
        )
    user = store.user_of(hash_token(token.strip()))
    if user is None:
        raise AuthenticationError(
            "The token is not known here. Ask the operator for a new one (`segmatte users add`)."
        )
    return user


def own_token(store: Store, folder: Path) -> Path:
    """Make sure that the person who runs the server has a token in a file.

    Args:
        store: the file's token is valid in it afterwards.
        folder: of the server's state.

    Returns:
        The file, readable by its owner alone.

    Raises:
        SettingsError: others could read the file.
    """
    path = folder / TOKEN_FILE
    if path.exists():
        token = read_private(path).strip()
        if store.user_of(hash_token(token)) is None:
            _admit(store, token)
        return path
    token = f"sgm_{secrets.token_urlsafe(32)}"
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(f"{token}\n")
    _admit(store, token)
    partial.replace(path)
    return path


def read_private(path: Path) -> str:
    """Text of a file that must be readable by its owner alone.

    Raises:
        SettingsError: it is somebody else's, or others can read it.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle) as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise SettingsError(
                f"Expected {path} to be readable by its owner alone (mode 0600), found mode "
                f"{stat.S_IMODE(status.st_mode):04o}. Its token may be known: remove the file, the "
                "server makes a new one."
            )
        return file.read()


def _admit(store: Store, token: str) -> None:
    store.add_user(User(_own_name(), is_admin=True), token_hash=hash_token(token))


def _own_name() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid{os.getuid()}"
    return name if _NAME.match(name) else f"uid{os.getuid()}"
