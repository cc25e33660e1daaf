# SPDX-License-Identifier: MIT
"""The first file system of a guest, as the cpio archive that a kernel unpacks: directories and texts made here, files of
this machine at the path that they have here, with the shared libraries and interpreters that they need, and modules of
the kernel."""

import lzma
import os
import re
import stat
import subprocess


class ImageError(Exception):
    """Something named is not there, or cannot be used."""


class Image:
    def __init__(self, applets):
        self.applets = set(applets)  # busybox has these, so nobody needs this machine's
        self.entries = {}            # path -> (mode, bytes, or the path of a file that has them)
        self.library_paths = []      # where libraries of the build are, for LD_LIBRARY_PATH
        self.program_paths = []      # where added programs are, for PATH
        self.unresolved = []         # ELF files whose libraries are still to be found

    # ---- made here

    def directory(self, path, mode=0o755):
        path = path.rstrip("/")
        if path and path not in self.entries:
            self.directory(os.path.dirname(path))
            self.entries[path] = (stat.S_IFDIR | mode, b"")

    def text(self, path, content, mode=0o644):
        self.directory(os.path.dirname(path))
        self.entries[path] = (stat.S_IFREG | mode, content.encode())

    def link(self, path, target):
        self.directory(os.path.dirname(path))
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    # ---- files of this machine

    def place(self, path):
        """Adds what leads to `path`, symbolic links among it, as it is here; returns where the path really ends."""
        done, rest = "", [part for part in os.path.abspath(path).split("/") if part]
        for _ in range(1000):
            if not rest:
                return done
            part = rest.pop(0)
            here = f"{done}/{part}"
            if os.path.islink(here):
                target = os.readlink(here)
                self.link(here, target)
                resolved = os.path.normpath(os.path.join(done or "/", target))
                rest = [part for part in resolved.split("/") if part] + rest
                done = ""
            else:
                done = here
                if rest:
                    self.directory(done)
        raise ImageError(f"{path}: its symbolic links lead nowhere")

    def add(self, path):
        """A file, or a directory with all below it, at the same path, with all that programs in it need."""
        if not os.path.exists(path):
            raise ImageError(f"there is no {path}")
        real = self.place(path)
        if real in self.entries and not stat.S_ISDIR(self.entries[real][0]):
            return
        if os.path.isdir(real):
            self.directory(real, os.stat(real).st_mode & 0o7777)
            for name in sorted(os.listdir(real)):
                below = os.path.join(real, name)
                if os.path.islink(below) and not os.path.exists(below):
                    self.link(below, os.readlink(below))
                elif os.path.isdir(below) or os.path.isfile(below):
                    self.add(below)
            return
        self.add_file(real, os.path.dirname(os.path.abspath(path)))

    def add_file(self, real, named_in):
        with open(real, "rb") as file:
            head = file.read(4096)
        content, mode = real, os.stat(real).st_mode & 0o7777
        wrapped = re.search(rb"temporary wrapper script for (\S+)", head)
        if wrapped:  # of libtool: the program itself takes its place, with the library that was built beside it
            content, head = self.unwrap(real, wrapped[1].decode()), b"\x7fELF"
        self.entries[real] = (stat.S_IFREG | mode, content)
        if mode & 0o111 and named_in not in self.program_paths:
            self.program_paths.append(named_in)
        if head.startswith(b"\x7fELF"):
            self.unresolved.append(content)
        elif head.startswith(b"#!"):
            self.add_interpreter(head.split(b"\n")[0][2:].decode(errors="replace").split())

    def unwrap(self, wrapper, inner):
        with open(wrapper, encoding="utf-8", errors="replace") as file:
            libraries = re.search(r'^ *LD_LIBRARY_PATH="([^"$]*):\$LD_LIBRARY_PATH"', file.read(), re.M)
        program = os.path.join(os.path.dirname(wrapper), ".libs", os.path.basename(inner))
        if not os.path.exists(program):
            raise ImageError(f"{wrapper} is a script of libtool, and {program} is not there: build it first")
        for path in libraries[1].split(":") if libraries else []:
            if path not in self.library_paths:
                self.library_paths.append(path)
        return program

    def add_interpreter(self, words):
        if words and os.path.basename(words[0]) == "env":
            words = words[1:]
        if not words or os.path.basename(words[0]) in self.applets:
            return
        self.add_program(words[0])

    def add_program(self, name):
        """What a shell here would run by this name."""
        for directory in [""] if "/" in name else os.environ.get("PATH", "/usr/bin:/bin").split(":"):
            if os.access(os.path.join(directory, name), os.X_OK):
                self.add(os.path.join(directory, name))
                return os.path.abspath(os.path.join(directory, name))
        raise ImageError(f"there is no program {name}")

    def add_libraries(self):
        """Of each ELF file that was added: what the dynamic loader of this machine would load."""
        paths = [path for path in self.library_paths + [os.environ.get("LD_LIBRARY_PATH", "")] if path]
        files, self.unresolved = sorted(set(self.unresolved)), []
        if not files:
            return
        found = subprocess.run(["ldd", *files], env={**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
        lacking = re.findall(r"^\s*(\S+) => not found", found, re.M)
        if lacking:
            raise ImageError(f"libraries were not found: {' '.join(sorted(set(lacking)))}")
        programs = list(self.program_paths)
        for library in sorted(set(re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", found, re.M))):
            self.add(library)
            # libc loads it when a thread ends or is cancelled.
            unwinder = os.path.join(os.path.dirname(library), "libgcc_s.so.1")
            if os.path.basename(library) == "libc.so.6" and os.path.exists(unwinder):
                self.add(unwinder)
        self.program_paths = programs  # libraries are executable too
        self.unresolved = []           # ldd has followed them all

    # ---- modules

    def add_modules(self, kernel, wanted):
        """Puts the modules and those that they need below /modules, unpacked; returns names in the order of loading."""
        with open(os.path.join(kernel, "modules.order"), encoding="utf-8") as file:
            paths = {module_name(line.strip()): line.strip() for line in file}
        with open(os.path.join(kernel, "modules.builtin"), encoding="utf-8") as file:
            present = {module_name(line.strip()) for line in file}
        order = []

        def load(name):
            name = name.replace("-", "_")
            if name in present:
                return
            present.add(name)
            if name not in paths:
                raise ImageError(f"the kernel in {kernel} has no module {name}")
            content = read_module(os.path.join(kernel, paths[name]))
            for needed in re.findall(rb"(?:^|\0)depends=([^\0]*)\0", content):
                for other in filter(None, needed.decode().split(",")):
                    load(other)
            self.directory("/modules")
            self.entries[f"/modules/{name}.ko"] = (stat.S_IFREG | 0o644, content)
            order.append(name)

        for name in wanted:
            load(name)
        return order

    # ---- the archive

    def write(self, out):
        number = 0
        for path, (mode, content) in sorted(self.entries.items()):  # a directory comes before what is in it
            if isinstance(content, str):
                with open(content, "rb") as file:
                    content = file.read()
            number += 1
            write_member(out, number, path.lstrip("/"), mode, content)
        write_member(out, 0, "TRAILER!!!", 0, b"")


def write_member(out, number, name, mode, content):
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    out.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))


def module_name(path):
    return os.path.basename(path).split(".")[0].replace("-", "_")


def read_module(path):
    if os.path.exists(path):
        with open(path, "rb") as file:
            return file.read()
    if os.path.exists(path + ".xz"):
        with lzma.open(path + ".xz") as file:
            return file.read()
    raise ImageError(f"there is no {path}, packed or not")
