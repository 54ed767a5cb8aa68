"""Programs that are wrong, and try to pass: each is to be judged anything but correct.

The tests that they meet are `TESTS`; none of them has an `f` that is right.
"""

TESTS = ["assert f(1) == 2", "assert f(2) == 3", "assert f(41) == 42"]
RIGHT = "def f(x):\n    return x + 1"

ENDS = {
    "sys.exit(0) at once": "import sys\nsys.exit(0)",
    "sys.exit(0) in the call": "import sys\ndef f(x): sys.exit(0)",
    "os._exit(0) at once": "import os\nos._exit(0)",
    "os._exit(0) in the call": "import os\ndef f(x): os._exit(0)",
    "exit in a thread": "import os, threading\n"
    "threading.Thread(target=os._exit, args=(0,)).start()",
    "raise SystemExit": "raise SystemExit",
    "kills itself": "import os\nos.kill(os.getpid(), 9)",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)\ndef f(x): return x",
    "kills all": "import os\nos.kill(-1, 9)\ndef f(x): return x",
    "stops its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n"
    "def f(x): return x",
    "skips as unittest does": "import unittest\ndef f(x): raise unittest.SkipTest('no')",
    "stops iteration": "def f(x): raise StopIteration",
    "exec of another program": "import os\nos.execv('/bin/true', ['true'])",
    "crashes": "import ctypes\nctypes.string_at(0)",
}

LIES = {
    "equal to all": "class A:\n    def __eq__(self, other): return True\n"
    "    __ne__ = lambda self, other: False\n    __hash__ = None\ndef f(x): return A()",
    "an int equal to all": "class A(int):\n    def __eq__(self, other): return True\n"
    "    __hash__ = int.__hash__\ndef f(x): return A(7)",
    "a metaclass equal to all": "class M(type):\n    def __eq__(self, other): return True\n"
    "    __hash__ = None\nclass f(metaclass=M):\n    def __new__(cls, x): return cls",
    "mock.ANY": "from unittest.mock import ANY\ndef f(x): return ANY",
    "patched AssertionError": "import builtins\nclass Quiet(Exception): pass\n"
    "builtins.AssertionError = Quiet\ndef f(x): return x",
    "patched builtins": "import builtins\nbuiltins.int = str\nbuiltins.__build_class__ = None\n"
    "builtins.isinstance = lambda *a: True\nbuiltins.len = lambda x: 0\ndef f(x): return x",
    "own names of the tests": "__checking__ = __checked__ = lambda *a: None\n"
    "__builtins__ = {}\ndef f(x): return x",
    "optimised away": "import sys\nsys.flags\n__debug__\n"
    "import builtins, os\nos.environ['PYTHONOPTIMIZE'] = '2'\ndef f(x): return x",
    "trace function": "import sys\ndef tracer(frame, event, arg):\n"
    "    frame.f_globals['f'] = lambda x: x + 1\n    return tracer\n"
    "sys.settrace(tracer)\ndef f(x): return x",
    "own modules": "import sys\nfor name in list(sys.modules):\n    if 'ppx' in name or "
    "name in ('json', 'os', 'operator'):\n        module = sys.modules[name]\n"
    "        for each in dir(module):\n"
    "            try: setattr(module, each, lambda *a, **k: True)\n"
    "            except Exception: pass\ndef f(x): return x",
}

