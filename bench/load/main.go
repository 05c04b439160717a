// Command load puts load on a registry and prints what came of it. It takes one job as JSON on standard input and gives
// one result as JSON on standard output. It speaks HTTP/1.1 by itself, over as many connections as the job says, each
// with one request at a time: a general client costs more than the servers that are measured. Bodies that it is sent are
// thrown away by the kernel (MSG_TRUNC), and what it sends was made and hashed before the clock starts.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type job struct {
	Address     string            `json:"address"`
	Connections int               `json:"connections"`
	Seconds     float64           `json:"seconds"`
	Scenario    string            `json:"scenario"` // "request", "put", "chunked", "push"
	Method      string            `json:"method"`
	Path        string            `json:"path"`
	Headers     map[string]string `json:"headers"`
	Repository  string            `json:"repository"`
	SizeBytes   int               `json:"sizeBytes"`
	ChunkBytes  int               `json:"chunkBytes"`
	Most        int               `json:"most"` // operations; what is pushed has to be made beforehand
	Seed        uint64            `json:"seed"` // no two runs push the same content
}

type result struct {
	Operations int     `json:"operations"`
	Seconds    float64 `json:"seconds"`
	P50Ms      float64 `json:"p50Ms"`
	P99Ms      float64 `json:"p99Ms"`
	CPUSeconds float64 `json:"cpuSeconds"` // of this program, while the clock ran
}

func main() {
	var asked job
	err := json.NewDecoder(os.Stdin).Decode(&asked)
	if err == nil {
		var done result
		if done, err = run(asked); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(done)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run drives every connection until the time is up or `most` operations were begun. The first failure ends it: figures of a
// server that refuses are worth nothing.
func run(asked job) (result, error) {
	operation, err := prepare(asked)
	if err != nil {
		return result{}, err
	}
	connections := make([]*connection, asked.Connections)
	for i := range connections {
		if connections[i], err = dial(asked.Address); err != nil {
			return result{}, err
		}
		defer connections[i].close()
	}

	var begun atomic.Int64
	var failure atomic.Pointer[error]
	taken := make([][]time.Duration, asked.Connections)
	cpuBefore := cpuSeconds()
	start := time.Now()
	deadline := start.Add(time.Duration(asked.Seconds * float64(time.Second)))
	var workers sync.WaitGroup
	for i, conn := range connections {
		workers.Go(func() {
			for failure.Load() == nil && time.Now().Before(deadline) {
				index := int(begun.Add(1)) - 1
				if asked.Most > 0 && index >= asked.Most {
					return
				}
				began := time.Now()
				if err := operation(conn, index); err != nil {
					failure.CompareAndSwap(nil, &err)
					return
				}
				taken[i] = append(taken[i], time.Since(began))
			}
		})
	}
	workers.Wait()
	elapsed := time.Since(start)
	if err := failure.Load(); err != nil {
		return result{}, *err
	}
	all := slices.Concat(taken...)
	slices.Sort(all)
	return result{
		Operations: len(all),
		Seconds:    elapsed.Seconds(),
		P50Ms:      rank(all, 50),
		P99Ms:      rank(all, 99),
		CPUSeconds: cpuSeconds() - cpuBefore,
	}, nil
}

// rank is the percentile by nearest rank.
func rank(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)*percent+99)/100-1].Microseconds()) / 1000
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
