#!/usr/bin/env python3
"""Runs other people's NVML clients against fake-nvml and compares what they say with the scenario.

    check.py --library target/debug/libnvidia_ml.so --work target/nvml-clients

Makes a virtual environment in the work directory, installs the pinned clients, writes a scenario with
the pids of real (sleeping) processes, prints every difference and ends with code 1 if there is one. The
clients are nvidia-ml-py, gpustat and nvitop, and go-nvml where there are Go and a C compiler.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
GIB = 1 << 30

H100 = "NVIDIA H100 80GB HBM3"
A100 = "NVIDIA A100-SXM4-80GB"
RTX = "NVIDIA GeForce RTX 4090"


def scenario(pids):
    """Four GPUs: a busy one, one with MIG, an idle old one, one with a fan and a graphics process."""
    return {
        "node": "clients",
        "driver": {"version": "580.95.05", "cuda": "13.0"},
        "started_at_unix_seconds": time.time() - 1000,
        "gpus": [
            {
                "model": H100,
                "uuid": "GPU-11111111-2222-3333-4444-555555555555",
                "serial": "1650000000001",
                "pci_bus_id": "00000000:1B:00.0",
                "readings": {
                    "utilization_percent": 73,
                    "memory_utilization_percent": 41,
                    "power_watts": 512.25,
                    "temperature_celsius": 64,
                    "memory_temperature_celsius": 71,
                    "encoder_percent": 3,
                    "decoder_percent": 9,
                    "sm_clock_mhz": 1755,
                    "pcie_rx_bytes_per_second": 1024 * 1024 * 1000,
                    "nvlink_tx_bytes_per_second": 18 * 1024 * 1000,
                },
                "activity": {"tensor_percent": 37, "dram_percent": 52},
                "ecc": {"corrected_volatile": 5, "uncorrected_volatile": 2, "remapped_rows_corrected": 1},
                "throttle": [{"reason": "sw_power_cap", "from_seconds": 10, "until_seconds": 12}],
                "processes": [
                    {"pid": pids[0], "memory_bytes": 30 * GIB, "sm_percent": 60, "memory_percent": 35},
                    {"pid": pids[1], "memory_bytes": 2 * GIB},
                ],
            },
            {
                "model": A100,
                "uuid": "GPU-66666666-7777-8888-9999-000000000000",
                "readings": {"power_watts": 201, "temperature_celsius": 48},
                "mig": {
                    "instances": [
                        {
                            "profile": "3g.40gb",
                            "uuid": "MIG-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
                            "activity": {"sm_percent": 80},
                            "processes": [{"pid": pids[2], "memory_bytes": 12 * GIB}],
                        },
                        {"profile": "2g.20gb", "memory_used_bytes": 1 * GIB},
                        {"profile": "1g.10gb"},
                    ]
                },
            },
            {"model": "Tesla T4"},
            {
                "model": RTX,
                "readings": {
                    "utilization_percent": 8,
                    "fan_percent": 44,
                    "power_watts": 95,
                    "temperature_celsius": 51,
                    "performance_state": 2,
                },
                "processes": [{"pid": pids[3], "kind": "graphics", "memory_bytes": 512 * MIB, "sm_percent": 8}],
            },
        ],
    }


class Differences:
    """What was compared, and what differed."""

    def __init__(self, client):
        self.client = client
        self.compared = 0
        self.found = []

    def same(self, what, seen, expected):
        self.compared += 1
        if seen != expected:
            self.found.append(f"{what}: {seen!r}, the scenario says {expected!r}")

    def near(self, what, seen, expected, within):
        self.compared += 1
        if abs(seen - expected) > within:
            self.found.append(f"{what}: {seen!r}, the scenario says {expected!r} (within {within})")

    def holds(self, what, true):
        self.compared += 1
        if not true:
            self.found.append(what)

    def report(self):
        for difference in self.found:
            print(f"{self.client}: {difference}", file=sys.stderr)
        print(f"{self.client}: {self.compared} values compared, {len(self.found)} differ")
        return not self.found


def check_ml_py(machine, pids):
    """nvidia-ml-py: each of its functions, and the values of those that a scenario sets."""
    import pynvml as n

    check = Differences("nvidia-ml-py")

    def refused(what, error, function, *arguments):
        check.compared += 1
        try:
            check.found.append(f"{what}: {function(*arguments)!r}, expected {error.__name__}")
        except error:
            pass

    refused("before init", n.NVMLError_Uninitialized, n.nvmlDeviceGetCount)
    n.nvmlInit()
    check.same("driver", n.nvmlSystemGetDriverVersion(), machine["driver"]["version"])
    check.same("NVML", n.nvmlSystemGetNVMLVersion(), "13." + machine["driver"]["version"])
    check.same("CUDA", n.nvmlSystemGetCudaDriverVersion(), 13000)
    check.same("CUDA v2", n.nvmlSystemGetCudaDriverVersion_v2(), 13000)
    check.same("count", n.nvmlDeviceGetCount(), len(machine["gpus"]))
    handles = [n.nvmlDeviceGetHandleByIndex(index) for index in range(len(machine["gpus"]))]
    for index, (handle, gpu) in enumerate(zip(handles, machine["gpus"])):
        check.same(f"{index} name", n.nvmlDeviceGetName(handle), gpu["model"])
        check.same(f"{index} index", n.nvmlDeviceGetIndex(handle), index)
        check.same(f"{index} minor", n.nvmlDeviceGetMinorNumber(handle), index)
        uuid = n.nvmlDeviceGetUUID(handle)
        check.same(f"{index} UUID", uuid, gpu.get("uuid", uuid))
        for what, other in [
            ("UUID", n.nvmlDeviceGetHandleByUUID(uuid)),
            ("PCI bus id", n.nvmlDeviceGetHandleByPciBusId(n.nvmlDeviceGetPciInfo(handle).busId)),
        ]:
            check.same(f"{index} by {what}", n.nvmlDeviceGetIndex(other), index)
        sweep(n, check, f"GPU {index}", handle)

    h100, a100, t4, rtx = handles
    # The H100.
    given = machine["gpus"][0]
    readings = given["readings"]
    check.same("serial", n.nvmlDeviceGetSerial(h100), given["serial"])
    check.same("PCI", n.nvmlDeviceGetPciInfo(h100).busId, given["pci_bus_id"])
    rates = n.nvmlDeviceGetUtilizationRates(h100)
    check.same("utilisation", (rates.gpu, rates.memory), (73, 41))
    check.same("encoder", n.nvmlDeviceGetEncoderUtilization(h100)[0], 3)
    check.same("decoder", n.nvmlDeviceGetDecoderUtilization(h100)[0], 9)
    check.same("power", n.nvmlDeviceGetPowerUsage(h100), 512250)
    check.same("limit", n.nvmlDeviceGetEnforcedPowerLimit(h100), 700000)
    check.same("limits", n.nvmlDeviceGetPowerManagementLimitConstraints(h100), [200000, 700000])
    elapsed = time.time() - machine["started_at_unix_seconds"]
    check.near("energy", n.nvmlDeviceGetTotalEnergyConsumption(h100), 512250 * elapsed, 512250)
    check.same("temperature", n.nvmlDeviceGetTemperature(h100, n.NVML_TEMPERATURE_GPU), 64)
    check.same("temperature V", n.nvmlDeviceGetTemperatureV(h100, n.NVML_TEMPERATURE_GPU), 64)
    check.same("SM clock", n.nvmlDeviceGetClockInfo(h100, n.NVML_CLOCK_SM), 1755)
    check.same("max SM clock", n.nvmlDeviceGetMaxClockInfo(h100, n.NVML_CLOCK_SM), 1980)
    check.same("memory clock", n.nvmlDeviceGetClockInfo(h100, n.NVML_CLOCK_MEM), 2619)
    check.same("architecture", n.nvmlDeviceGetArchitecture(h100), n.NVML_DEVICE_ARCH_HOPPER)
    check.same("capability", n.nvmlDeviceGetCudaComputeCapability(h100), (9, 0))
    check.same("PCIe", (n.nvmlDeviceGetMaxPcieLinkGeneration(h100), n.nvmlDeviceGetCurrPcieLinkWidth(h100)), (5, 16))
    check.same("PCIe KiB/s", n.nvmlDeviceGetPcieThroughput(h100, n.NVML_PCIE_UTIL_RX_BYTES), 1024 * 1000)
    check.same("NVLink 17", n.nvmlDeviceGetNvLinkState(h100, 17), 1)
    refused("NVLink 18", n.NVMLError_InvalidArgument, n.nvmlDeviceGetNvLinkState, h100, 18)
    refused("fan", n.NVMLError_NotSupported, n.nvmlDeviceGetFanSpeed, h100)
    errors = [n.nvmlDeviceGetTotalEccErrors(h100, kind, n.NVML_VOLATILE_ECC) for kind in (0, 1)]
    check.same("ECC", errors, [5, 2])
    check.same("remapped rows", n.nvmlDeviceGetRemappedRows(h100)[0], 1)
    check.same("idle reasons", n.nvmlDeviceGetCurrentClocksEventReasons(h100), 0)
    memory = n.nvmlDeviceGetMemoryInfo(h100, version=n.nvmlMemory_v2)
    check.same("memory", (memory.total, memory.used), (81559 * MIB, 32 * GIB))
    check.same("memory sum", memory.reserved + memory.used + memory.free, memory.total)
    check.same("memory v1", n.nvmlDeviceGetMemoryInfo(h100).used, memory.used + memory.reserved)
    running = [(one.pid, one.usedGpuMemory) for one in n.nvmlDeviceGetComputeRunningProcesses(h100)]
    check.same("processes", running, [(pids[0], 30 * GIB), (pids[1], 2 * GIB)])
    busy = [(one.pid, one.smUtil, one.memUtil) for one in n.nvmlDeviceGetProcessUtilization(h100, 0)]
    check.same("busy processes", busy, [(pids[0], 60, 35)])
    info = [(one.pid, one.smUtil) for one in n.nvmlDeviceGetProcessesUtilizationInfo(h100, 0)]
    check.same("busy processes, new call", info, [(pids[0], 60)])
    refused("newer than now", n.NVMLError_NotFound, n.nvmlDeviceGetProcessUtilization, h100, 2**63)
    kind, samples = n.nvmlDeviceGetSamples(h100, n.NVML_GPU_UTILIZATION_SAMPLES, 0)
    check.same("sample type", kind, n.NVML_VALUE_TYPE_UNSIGNED_INT)
    check.same("samples", {sample.sampleValue.uiVal for sample in samples}, {73})
    fields = n.nvmlDeviceGetFieldValues(
        h100,
        [
            n.NVML_FI_DEV_MEMORY_TEMP,
            n.NVML_FI_DEV_POWER_INSTANT,
            n.NVML_FI_DEV_NVLINK_LINK_COUNT,
            n.NVML_FI_DEV_PERF_POLICY_POWER,
            n.NVML_FI_DEV_PCIE_COUNT_RX_BYTES,
            (n.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, 3),
            (n.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, 18),
            9999,
        ],
    )
    check.same("field codes", [field.nvmlReturn for field in fields], [0] * 6 + [2, 3])
    check.same("field values", [field.value.uiVal for field in fields[:3]], [71, 512250, 18])
    check.near("power cap", fields[3].value.ullVal, 2e9, 1e6)
    elapsed = time.time() - machine["started_at_unix_seconds"]
    check.near("PCIe bytes", fields[4].value.ullVal / readings["pcie_rx_bytes_per_second"], elapsed, 1)
    check.near("NVLink KiB of a link", fields[5].value.ullVal / 1000, elapsed, 1)
    check_gpm(n, check, h100)

    # The A100 with MIG.
    check.same("MIG mode", n.nvmlDeviceGetMigMode(a100), [1, 1])
    check.same("MIG mode of the H100", n.nvmlDeviceGetMigMode(h100), [0, 0])
    refused("MIG mode of a T4", n.NVMLError_NotSupported, n.nvmlDeviceGetMigMode, t4)
    refused("utilisation with MIG", n.NVMLError_NotSupported, n.nvmlDeviceGetUtilizationRates, a100)
    check.same("power with MIG", n.nvmlDeviceGetPowerUsage(a100), 201000)
    check.same("most MIG devices", n.nvmlDeviceGetMaxMigDeviceCount(a100), 7)
    migs = []
    for index in range(7):
        try:
            migs.append(n.nvmlDeviceGetMigDeviceHandleByIndex(a100, index))
        except n.NVMLError_NotFound:
            pass
    names = [n.nvmlDeviceGetName(mig) for mig in migs]
    check.same("MIG names", names, [f"{A100} MIG {profile}" for profile in ("3g.40gb", "2g.20gb", "1g.10gb")])
    check.same("MIG UUID", n.nvmlDeviceGetUUID(migs[0]), "MIG-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
    used = [n.nvmlDeviceGetMemoryInfo(mig).used for mig in migs]
    check.same("MIG memory", used, [12 * GIB, 1 * GIB, 0])
    parents = [n.nvmlDeviceGetIndex(n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig)) for mig in migs]
    check.same("MIG parents", parents, [1, 1, 1])
    check.same("is MIG", [n.nvmlDeviceIsMigDeviceHandle(handle).value for handle in (migs[0], a100)], [1, 0])
    check.same("MIG attributes", n.nvmlDeviceGetAttributes(migs[0]).multiprocessorCount, 42)
    places = [(n.nvmlDeviceGetGpuInstanceId(mig), n.nvmlDeviceGetComputeInstanceId(mig)) for mig in migs]
    check.same("MIG ids", places, [(1, 0), (3, 0), (7, 0)])
    running = n.nvmlDeviceGetComputeRunningProcesses(migs[0])
    running = [(one.pid, one.usedGpuMemory, one.gpuInstanceId, one.computeInstanceId) for one in running]
    check.same("MIG processes", running, [(pids[2], 12 * GIB, 1, 0)])
    instance = n.nvmlGpuInstanceGetInfo(n.nvmlDeviceGetGpuInstanceById(a100, 1))
    check.same("MIG place", (instance.profileId, instance.placement.start, instance.placement.size), (9, 4, 4))
    for index, mig in enumerate(migs):
        sweep(n, check, f"MIG device {index}", mig)

    # The others.
    check.same("fan", n.nvmlDeviceGetFanSpeed(rtx), 44)
    check.same("fans", n.nvmlDeviceGetNumFans(rtx), 2)
    check.same("state", n.nvmlDeviceGetPerformanceState(rtx), 2)
    refused("ECC of a 4090", n.NVMLError_NotSupported, n.nvmlDeviceGetEccMode, rtx)
    graphics = [(one.pid, one.usedGpuMemory) for one in n.nvmlDeviceGetGraphicsRunningProcesses(rtx)]
    check.same("graphics", graphics, [(pids[3], 512 * MIB)])
    check.same("no compute", n.nvmlDeviceGetComputeRunningProcesses(rtx), [])
    refused("nothing ran", n.NVMLError_NotFound, n.nvmlDeviceGetProcessUtilization, t4, 0)
    n.nvmlShutdown()
    return check.report()


def check_gpm(n, check, handle):
    """GPM metrics from two samples."""
    check.same("GPM", n.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice, 1)
    samples = [n.nvmlGpmSampleAlloc(), n.nvmlGpmSampleAlloc()]
    n.nvmlGpmSampleGet(handle, samples[0])
    time.sleep(0.15)
    n.nvmlGpmSampleGet(handle, samples[1])
    wanted = {
        n.NVML_GPM_METRIC_SM_UTIL: 73,
        n.NVML_GPM_METRIC_ANY_TENSOR_UTIL: 37,
        n.NVML_GPM_METRIC_DRAM_BW_UTIL: 52,
        n.NVML_GPM_METRIC_PCIE_RX_PER_SEC: 1000,
    }
    request = n.c_nvmlGpmMetricsGet_t()
    request.version = n.NVML_GPM_METRICS_GET_VERSION
    request.numMetrics = len(wanted)
    request.sample1, request.sample2 = samples
    for index, metric in enumerate(wanted):
        request.metrics[index].metricId = metric
    n.nvmlGpmMetricsGet(request)
    for index, (metric, value) in enumerate(wanted.items()):
        check.same(f"GPM code {metric}", request.metrics[index].nvmlReturn, 0)
        check.near(f"GPM metric {metric}", request.metrics[index].value, value, 0.01)
    for sample in samples:
        n.nvmlGpmSampleFree(sample)


# Functions of nvidia-ml-py that read, and take a device alone, end in an answer or a refusal that says why.
UNWELCOME = ("FunctionNotFound", "Unknown", "ArgumentVersionMismatch", "InsufficientSize", "Uninitialized")


def sweep(n, check, what, handle):
    """Calls every function that takes only a device."""
    import inspect

    for name, function in sorted(vars(n).items()):
        if not re.match(r"nvmlDevice(Get|Is|Query)", name) or not inspect.isfunction(function):
            continue
        needed = [one for one in inspect.signature(function).parameters.values() if one.default is one.empty]
        if len(needed) != 1 or needed[0].name not in ("handle", "device"):
            continue
        check.compared += 1
        try:
            function(handle)
        except n.NVMLError as error:
            if any(type(error).__name__.endswith(unwelcome) for unwelcome in UNWELCOME):
                check.found.append(f"{name} of {what}: {type(error).__name__}")


def check_gpustat(run, machine, pids):
    """gpustat, as JSON and as text."""
    check = Differences("gpustat")
    seen = json.loads(run("gpustat", "--json"))
    check.same("driver", seen["driver_version"], machine["driver"]["version"])
    check.same("GPUs", [gpu["name"] for gpu in seen["gpus"]], [gpu["model"] for gpu in machine["gpus"]])
    expected = {
        "utilization.gpu": [73, None, 0, 8],
        "utilization.enc": [3, None, 0, 0],
        "utilization.dec": [9, None, 0, 0],
        "temperature.gpu": [64, 48, None, 51],
        "fan.speed": [None, None, None, 44],
        "power.draw": [512, 201, None, 95],
        "enforced.power.limit": [700, 400, 70, 450],
        "memory.used": [32 * 1024, 13 * 1024, 0, 512],
        "memory.total": [81559, 81920, 15360, 24564],
    }
    for key, values in expected.items():
        for index, value in enumerate(values):
            # What the scenario leaves to be derived is not compared here.
            if value is not None or key.startswith(("utilization", "fan")):
                check.same(f"{index} {key}", seen["gpus"][index][key], value)
    running = [[(one["pid"], one["gpu_memory_usage"]) for one in gpu["processes"]] for gpu in seen["gpus"]]
    wanted = [[(pids[0], 30 * 1024), (pids[1], 2 * 1024)], [(pids[2], 12 * 1024)], [], [(pids[3], 512)]]
    check.same("processes", running, wanted)
    text = run("gpustat", "--no-color", "--show-pid", "--show-power").splitlines()
    for index, parts in enumerate([
        [H100, "64°C", "73 %", "512 / 700 W", "32768 / 81559 MB", f"/{pids[0]}(30720M)", f"/{pids[1]}(2048M)"],
        [A100, "48°C", "?? %", "201 / 400 W", "13312 / 81920 MB", f"/{pids[2]}(12288M)"],
        ["Tesla T4", "0 %", "0 / 15360 MB"],
        [RTX, "51°C", "8 %", "95 / 450 W", "512 / 24564 MB", f"/{pids[3]}(512M)"],
    ]):
        line = next((line for line in text if line.startswith(f"[{index}]")), "")
        for part in parts:
            check.holds(f"no `{part}` in `{line}`", part in line)
    return check.report()


def check_nvitop(run, machine, pids):
    """nvitop's one-shot view."""
    check = Differences("nvitop")
    text = run("nvitop", "-1", "--no-unicode")
    flat = re.sub(r"[ \t]+", " ", text)
    for part in [
        "Driver Version: " + machine["driver"]["version"],
        "CUDA Driver Version: 13.0",
        # Name, persistence, bus id, display, MIG, uncorrected ECC errors; then the readings.
        "0 H100 80GB HBM3 On | 00000000:1B:00.0 Off | Disabled 2 |",
        "| N/A 64C P0 512W / 700W | 32.00GiB / 79.65GiB | 73% Default |",
        "1 A100-SXM4-80GB On | 00000000:43:00.0 Off | Enabled 0 |",
        "| N/A 48C P0 201W / 400W | 13312MiB / 80.00GiB | N/A Default |",
        "| 1:0 3g.40gb @ GI/CI: 1/0 | 12288MiB / 39.69GiB |",
        "| 1:1 2g.20gb @ GI/CI: 3/0 | 1024MiB / 20288MiB |",
        "| 1:2 1g.10gb @ GI/CI: 7/0 | 0B / 10112MiB |",
        "2 Tesla T4 On | 00000000:52:00.0 Off | N/A 0 |",
        "3 GeForce RTX 4090 On | 00000000:61:00.0 Off | N/A N/A |",
        "| 44% 51C P2 95W / 450W | 512.0MiB / 23.99GiB | 8% Default |",
    ]:
        check.holds(f"no `{part}`", part in flat)
    # GPU, pid, kind, user, memory, SM and memory shares.
    for device, pid, kind, memory, shares in [
        ("0", pids[0], "C", "30.00GiB", "60 35"),
        ("0", pids[1], "C", "2048MiB", "0 0"),
        # Processes of a MIG device have no utilisation: nvitop prints 0.
        ("1:0", pids[2], "C", "12288MiB", "0 0"),
        ("3", pids[3], "G", "512.0MiB", "8 0"),
    ]:
        pattern = rf"\| {device} {pid} {kind} \S+ {re.escape(memory)} {shares} "
        check.holds(f"no process `{pattern}`", re.search(pattern, flat))
    if check.found:
        print(text, file=sys.stderr)
    return check.report()


