package catalog

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// thisProcess is the Owner that this process is.
func thisProcess() Owner {
	host, _ := os.Hostname()                     // only informs, unless Space is known
	space, _ := os.Readlink("/proc/self/ns/pid") // without it nothing is known of other processes
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if space != "" {
		space += " " + strings.TrimSpace(string(boot))
	}
	return Owner{Host: host, Space: space, PID: os.Getpid(), Process: processOf(os.Getpid()), Since: time.Now().UTC().Truncate(time.Second)}
}

// processOf is the time at which a process began, in the kernel's count; empty
// if there is none.
func processOf(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The name, in brackets, may hold anything; state is the next, and the
	// time of the start the 20th.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}
