package main

import (
	"encoding/json"
	"log"
	"net"
	"net/http"
)

const nodeHeader = "X-Rig-Node"

// serveLoopback serves, for what cannot go through the API server: every exporter, as /nodes/<node>/metrics, and how many
// nodes and pods are known, as /known.
func serveLoopback(address string, artefacts artefacts, cluster *cluster) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	each := &exporter{artefacts: artefacts, nodeOf: func(r *http.Request) string { return r.Header.Get(nodeHeader) }}
	mux.HandleFunc("GET /nodes/{node}/metrics", func(w http.ResponseWriter, request *http.Request) {
		scrape := request.Clone(request.Context())
		scrape.Header.Set(nodeHeader, request.PathValue("node"))
		scrape.URL.Path = "/metrics"
		each.ServeHTTP(w, scrape)
	})
	mux.HandleFunc("GET /known", func(w http.ResponseWriter, _ *http.Request) {
		known := map[string]int{"nodes": len(cluster.nodes.ListKeys()), "pods": len(cluster.pods.ListKeys())}
		_ = json.NewEncoder(w).Encode(known)
	})
	go func() { log.Print(http.Serve(listener, mux)) }()
	return nil
}