def check_go(run, machine, pids):
    """go-nvml."""
    check = Differences("go-nvml")
    seen = json.loads(run("go-nvml"))
    check.same("GPUs", [gpu["name"] for gpu in seen], [gpu["model"] for gpu in machine["gpus"]])
    check.same("UUIDs", [gpu["uuid"] for gpu in seen[:2]], [gpu["uuid"] for gpu in machine["gpus"][:2]])
    check.same("PCI", seen[0]["bus_id"], machine["gpus"][0]["pci_bus_id"])
    check.same("utilisation", [gpu["busy"] for gpu in seen], [73, None, 0, 8])
    check.same("power", [seen[index]["power"] for index in (0, 1, 3)], [512250, 201000, 95000])
    check.same("memory", [gpu["used"] for gpu in seen], [32 * GIB, 13 * GIB, 0, 512 * MIB])
    check.same("processes", [gpu["pids"] for gpu in seen], [pids[:2], [pids[2]], [], []])
    migs = [(mig["name"].split()[-1], mig["used"], mig["pids"], mig["busy"]) for mig in seen[1]["mig"]]
    wanted = [("3g.40gb", 12 * GIB, [pids[2]], None), ("2g.20gb", GIB, [], None), ("1g.10gb", 0, [], None)]
    check.same("MIG devices", migs, wanted)
    check.same("no MIG devices", [len(seen[index]["mig"]) for index in (0, 2, 3)], [0, 0, 0])
    check.near("GPM SM", seen[0]["metrics"]["sm"], 73, 0.01)
    check.near("GPM DRAM", seen[0]["metrics"]["dram"], 52, 0.01)
    check.same("no GPM", [seen[index]["metrics"] for index in (1, 2, 3)], [None] * 3)
    return check.report()


