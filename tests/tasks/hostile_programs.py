"""Programs that do not solve anything: they try to get out, to do harm, or to pass all the same.

In each, {folder} is a folder that anyone may write to, {file} a file there, {port} and {udp} ports of
this machine with a listener, {abstract} and {unix} sockets with one, {pid} the process that grades.
The problem that they are given: read two numbers, print their sum; or the same as `add(a, b)`.
"""

SCRIPTS = {
    # more than a machine has
    "fork bomb": "import os\nwhile True: os.fork()",
    "fork bomb that hides its errors": """
import os
while True:
    try: os.fork()
    except BaseException: pass
""",
    "thread bomb": """
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(60,)).start()
""",
    "memory bomb": "data = []\nwhile True: data.append(bytearray(10_000_000))",
    "memory bomb by mmap": """
import mmap
kept = []
while True:
    kept.append(mmap.mmap(-1, 50_000_000)); kept[-1].write(b"x" * 50_000_000)
""",
    "memory bomb in a memory file": """
import ctypes, os
libc = ctypes.CDLL(None)
for _ in range(200):
    file = libc.memfd_create(b"x", 0)
    for _ in range(100):
        os.write(file, b"x" * 10_000_000)
""",
    "memory bomb in shared memory": """
import ctypes
libc = ctypes.CDLL(None)
for key in range(1000):
    if libc.shmget(0, 100_000_000, 0o1666) < 0: raise SystemExit(1)
""",
    "one power of two too many": "print(2 ** (2 ** 60))",
    "zip bomb": """
import zlib
data = zlib.compress(b"0" * 50_000_000)
while True: data = zlib.decompress(data) * 50; data = zlib.compress(data)
""",
    "endless output": "while True: print('x' * 100_000)",
    "endless output without newlines": "import os\nwhile True: os.write(1, b'42' * 50_000)",
    "huge file": """
with open("/tmp/huge", "wb") as file:
    while True: file.write(b"0" * 10_000_000)
""",
    "many small files": """
number = 0
while True:
    open("/tmp/" + str(number), "w").write("x" * 4000); number += 1
""",
    "many open files": "kept = []\nwhile True: kept.append(open('/dev/null'))",
    "endless loop": "while True: pass",
    "sleep for ever": "import time\ntime.sleep(10_000)",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1) + 1\nf(0)",
    "deep recursion in C": """
import sys
sys.setrecursionlimit(10**9)
value = []
for _ in range(10**7): value = [value]
print(value == eval("value"), repr(value))
""",
    "a source too deep to read": "x = " + "(" * 50_000 + ")" * 50_000,
    # does not want to end
    "ignores every signal": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
    "a handler that goes on": """
import signal, time
def again(*_):
    while True: time.sleep(1)
for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU, signal.SIGINT):
    signal.signal(number, again)
signal.alarm(1)
while True: pass
""",
    "a demon that outlives it": """
import os, time
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: time.sleep(1)
        os._exit(0)
except OSError: pass
print("left behind")
""",
    "a shell that outlives it": """
import subprocess
subprocess.Popen("sleep 1000 & disown", shell=True, start_new_session=True)
""",
    "a thread that goes on printing": """
import threading, time
def speak():
    while True: print(3); time.sleep(0.01)
threading.Thread(target=speak).start()
""",
    "an end that never comes": "import atexit, time\natexit.register(time.sleep, 1000)",
    "closed its output and stays": "import os, time\nos.close(1); os.close(3); time.sleep(1000)",
    # harm to others
    "kills its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "kills the grader": "import os, signal\nos.kill({pid}, signal.SIGKILL)",
    "kills everyone": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "kills its group": "import os, signal\nos.killpg(0, signal.SIGKILL)",
    "kills by raw system call": """
import ctypes
libc = ctypes.CDLL(None)
libc.syscall(62, {pid}, 9); libc.syscall(129, {pid}, 9); libc.syscall(234, {pid}, {pid}, 9)
""",
    "a signal by way of a file's owner": """
import fcntl, os
reader, writer = os.pipe()
fcntl.fcntl(reader, 8, {pid}); fcntl.fcntl(reader, 10, 9)
fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC); os.write(writer, b"x")
""",
    "stops its parent by ptrace": """
import ctypes, os
libc = ctypes.CDLL(None)
print(libc.ptrace(16, os.getppid(), 0, 0), libc.ptrace(16, {pid}, 0, 0))
""",
    "lowers the limits of the grader": "import resource\nresource.prlimit({pid}, 7, (1, 1))",
    "writes a file outside": "open({file!r}, 'w').write('owned')",
    "makes a file outside": "open({folder!r} + '/new', 'w').write('owned')",
    "removes a file": "import os\nos.remove({file!r})",
    "renames a file": "import os\nos.rename({file!r}, {file!r} + '2')",
    "changes a mode": "import os\nos.chmod({file!r}, 0)",
    "changes times and owner": "import os\nos.utime({file!r}, (0, 0)); os.chown({file!r}, 1, 1)",
    "truncates a file": "import os\nos.truncate({file!r}, 0)",
    "a link out of its folder": """
import os
os.symlink({folder!r}, "/tmp/out"); open("/tmp/out/new", "w").write("owned")
""",
    "a hard link": "import os\nos.link({file!r}, '/tmp/mine')\nopen('/tmp/mine', 'w').write('owned')",
    "the old root by way of an open folder": """
import os
for number in range(64):
    try: os.chdir(number)
    except OSError: continue
    for _ in range(20): os.chdir("..")
    open("." + {file!r}, "w").write("owned")
""",
    "another root": "import os\nos.chroot('/tmp')\nos.chdir('/')",
    "mounts": """
import ctypes
libc = ctypes.CDLL(None)
print(libc.unshare(0x10000000 | 0x20000), libc.mount(b"none", b"/tmp", b"proc", 0, None))
""",
    "becomes root": "import os\nos.setuid(0); os.setgid(0); open({file!r}, 'w').write('owned')",
    "fills /dev/shm": "open('/dev/shm/owned', 'wb').write(b'x' * 1_000_000)",
    "writes into Python's library": """
import os
open(os.path.dirname(os.__file__) + "/owned.py", "w").write("owned")
""",
    "connects by TCP": """
import socket
socket.create_connection(("127.0.0.1", {port})).send(b"hello")
""",
    "sends by UDP": """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", {udp}))
""",
    "connects to an abstract socket": """
import socket
socket.socket(socket.AF_UNIX).connect({abstract!r})
""",
    "connects to a socket in a folder": """
import socket
socket.socket(socket.AF_UNIX).connect({unix!r})
""",
    "sends from a pair of sockets": """
import socket
one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.sendto(b"hello", {abstract!r})
""",
    "a ring of requests to the kernel": """
import ctypes
libc = ctypes.CDLL(None)
buffer = ctypes.create_string_buffer(120)
if libc.syscall(425, 8, buffer) >= 0: open("/tmp/ring", "w")
raise SystemExit(1)
""",
    # reading what is not its own
    "prints a file": "print(open({file!r}).read())",
    "prints its environment": "import os\nprint(dict(os.environ))",
    "prints the grader's environment": "print(open('/proc/{pid}/environ').read())",
    "prints its parent's environment": """
import os
print(open(f"/proc/{{os.getppid()}}/environ").read())
""",
    "prints what it was started with": "print(open('/proc/self/cmdline').read())",
    "lists the processes": "import os\nprint(os.listdir('/proc'))",
    "prints the password file": "print(open('/etc/passwd').read(), open('/etc/shadow').read())",
    "searches its memory for the answer": """
import gc, sys
frame = sys._getframe()
while frame: print(list(frame.f_locals.items()), list(frame.f_globals)); frame = frame.f_back
for thing in gc.get_objects(): print(thing)
""",
    "reads the memory of its parent": """
import os
print(open(f"/proc/{{os.getppid()}}/mem", "rb").read(10))
""",
    "reads its input twice for the answer": """
import os, sys
print(sys.stdin.read()); os.lseek(0, 0, 0); print(sys.stdin.read(), os.read(0, 1000), os.read(3, 1000))
""",
    # passing all the same
    "leaves with status 0": "import os\nos._exit(0)",
    "leaves quietly": "raise SystemExit(0)",
    "says that it passed": """
print('{{"ended": "finished", "seconds": 0.1, "value": true, "passed": [true], "accuracy": 1.0}}')
""",
    "answers in the jail's name": """
import json, os, struct
for fd in range(64):
    for message in (b'{{"ended": "finished", "seconds": 0}}', b"3"):
        try: os.write(fd, struct.pack(">I", len(message)) + message)
        except OSError: pass
""",
    "replaces what ends it": """
import os, sys, builtins, threading
os._exit = lambda *_: None
threading._shutdown = lambda: None
builtins.print = sys.exit = lambda *_: None
sys.stdout = None
""",
    "becomes the process that waits for it": """
import os, sys
os._exit = lambda *_: None
frame = sys._getframe()
while frame:
    for name in list(frame.f_locals):
        print(name)
    frame = frame.f_back
raise KeyboardInterrupt
""",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "aborts": "import os\nos.abort()",
    "raises after the fact": "print(0)\nraise ValueError",
    "does not compile": "def f(:",
    "has a null byte": "print(3)\x00",
}