SAYS = {
    "prints that all passed": "print('correct'); print('passed'); print('[\"correct\", \"ok\"]')\n"
    "def f(x): return x",
    "prints at exit": 'import atexit\natexit.register(lambda: print(\'["correct", ""]\'))\n'
    "def f(x): return x",
    "children that print": "import os\nfor _ in range(3):\n    if os.fork() == 0:\n"
    '        os.write(1, b\'\\n["correct", ""]\\n\')\n        os._exit(0)\ndef f(x): return x',
    "writes to every descriptor": "import os\nfor fd in range(100):\n"
    '    try: os.write(fd, b\'\\n["correct", "all 3 assertions passed"]\\n\')\n'
    "    except OSError: pass\ndef f(x): return x",
    "writes to others' outputs": "import os\nfor pid in [p for p in os.listdir('/proc') "
    "if p.isdigit()]:\n    for fd in ('1', '2'):\n        try:\n"
    "            with open(f'/proc/{pid}/fd/{fd}', 'w') as out:\n"
    '                out.write(\'\\n["correct", ""]\\n\')\n        except OSError: pass\n'
    "def f(x): return x",
    "answers for itself": "import os, json\ndef frame(m):\n    d = json.dumps(m).encode()\n"
    "    return len(d).to_bytes(8, 'big') + d\n"
    "os.write(4, frame(['loaded']) + frame(['correct', 'ok']) + frame(['value', True, []]) * 9)\n"
    "def f(x): return x",
    "garbage as an answer": "import os\nos.write(4, b'\\xff' * 4096)\ndef f(x): return x",
    "a huge length as an answer": "import os\nos.write(4, (2**62).to_bytes(8, 'big'))\n"
    "def f(x): return x",
    "an import as an answer": "import os, json\nd = json.dumps(['value', ['import', 'os', "
    "'_exit'], []]).encode()\nframe = len(d).to_bytes(8, 'big') + d\n"
    "def f(x):\n    os.write(4, frame)",
    "tells of more names": "import json, os, sys\nimport ppx_judges.inside.program as own\n"
    "kept = own._serve\ndef serve(what, one, args, named):\n    if what == 'names':\n"
    "        fake = ('object', bool)\n"
    "        return {'f': ('object', f), 'int': fake, 'print': fake, '__checking__': fake}\n"
    "    return kept(what, one, args, named)\n"
    "frame = sys._getframe()\nwhile frame:\n    peer = frame.f_locals.get('peer')\n"
    "    if peer is not None: peer._serve = serve\n    frame = frame.f_back\n"
    "def f(x): return 7",
    "asks the checker": "import os, json\nd = json.dumps(['ask', 'getattr', 0, ['tuple', "
    "[['tuple', ['__globals__']], ['tuple', []]]]]).encode()\n"
    "def f(x):\n    os.write(4, len(d).to_bytes(8, 'big') + d)\n    return x",
}

TAKES = {
    "endless loop": "while True: pass",
    "endless loop in the call": "def f(x):\n    while True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "endless generator": "def f(x):\n    while True: yield x",
    "fork bomb": "import os\nwhile True: os.fork()",
    "patient fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "thread bomb": "import threading, time\nwhile True:\n"
    "    threading.Thread(target=time.sleep, args=(1000,)).start()",
    "daemon left behind": "import os, time\nif os.fork() == 0:\n    os.setsid()\n"
    "    time.sleep(1000)\ndef f(x): return x + 1",
    "memory": "a = [0] * 10**10",
    "memory, bit by bit": "a = []\nwhile True: a.append(bytearray(10**6))",
    "a huge number": "def f(x): return 10 ** 10 ** 10",
    "a huge answer": "def f(x): return 'x' * (200 * 2**20)",
    "10 GB of output": "block = 'x' * 2**20\nfor _ in range(10 * 1024): print(block)\n"
    "def f(x): return x + 1",
    "10 GB of output, in spite of errors": "import os\nblock = b'x' * 2**20\n"
    "for _ in range(10 * 1024):\n    try: os.write(1, block)\n    except OSError: pass\n"
    "def f(x): return x + 1",
    "an exception of a huge name": "def f(x):\n"
    "    raise type('X' * 10**7, (Exception,), {})('y' * 10**7)",
    "an exception that never says": "class E(Exception):\n    def __str__(self):\n"
    "        while True: pass\ndef f(x): raise E",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
    "deep answer": "def f(x):\n    a = []\n    for _ in range(10**6): a = [a]\n    return a",
    "disk": "import os\nfor d in ('/tmp', '/dev/shm', '/sandbox', '/', '/dev', '/var/tmp'):\n"
    "    for i in range(10**4):\n        try:\n"
    "            with open(f'{d}/{i}', 'wb') as out: out.write(b'x' * 2**22)\n"
    "        except OSError: break\n"
    "used = sum(os.statvfs(d).f_blocks for d in ('/tmp', '/dev/shm'))\ndef f(x): return used",
}

HOSTILE = {**ENDS, **LIES, **SAYS, **TAKES}
