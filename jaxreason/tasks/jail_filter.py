"""The system calls that a program in a jail may make. Every call that is not listed here is refused.

It cannot start processes or programs (threads are allowed), open sockets, send signals, change modes or owners, or
share memory. A call that a later kernel adds is refused too, as if the kernel did not have it; the C library then falls
back on the calls that it knows.
"""

import ctypes
import errno
import functools
import platform
import struct

from jaxreason.tasks.jail_kernel import call

# Name: its numbers on x86-64 and on 64-bit Arm (-1: it does not exist there).
_ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, -1),
    "close": (3, 57),
    "stat": (4, -1),
    "fstat": (5, 80),
    "lstat": (6, -1),
    "poll": (7, -1),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, -1),
    "pipe": (22, -1),
    "select": (23, -1),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "dup2": (33, -1),
    "pause": (34, -1),
    "nanosleep": (35, 101),
    "getitimer": (36, 102),
    "alarm": (37, -1),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "exit": (60, 93),
    "uname": (63, 160),
    "flock": (73, 32),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "ftruncate": (77, 46),
    "getdents": (78, -1),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "rename": (82, -1),
    "mkdir": (83, -1),
    "rmdir": (84, -1),
    "creat": (85, -1),
    "unlink": (87, -1),
    "readlink": (89, -1),
    "umask": (95, 166),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "getpgrp": (111, -1),
    "getgroups": (115, 158),
    "sigaltstack": (131, 132),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "arch_prctl": (158, -1),
    "gettid": (186, 178),
    "time": (201, -1),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "getdents64": (217, 61),
    "set_tid_address": (218, 96),
    "restart_syscall": (219, 128),
    "fadvise64": (221, 223),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "epoll_wait": (232, -1),
    "epoll_ctl": (233, 21),
    "openat": (257, 56),
    "mkdirat": (258, 34),
    "newfstatat": (262, 79),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "epoll_pwait": (281, 22),
    "eventfd2": (290, 19),
    "epoll_create1": (291, 20),
    "dup3": (292, 24),
    "pipe2": (293, 59),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "getcpu": (309, 168),
    "renameat2": (316, 276),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "statx": (332, 291),
    "rseq": (334, 293),
    "close_range": (436, 436),
    "faccessat2": (439, 439),
}
# Calls that are allowed if one argument has one of these values: name: (numbers, which argument, values). fcntl is
# allowed without the values that send signals; prctl for names of threads and of memory.
_WITH_VALUES = {
    "ioctl": ((16, 29), 1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1031, 1032)),
    "prctl": ((157, 167), 0, (15, 16, 0x53564D41)),
    "prlimit64": ((302, 261), 0, (0,)),
}
_CLONE, _CLONE_THREAD = (56, 220), 0x10000  # A thread, not a process.
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _HAS_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # Their offsets in the data that the filter sees.
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2

# Code, steps to skip if true, steps to skip if false, operand.
Instruction = tuple[int, int, int, int]


def prepare_filter() -> None:
    """Makes the filter once, so that the processes that apply it need not."""
    _packed()


def is_known_machine() -> bool:
    """Returns whether the system call numbers of this machine are known."""
    return platform.system() == "Linux" and platform.machine() in _ARCHITECTURES


def allow_few_calls() -> None:
    """Applies the filter to this process and its children, permanently.

    Raises:
      OSError: the kernel has no such filters.
    """
    buffer = _packed()
    header = struct.pack("HxxxxxxP", len(buffer) // 8, ctypes.addressof(buffer))
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("prctl", _PR_SET_SECCOMP, _MODE_FILTER, header, 0, 0)


@functools.cache
def _packed() -> ctypes.Array:
    program = b"".join(struct.pack("HBBI", *step) for step in filter_program(platform.machine()))
    return ctypes.create_string_buffer(program, len(program))


def filter_program(machine: str) -> list[Instruction]:
    """Returns the filter for a kind of machine, as a classic BPF program (the kernel's packet filter language)."""
    which, architecture = _ARCHITECTURES[machine]
    steps: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for numbers in _ALLOWED.values():
        if numbers[which] >= 0:
            steps += [(_EQUAL, 0, 1, numbers[which]), (_RETURN, 0, 0, _ALLOW)]
    for numbers, argument, values in _WITH_VALUES.values():
        steps += _if_number(numbers[which], _argument_in(argument, values))
    thread = [
        (_LOAD, 0, 0, _ARGUMENTS),
        (_HAS_BITS, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
    ]
    steps += _if_number(_CLONE[which], thread)
    return [*steps, (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]


def _if_number(number: int, body: list[Instruction]) -> list[Instruction]:
    return [(_EQUAL, 0, len(body), number), *body]


def _argument_in(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    steps: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument)]
    for value in values:
        steps += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*steps, (_RETURN, 0, 0, _ERROR | errno.EPERM)]
