package main

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

// flood is how much an exporter that floods says: far more than any exporter has to say.
const flood = 200 << 20

// exporter is the DCGM exporter of the node that a request is meant for.
type exporter struct {
	artefacts artefacts
	nodeOf    func(*http.Request) string

	mutex  sync.Mutex
	failed map[string]time.Time // when the behaviour was written that a node has failed once for
}

func (e *exporter) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	node := e.nodeOf(request)
	if request.URL.Path == "/health" {
		_, _ = w.Write([]byte("KO"))
		return
	}
	if request.URL.Path != "/metrics" {
		http.NotFound(w, request)
		return
	}
	content, exists := e.artefacts.read(node, "dcgm.prom")
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	behaves := e.artefacts.behaviour(node)
	// A connection that was kept open may be older than this behaviour, by which it would not have come about.
	if (behaves.Exporter == "tls" && request.TLS == nil) || (behaves.Exporter == "" && !exists) {
		panic(http.ErrAbortHandler)
	}
	switch behaves.Exporter {
	case "hang", "blackhole":
		<-request.Context().Done()
	case "refuse":
		panic(http.ErrAbortHandler)
	case "http500":
		http.Error(w, "internal server error", http.StatusInternalServerError)
	case "flaky":
		if e.first(node, behaves.written) {
			http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(content)
	case "flood":
		writeFlood(w)
	case "slow":
		writeSlowly(w, request, content)
	case "drop":
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(content[:min(len(content), 1000)])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		_, _ = w.Write(content)
	}
}

// first is true for a node's first request since its behaviour was written.
func (e *exporter) first(node string, written time.Time) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.failed == nil {
		e.failed = map[string]time.Time{}
	}
	before, known := e.failed[node]
	e.failed[node] = written
	return !known || !before.Equal(written)
}

func writeFlood(w http.ResponseWriter) {
	chunk := bytes.Repeat([]byte("DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-0\"} 34\n"), 2000)
	for written := 0; written < flood; written += len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// writeSlowly never ends a line in less than a second, but never pauses for longer either.
func writeSlowly(w http.ResponseWriter, request *http.Request, content []byte) {
	for line := range bytes.Lines(content) {
		if _, err := w.Write(line); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(time.Second):
		case <-request.Context().Done():
			return
		}
	}
}