def build_go(work):
    """The client in Go; `None` where there is no Go or no C compiler."""
    if not shutil.which("go") or not (shutil.which("gcc") or shutil.which("cc")):
        print("go-nvml: not run, there is no Go or no C compiler")
        return None
    client = work / "go-nvml"
    # go-nvml wraps every function, deprecated ones too.
    quiet = os.environ | {"CGO_ENABLED": "1", "CGO_CFLAGS": "-O1 -Wno-deprecated-declarations"}
    subprocess.run(["go", "build", "-o", client, "."], cwd=HERE / "go", env=quiet, check=True)
    return client


def environment(work):
    """The virtual environment with the pinned clients; made anew when the pins change."""
    home = work / "venv"
    pins = (HERE / "requirements.txt").read_text()
    stamp = home / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != pins:
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
        stamp.write_text(pins)
    return home / "bin"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--library", type=pathlib.Path, help="the built libnvidia_ml.so")
    arguments.add_argument("--work", type=pathlib.Path, help="a directory to work in, such as target/nvml-clients")
    arguments.add_argument("--inside", type=pathlib.Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.inside:
        told = json.loads(given.inside.read_text())
        return 0 if check_ml_py(told["scenario"], told["pids"]) else 1
    if not given.library or not given.work:
        arguments.error("--library and --work are needed")

    work = given.work.resolve()
    libraries = work / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    programs = environment(work)
    go_client = build_go(work)
    fresh = libraries / ".libnvidia-ml.so.1"
    shutil.copyfile(given.library, fresh)
    fresh.rename(libraries / "libnvidia-ml.so.1")
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(4)]
    try:
        pids = [sleeper.pid for sleeper in sleepers]
        machine = scenario(pids)
        (libraries / "scenario.json").write_text(json.dumps(machine, indent=2))
        told = work / "told.json"
        told.write_text(json.dumps({"scenario": machine, "pids": pids}))
        variables = {name: value for name, value in os.environ.items() if name != "RHEOSTAT_NVML_SCENARIO"}
        variables |= {"LD_LIBRARY_PATH": str(libraries), "LC_ALL": "C.UTF-8", "TERM": "xterm", "COLUMNS": "140"}

        def run(program, *parameters):
            command = [go_client if program == "go-nvml" else programs / program, *parameters]
            done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
            if done.returncode != 0 or "Traceback" in done.stderr:
                raise SystemExit(f"{program} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
            return done.stdout

        inside = [programs / "python", __file__, "--inside", told]
        outcomes = [
            subprocess.run(inside, env=variables, timeout=120).returncode == 0,
            check_gpustat(run, machine, pids),
            check_nvitop(run, machine, pids),
        ]
        if go_client:
            outcomes.append(check_go(run, machine, pids))
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
