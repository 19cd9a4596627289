package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	remotecommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

const streamIdle = 10 * time.Minute

// kubelet is the kubelet of the node that a request is meant for.
type kubelet struct {
	cluster   *cluster
	artefacts artefacts
}

func newKubelet(cluster *cluster, artefacts artefacts) http.Handler {
	k := &kubelet{cluster: cluster, artefacts: artefacts}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	mux.HandleFunc("/exec/{namespace}/{pod}/{uid}/{container}", k.exec)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.logs)
	mux.HandleFunc("GET /logs/{file...}", k.file)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		// A connection that the API server kept open outlives a kubelet that now refuses new ones.
		switch artefacts.behaviour(nodeOf(request)).Kubelet {
		case "refuse":
			panic(http.ErrAbortHandler)
		case "hang", "blackhole":
			<-request.Context().Done()
		case "http500":
			http.Error(w, "internal server error", http.StatusInternalServerError)
		default:
			mux.ServeHTTP(w, request)
		}
	})
}

// pod is the pod that a request names, or nil after the error was written that a kubelet gives in its place.
func (k *kubelet) pod(w http.ResponseWriter, request *http.Request) *corev1.Pod {
	namespace, name := request.PathValue("namespace"), request.PathValue("pod")
	pod, err := k.cluster.pod(request.Context(), namespace, name)
	if err != nil || pod.Spec.NodeName != nodeOf(request) {
		http.Error(w, fmt.Sprintf("pod %q does not exist", name), http.StatusNotFound)
		return nil
	}
	return pod
}

func (k *kubelet) exec(w http.ResponseWriter, request *http.Request) {
	pod := k.pod(w, request)
	if pod == nil {
		return
	}
	container := request.PathValue("container")
	if pod.Status.Phase != corev1.PodRunning {
		http.Error(w, fmt.Sprintf("container not found (%q)", container), http.StatusNotFound)
		return
	}
	node := nodeOf(request)
	behaves := k.artefacts.behaviour(node).Exec
	switch behaves {
	case "refuse":
		panic(http.ErrAbortHandler)
	case "http500":
		http.Error(w, "internal server error", http.StatusInternalServerError)
		return
	}
	options, err := remotecommand.NewOptions(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(
		w, request, command{artefacts: k.artefacts, node: node, behaves: behaves}, pod.Name, "", container,
		request.URL.Query()["command"], options, streamIdle, remotecommand.DefaultStreamCreationTimeout,
		remotecommand.SupportedStreamingProtocols,
	)
}

func (k *kubelet) logs(w http.ResponseWriter, request *http.Request) {
	pod := k.pod(w, request)
	if pod == nil {
		return
	}
	node, container := nodeOf(request), request.PathValue("container")
	if pod.Status.Phase == corev1.PodPending {
		text := fmt.Sprintf("container %q in pod %q is waiting to start: ContainerCreating", container, pod.Name)
		http.Error(w, text, http.StatusBadRequest)
		return
	}
	content, _ := k.artefacts.read(
		node, "logs/"+container+".log", "workloads/"+container+".log", "pod.log", "nvidia-smi.xml",
	)
	w.Header().Set("Content-Type", "text/plain")
	switch k.artefacts.behaviour(node).Logs {
	case "hang":
		<-request.Context().Done()
	case "refuse":
		panic(http.ErrAbortHandler)
	case "http500":
		http.Error(w, "internal server error", http.StatusInternalServerError)
	case "drop":
		_, _ = w.Write(content[:len(content)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "endless":
		writeEndlessly(w, request)
	case "flood":
		writeFlood(w)
	default:
		_, _ = w.Write(asked(content, request))
	}
}

// asked is what a request wants of a log: its last lines, and of these the first bytes.
func asked(content []byte, request *http.Request) []byte {
	query := request.URL.Query()
	if lines, err := strconv.Atoi(query.Get("tailLines")); err == nil {
		all := bytes.SplitAfter(content, []byte("\n"))
		if last := len(all) - 1; len(all[last]) == 0 {
			all = all[:last]
		}
		content = bytes.Join(all[max(0, len(all)-lines):], nil)
	}
	if limit, err := strconv.Atoi(query.Get("limitBytes")); err == nil {
		content = content[:min(limit, len(content))]
	}
	return content
}

// file serves the node's /var/log, in which there is the kernel's log only.
func (k *kubelet) file(w http.ResponseWriter, request *http.Request) {
	node := nodeOf(request)
	switch k.artefacts.behaviour(node).Kernel {
	case "hang":
		<-request.Context().Done()
		return
	case "http500":
		http.Error(w, "internal server error", http.StatusInternalServerError)
		return
	case "flood":
		writeFlood(w)
		return
	}
	content, exists := k.artefacts.read(node, "kernel.log")
	switch name := request.PathValue("file"); {
	case name == "" && exists:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<pre>\n<a href=\"kern.log\">kern.log</a>\n</pre>\n")
	case name == "kern.log" && exists:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.ServeContent(w, request, name, time.Now().Add(-time.Minute), bytes.NewReader(content))
	default:
		http.NotFound(w, request)
	}
}

// writeEndlessly never stops of itself, without using up a processor.
func writeEndlessly(w io.Writer, request *http.Request) {
	line := []byte(strings.Repeat("<gpu/>\n", 100))
	for request.Context().Err() == nil {
		if _, err := w.Write(line); err != nil {
			log.Print(err)
			return
		}
		time.Sleep(time.Millisecond)
	}
}
