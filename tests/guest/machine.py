# SPDX-License-Identifier: MIT
"""What the options of tests/guest/guest make of a machine: arguments for qemu and for the kernel."""

import os
import re
import shlex

USAGE, MISSING, SETUP, CUT, LIMIT, DIED = 120, 121, 122, 123, 124, 125
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

# By number of nodes; memory-only is one without cpus=.
PRESETS = {
    1: (["cpus=0-1"], []),
    2: (["cpus=0-1", "cpus=2-3"], ["0-1=21"]),
    3: (["cpus=0-1", "cpus=2-3", ""], ["0-1=21", "0-2=17", "1-2=28"]),
    4: (["cpus=0-1", "cpus=2", "cpus=3", ""], ["0-1=14", "0-2=23", "0-3=27", "1-2=19", "1-3=36", "2-3=31"]),
}
USES = ("ext4-dax", "fsdax", "devdax", "ram", "raw")


class Refused(Exception):
    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status = status


def size_bytes(text):
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not match:
        raise Refused(USAGE, f"'{text}' is no size: a number with K, M or G")
    return int(match[1]) * UNITS[match[2]]


def fields(option, text, known):
    """KEY=VALUE,... as a dictionary; a key without a value is True."""
    result = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if key not in known:
            raise Refused(USAGE, f"{option} {text}: there is no '{key}'; there are: {', '.join(known)}")
        result[key] = value if equals else True
    return result


def number_of(option, text):
    if not str(text).isdigit():
        raise Refused(USAGE, f"{option}: '{text}' is no number")
    return int(text)