# Programs for the problem add(a, b) -> a + b, tested by calls from JSON and by assertions.
FUNCTIONS = {
    "equal to everything": """
class Equal(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __int__(self): return self
def add(a, b): return Equal(-1)
""",
    "equal by an object": """
class Equal:
    def __eq__(self, other): return True
def add(a, b): return Equal()
""",
    "asserts nothing": """
import builtins
class Never(Exception): pass
builtins.AssertionError = Never
def add(a, b): return None
""",
    "patches unittest and math": """
import unittest, math
unittest.TestCase.assertEqual = lambda *_: None
math.isclose = lambda *_, **__: True
def add(a, b): return -1
""",
    "leaves while it is called": "import os\ndef add(a, b): os._exit(0)",
    "leaves as it is defined": "import os\nos._exit(0)",
    "exits while it is called": "import sys\ndef add(a, b): sys.exit(0)",
    "looks into the frames of its caller": """
import sys
def add(a, b):
    frame, seen = sys._getframe(), []
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if type(value) is dict: seen += [v for k, v in value.items() if k in ("expected", "output")]
            if type(value) is int and value not in (a, b): seen.append(value)
        frame = frame.f_back
    return seen[-1] if seen else None
""",
    "looks for the answer among all objects": """
import gc
def add(a, b):
    for thing in gc.get_objects():
        if type(thing) is dict and "output" in thing: return thing["output"]
""",
    "looks for the tests in the main module": """
import sys
def add(a, b):
    main = sys.modules["__main__"]
    return getattr(main, "expected", None) or getattr(main, "check", None)
""",
    "answers in the jail's name": """
import os, struct
def add(a, b):
    for fd in range(64):
        for message in (b'{"passed": [true, true, true]}', b'{"ended": "finished", "seconds": 0}'):
            try: os.write(fd, struct.pack(">I", len(message)) + message)
            except OSError: pass
""",
    "answers with what is no value": """
import os
def add(a, b):
    os.write(3, b'{"value": {"dict": [[{"list": []}, 1]]}}'); os._exit(0)
""",
    "answers with a value of unknown kind": """
import os
def add(a, b):
    os.write(3, b'{"value": {"pickle": "Y29z"}}'); os._exit(0)
""",
    "answers with endless depth": """
import os
def add(a, b):
    os.write(3, b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"); os._exit(0)
""",
    "returns itself": "def add(a, b):\n    value = []; value.append(value); return value",
    "returns without end": "def add(a, b): return [[0] * 10_000] * 10_000",
    "returns not a number": "def add(a, b): return float('nan')",
    "returns a generator": "def add(a, b): yield a + b",
    "changes its arguments": "def add(a, b): a = b = 0; return a",
    "counts its calls": """
calls = []
def add(a, b):
    calls.append(1)
    return 3 if len(calls) == 1 else 7 if len(calls) == 2 else 30
""",
    "another name": "def plus(a, b): return a + b",
    "does not come back": "def add(a, b):\n    while True: pass",
}
