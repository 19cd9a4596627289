// nodes is the other end of everything that the API server sends to nodes and pods, for clusters whose nodes are objects
// only. It accepts the API server's CONNECT requests on a unix socket and answers as the kubelet of the node, or as the
// DCGM exporter of the pod, that was meant. What it says comes from a folder that is laid out like a snapshot, and is read
// at each request, so that tests can change it.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	socket := flag.String("socket", "", "unix socket to accept CONNECT requests on")
	loopback := flag.String("loopback", "", "address to serve exporters on to others than the API server")
	folder := flag.String("folder", "", "what the nodes say: nodes/<node>/<artefact>")
	kubeconfig := flag.String("kubeconfig", "", "access to the API server")
	flag.Parse()
	log.SetFlags(log.Ltime | log.Lmicroseconds)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *socket, *loopback, *folder, *kubeconfig); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, socket, loopback, folder, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = -1, -1 // the API server has limits of its own
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	artefacts := artefacts{folder: folder}
	cluster := newCluster(client)
	if err := cluster.onPod(player{client: client, artefacts: artefacts}.assign); err != nil {
		return err
	}
	if err := cluster.start(ctx); err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	tunnels := newTunnels(cluster, artefacts, certificate)
	_ = os.Remove(socket) // of one that was killed
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	if err := serveLoopback(loopback, artefacts, cluster); err != nil {
		return err
	}
	log.Printf("serving %d nodes", len(cluster.nodes.ListKeys()))
	server := &http.Server{Handler: tunnels}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	return server.Serve(listener)
}