class Machine:
    """What the options make of it: arguments for qemu and for the kernel, modules, and the lines of /etc/guest.conf."""

    def __init__(self, options):
        self.arguments, self.kernel_arguments, self.modules, self.uses, self.huge = [], [], [], [], []
        self.nodes = []  # (cpus as a pair or None, bytes of memory)
        self.buses = 0
        if options.kernel == "6.1":
            self.modules += ["virtio_pci", "virtio_console"]
        texts, distances = PRESETS[options.nodes or 2] if not options.node else (options.node, [])
        for text in texts:
            self.add_node(text, options.memory)
        nvdimms = [fields("--nvdimm", text, ("file", "size", "node", "use", "snapshot")) for text in options.nvdimm]
        self.fill_nodes(nvdimms)
        self.describe_nodes(distances + options.distance)
        self.add_nvdimms(nvdimms, options.persistence)
        for text in options.huge:
            self.add_huge(text)
        for text in options.nic:
            self.add_device("--nic", text, ("node",), "vmxnet3", "vmxnet3")
        for text in options.nvme:
            self.add_device("--nvme", text, ("node", "size"), "nvme", "nvme")
        for text in options.device:
            self.arguments += shlex.split(text)
        self.modules += options.module

    def add_node(self, text, memory):
        node = fields("--node", text, ("cpus", "memory"))
        cpus = None
        if "cpus" in node:
            match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(node["cpus"]))
            if not match:
                raise Refused(USAGE, f"--node {text}: cpus= wants a number or two, as in cpus=0-1")
            cpus = int(match[1]), int(match[2] or match[1])
        self.nodes.append((cpus, size_bytes(str(node.get("memory", memory)))))

    def fill_nodes(self, nvdimms):
        """A node that only an nvdimm is on has to be known to qemu too."""
        highest = max([number_of("--nvdimm node=", nvdimm.get("node", 0)) for nvdimm in nvdimms], default=0)
        while len(self.nodes) <= highest:
            self.nodes.append((None, 0))

    def describe_nodes(self, distances):
        for number, (cpus, memory) in enumerate(self.nodes):
            text = f"node,nodeid={number}"
            if cpus:
                text += f",cpus={cpus[0]}-{cpus[1]}"
            if memory:
                self.arguments += ["-object", f"memory-backend-ram,id=memory{number},size={memory}"]
                text += f",memdev=memory{number}"
            self.arguments += ["-numa", text]
        values = {(a, b): 20 for a in range(len(self.nodes)) for b in range(a + 1, len(self.nodes))}
        for text in distances:
            match = re.fullmatch(r"(\d+)-(\d+)=(\d+)", text)
            pair = tuple(sorted((int(match[1]), int(match[2])))) if match else None
            if pair not in values:
                raise Refused(USAGE, f"--distance {text}: it is two nodes and a number, as in 0-1=21")
            values[pair] = int(match[3])
        for (a, b), value in values.items():
            self.arguments += ["-numa", f"dist,src={a},dst={b},val={value}"]
        sizes = {last - first + 1 for first, last in self.cpu_ranges()}
        if not sizes:
            raise Refused(USAGE, "no node has cpus=")
        count = max(last for first, last in self.cpu_ranges()) + 1
        # CPUs of different nodes in one socket would share a cache, which the kernel complains of.
        per_socket = min(sizes) if len(sizes) == 1 and count % min(sizes) == 0 else 1
        self.arguments += ["-smp", f"{count},sockets={count // per_socket},cores={per_socket},threads=1"]

    def cpu_ranges(self):
        return [cpus for cpus, _ in self.nodes if cpus]

    def add_nvdimms(self, nvdimms, persistence):
        total = maximum = sum(memory for _, memory in self.nodes)
        for number, nvdimm in enumerate(nvdimms):
            if "file" not in nvdimm:
                raise Refused(USAGE, "--nvdimm wants file=PATH")
            use = nvdimm.get("use", "ext4-dax")
            if use not in USES:
                raise Refused(USAGE, f"--nvdimm use={use}: there are {', '.join(USES)}")
            path = os.path.abspath(nvdimm["file"])
            size = size_bytes(nvdimm.get("size", "256M"))
            if not os.path.exists(path):
                with open(path, "wb") as file:
                    file.truncate(size)
            size = os.path.getsize(path)
            share = "off" if "snapshot" in nvdimm else "on"
            self.arguments += ["-object", f"memory-backend-file,id=media{number},share={share},mem-path={path},size={size}",
                               "-device", f"nvdimm,id=nvdimm{number},memdev=media{number},node={nvdimm.get('node', 0)}"]
            self.uses.append(use)
            maximum += size + (1 << 30)  # each may begin at the next GiB
        if self.uses:
            self.modules += ["nfit", "nd_pmem", "device_dax", "dax_pmem"]
        if "ram" in self.uses:
            self.modules.append("kmem")
        persistence = "cpu" if persistence == "cpu" else "mem-ctrl"
        unused = ",".join(f"{name}=off" for name in ("smbus", "sata", "usb", "vmport", "i8042"))
        self.arguments += ["-machine", f"q35,nvdimm=on,nvdimm-persistence={persistence},{unused}",
                           "-m", f"{total >> 20}M,slots=16,maxmem={(maximum >> 20) + 1024}M"]

    def add_huge(self, text):
        match = re.fullmatch(r"(2M|1G)(?:@(\d+))?=(\d+)", text)
        if not match:
            raise Refused(USAGE, f"--huge {text}: it is 2M or 1G, for one node @NODE, and a count, as in 2M@1=16")
        nodes = [int(match[2])] if match[2] else [number for number, (_, memory) in enumerate(self.nodes) if memory]
        kib = size_bytes(match[1]) >> 10
        self.huge += [f"{kib}:{node}:{match[3]}" for node in nodes]
        if match[1] == "1G":  # memory that is whole is there at boot alone
            self.kernel_arguments += ["hugepagesz=1G", "hugepages=" + ",".join(f"{node}:{match[3]}" for node in nodes)]

    def add_device(self, option, text, known, model, module):
        """A device has the node of the bridge that it is behind."""
        device = fields(option, text, known)
        self.buses += 1
        port = f"port{self.buses}"
        self.arguments += ["-device", f"pxb-pcie,id=bridge{self.buses},bus=pcie.0,bus_nr={32 + 16 * self.buses}"
                           f",numa_node={number_of(option, device.get('node', 0))}",
                           "-device", f"pcie-root-port,id={port},bus=bridge{self.buses},chassis={self.buses}"]
        if model == "nvme":
            size = size_bytes(device.get("size", "64M"))
            self.arguments += ["-blockdev", f"driver=null-co,node-name=disk{self.buses},size={size},read-zeroes=on",
                               "-device", f"nvme,bus={port},drive=disk{self.buses},serial={self.buses}"]
        else:
            self.arguments += ["-device", f"{model},bus={port}"]
        self.modules.append(module)
