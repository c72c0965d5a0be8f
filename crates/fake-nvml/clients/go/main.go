// Prints as JSON what go-nvml reads of every GPU.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

type device struct {
	Name    string             `json:"name"`
	UUID    string             `json:"uuid"`
	BusID   string             `json:"bus_id"`
	Power   uint32             `json:"power"`
	Busy    *uint32            `json:"busy"`
	Used    uint64             `json:"used"`
	Pids    []uint32           `json:"pids"`
	Mig     []device           `json:"mig"`
	Metrics map[string]float64 `json:"metrics"`
}

func must(what string, code nvml.Return) {
	if code != nvml.SUCCESS {
		fmt.Fprintf(os.Stderr, "%s: %s\n", what, nvml.ErrorString(code))
		os.Exit(1)
	}
}

func text(bytes []int8) string {
	var out []byte
	for _, b := range bytes {
		if b == 0 {
			break
		}
		out = append(out, byte(b))
	}
	return string(out)
}

// What a GPU and a MIG device both have.
func common(handle nvml.Device) device {
	var read device
	var code nvml.Return
	read.Name, code = handle.GetName()
	must("name", code)
	read.UUID, code = handle.GetUUID()
	must("UUID", code)
	memory, code := handle.GetMemoryInfo_v2()
	must("memory", code)
	read.Used = memory.Used
	running, code := handle.GetComputeRunningProcesses()
	must("processes", code)
	read.Pids = []uint32{}
	for _, process := range running {
		read.Pids = append(read.Pids, process.Pid)
	}
	if rates, code := handle.GetUtilizationRates(); code == nvml.SUCCESS {
		read.Busy = &rates.Gpu
	} else if code != nvml.ERROR_NOT_SUPPORTED {
		must("utilisation", code)
	}
	read.Mig = []device{}
	return read
}

func gpm(handle nvml.Device) map[string]float64 {
	support, code := handle.GpmQueryDeviceSupport()
	must("GPM support", code)
	if support.IsSupportedDevice == 0 {
		return nil
	}
	var samples [2]nvml.GpmSample
	for index := range samples {
		samples[index], code = nvml.GpmSampleAlloc()
		must("sample", code)
		defer samples[index].Free()
		must("sampling", handle.GpmSampleGet(samples[index]))
		time.Sleep(150 * time.Millisecond)
	}
	request := nvml.GpmMetricsGetType{NumMetrics: 2, Sample1: samples[0], Sample2: samples[1]}
	request.Metrics[0].MetricId = uint32(nvml.GPM_METRIC_SM_UTIL)
	request.Metrics[1].MetricId = uint32(nvml.GPM_METRIC_DRAM_BW_UTIL)
	must("metrics", nvml.GpmMetricsGet(&request))
	return map[string]float64{"sm": request.Metrics[0].Value, "dram": request.Metrics[1].Value}
}

func main() {
	must("init", nvml.Init())
	defer nvml.Shutdown()
	count, code := nvml.DeviceGetCount()
	must("count", code)
	devices := []device{}
	for index := 0; index < count; index++ {
		handle, code := nvml.DeviceGetHandleByIndex(index)
		must("handle", code)
		read := common(handle)
		pci, code := handle.GetPciInfo()
		must("PCI", code)
		read.BusID = text(pci.BusId[:])
		read.Power, code = handle.GetPowerUsage()
		must("power", code)
		slots, code := handle.GetMaxMigDeviceCount()
		must("MIG slots", code)
		for slot := 0; slot < slots; slot++ {
			mig, code := handle.GetMigDeviceHandleByIndex(slot)
			if code == nvml.ERROR_NOT_FOUND {
				continue
			}
			must("MIG handle", code)
			read.Mig = append(read.Mig, common(mig))
		}
		read.Metrics = gpm(handle)
		devices = append(devices, read)
	}
	if err := json.NewEncoder(os.Stdout).Encode(devices); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
