package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"
)

const kubeletPort = 10250

// tunnels answers CONNECT requests: each becomes a connection of the server that stands for what was dialled.
type tunnels struct {
	cluster   *cluster
	artefacts artefacts
	kubelets  conns
	exporters conns
	tls       *tls.Config
}

func newTunnels(cluster *cluster, artefacts artefacts, certificate tls.Certificate) *tunnels {
	t := &tunnels{
		cluster: cluster, artefacts: artefacts, kubelets: make(conns), exporters: make(conns),
		// Streams are upgraded connections, which HTTP/2 does not have.
		tls: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}},
	}
	serve := func(listener net.Listener, handler http.Handler) {
		server := &http.Server{Handler: handler, ConnContext: withNode}
		log.Print(server.Serve(listener))
	}
	go serve(t.kubelets, newKubelet(cluster, artefacts))
	go serve(t.exporters, &exporter{artefacts: artefacts, nodeOf: nodeOf})
	return t
}

func (t *tunnels) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	host, port, err := net.SplitHostPort(request.URL.Host)
	number, notNumber := strconv.ParseUint(port, 10, 16)
	if err = errors.Join(err, notNumber); request.Method != http.MethodConnect || err != nil {
		http.Error(w, "only CONNECT host:port", http.StatusMethodNotAllowed)
		return
	}
	if address, found := t.artefacts.forward(net.JoinHostPort(host, port)); found {
		t.forward(w, address)
		return
	}
	node, found, behaves, conns := "", false, "", t.exporters
	if number == kubeletPort {
		conns = t.kubelets
		if node, found = t.cluster.nodeAt(host); found {
			behaves = t.artefacts.behaviour(node).Kubelet
		}
	} else if node, found = t.cluster.exporterAt(host, int32(number)); found {
		behaves = t.artefacts.behaviour(node).Exporter
		_, exists := t.artefacts.read(node, "dcgm.prom")
		found = exists || behaves != ""
	}
	if !found || behaves == "refuse" {
		http.Error(w, "connection refused", http.StatusBadGateway)
		return
	}
	if behaves == "blackhole" {
		<-request.Context().Done()
		return
	}
	encrypted := conns == t.kubelets || behaves == "tls"
	if err := t.accept(w, node, encrypted, conns); err != nil {
		log.Printf("%s: %v", request.URL.Host, err)
	}
}

// forward connects to a program on loopback that stands for a pod.
func (t *tunnels) forward(w http.ResponseWriter, address string) {
	there, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, err := hijack(w)
	if err != nil {
		log.Printf("%s: %v", address, err)
		return
	}
	defer here.Close()
	done := make(chan struct{}, 2)
	copied := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		done <- struct{}{}
	}
	go copied(there, here)
	go copied(here, there)
	<-done
}

func (t *tunnels) accept(w http.ResponseWriter, node string, encrypted bool, to conns) error {
	raw, err := hijack(w)
	if err != nil {
		return err
	}
	var conn net.Conn = &tunnelled{Conn: raw, node: node}
	if encrypted {
		conn = tls.Server(conn, t.tls)
	}
	to <- conn
	return nil
}

// hijack takes the connection over after telling the other side that it is through.
func hijack(w http.ResponseWriter) (net.Conn, error) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return nil, err
	}
	if _, err := buffered.WriteString("HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return nil, err
	}
	return conn, buffered.Flush()
}

// tunnelled is a connection to something on a node.
type tunnelled struct {
	net.Conn
	node string
}

type nodeKey struct{}

func withNode(ctx context.Context, conn net.Conn) context.Context {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	return context.WithValue(ctx, nodeKey{}, conn.(*tunnelled).node)
}

func nodeOf(request *http.Request) string {
	return request.Context().Value(nodeKey{}).(string)
}

// conns is a listener of connections that came through tunnels. It is never closed.
type conns chan net.Conn

func (c conns) Accept() (net.Conn, error) {
	return <-c, nil
}

func (c conns) Close() error {
	return nil
}

func (c conns) Addr() net.Addr {
	return &net.UnixAddr{Name: "tunnels", Net: "unix"}
}
