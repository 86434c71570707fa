"""Closing a worker process off before it decodes anything.

Picture and movie decoders are the part of the server most easily attacked with a crafted file.
They run in worker processes that, where the kernel offers it (Linux 5.13 with Landlock), can read
only plates, uploads, models and the system's programs, write only below the jobs' folder, see
neither the token nor the job store, and open no network connection. Resource limits hold anywhere.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_READ = (1 << 0) | (1 << 2) | (1 << 3)  # execute, read files, read folders
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_FILE_ONLY = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14) | (1 << 15)
_NET_BIND_AND_CONNECT = 0b11
_NO_NEW_PRIVILEGES = 38
_NEW_NETWORK = 0x40000000

SYSTEM_READ = (
    *("/usr", "/lib", "/lib64", "/bin", "/opt", "/proc", "/sys"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"),
    *("/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/fonts", "/etc/OpenCL"),
    *("/etc/alternatives", "/etc/nvidia", "/etc/ssl/certs", "/etc/os-release"),
)
"""Programs, libraries and descriptions of the machine; no folder where secrets are kept."""
SYSTEM_WRITE = ("/dev",)
"""Devices of GPUs, shared memory. Scratch files go below the jobs' folder (``TMPDIR``)."""


def limit_resources(*, file_bytes: int) -> None:
    """No core files (they hold pixels), no endless files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = file_bytes if hard == resource.RLIM_INFINITY else min(file_bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


def close_off(*, read: Iterable[str], write: Iterable[str]) -> str:
    """Give up all rights but these, for this process and its children, for good.

    Args:
        read: folders to read from, beside the system's and Python's own.
        write: folders to read from and write to.

    Returns:
        What was done, for the log: ``landlock 7, no network`` or why not.
    """
    if sys.platform != "linux":
        return f"none: no Landlock on {sys.platform}"
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return "none: the kernel has no Landlock"
    network = _leave_network(libc)
    rights = _ALL_BY_VERSION[max(v for v in _ALL_BY_VERSION if v <= version)]
    handled = struct.pack("=QQ", rights, _NET_BIND_AND_CONNECT if version >= 4 else 0)
    size = len(handled) if version >= 4 else 8
    rules = libc.syscall(_CREATE_RULESET, handled, size, 0)
    if rules < 0:
        return f"none: {os.strerror(ctypes.get_errno())}"
    python = {sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(os.path.isabs, sys.path)}
    for path in (*SYSTEM_READ, *python, *read):
        _allow(libc, rules, path, _READ)
    for path in (*SYSTEM_WRITE, *write):
        _allow(libc, rules, path, rights)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    failed = libc.syscall(_RESTRICT_SELF, rules, 0)
    os.close(rules)
    if failed:
        return f"none: {os.strerror(ctypes.get_errno())}"
    return f"landlock {version}, {network or ('no tcp' if version >= 4 else 'network open')}"


def _leave_network(libc: ctypes.CDLL) -> str:
    """A network of one's own, with nothing in it; only some processes may ask for it."""
    return "no network" if libc.unshare(_NEW_NETWORK) == 0 else ""


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _FILE_ONLY
        libc.syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)
