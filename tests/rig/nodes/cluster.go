package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const byIP = "ip"

// cluster knows which node and which pod an address belongs to.
type cluster struct {
	client  kubernetes.Interface
	factory informers.SharedInformerFactory
	nodes   cache.Indexer
	pods    cache.Indexer
}

func newCluster(client kubernetes.Interface) *cluster {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip))
	nodes := factory.Core().V1().Nodes().Informer()
	pods := factory.Core().V1().Pods().Informer()
	// Adding an index fails only for one that is there already.
	_ = nodes.AddIndexers(cache.Indexers{byIP: nodeAddress})
	_ = pods.AddIndexers(cache.Indexers{byIP: podAddress})
	return &cluster{client: client, factory: factory, nodes: nodes.GetIndexer(), pods: pods.GetIndexer()}
}

// onPod has a function called for each pod that is new or changed.
func (c *cluster) onPod(call func(*corev1.Pod)) error {
	_, err := c.factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(now any) { call(now.(*corev1.Pod)) },
		UpdateFunc: func(_, now any) { call(now.(*corev1.Pod)) },
	})
	return err
}

// start returns when everything that is in the cluster is known.
func (c *cluster) start(ctx context.Context) error {
	c.factory.Start(ctx.Done())
	bounded, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for kind, synced := range c.factory.WaitForCacheSync(bounded.Done()) {
		if !synced {
			return fmt.Errorf("no list of %v within two minutes", kind)
		}
	}
	return nil
}

// nodeAt is the name of the node that has an address.
func (c *cluster) nodeAt(ip string) (string, bool) {
	found, err := c.nodes.ByIndex(byIP, ip)
	if err != nil || len(found) == 0 {
		return "", false
	}
	return found[0].(*corev1.Node).Name, true
}

// exporterAt is the node whose DCGM exporter listens on an address; several pods of a host network share one.
func (c *cluster) exporterAt(ip string, port int32) (string, bool) {
	found, err := c.pods.ByIndex(byIP, ip)
	if err != nil {
		return "", false
	}
	for _, each := range found {
		if pod := each.(*corev1.Pod); isExporter(pod) && listens(pod, port) {
			return pod.Spec.NodeName, true
		}
	}
	return "", false
}

// pod is a pod as it is now: what is known here may be older than what a client has seen.
func (c *cluster) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	if known, exists, _ := c.pods.GetByKey(namespace + "/" + name); exists {
		if pod := known.(*corev1.Pod); pod.Status.Phase != corev1.PodPending {
			return pod, nil
		}
	}
	return c.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

func isExporter(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && (strings.Contains(pod.Name, "dcgm") ||
		slices.ContainsFunc(pod.Spec.Containers, func(each corev1.Container) bool {
			return strings.Contains(each.Name, "dcgm")
		}))
}

// listens is also true for a pod that declares no port: declaring them is optional.
func listens(pod *corev1.Pod, port int32) bool {
	declared := false
	for _, container := range pod.Spec.Containers {
		for _, each := range container.Ports {
			if each.ContainerPort == port {
				return true
			}
			declared = true
		}
	}
	return !declared
}

func nodeAddress(object any) ([]string, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return nil, errors.New("not a node")
	}
	var found []string
	for _, each := range node.Status.Addresses {
		if each.Type == corev1.NodeInternalIP {
			found = append(found, each.Address)
		}
	}
	return found, nil
}

func podAddress(object any) ([]string, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok || pod.Status.PodIP == "" {
		return nil, nil
	}
	return []string{pod.Status.PodIP}, nil
}

// strip keeps what is needed here: a fleet has tens of thousands of pods.
func strip(object any) (any, error) {
	switch full := object.(type) {
	case *corev1.Node:
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: full.Name, ResourceVersion: full.ResourceVersion},
			Status:     corev1.NodeStatus{Addresses: full.Status.Addresses},
		}, nil
	case *corev1.Pod:
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: full.Namespace, Name: full.Name, ResourceVersion: full.ResourceVersion,
				Labels: full.Labels, Annotations: full.Annotations, OwnerReferences: full.OwnerReferences,
				DeletionTimestamp: full.DeletionTimestamp,
			},
			Spec:   corev1.PodSpec{NodeName: full.Spec.NodeName},
			Status: corev1.PodStatus{Phase: full.Status.Phase, PodIP: full.Status.PodIP},
		}
		for _, each := range full.Spec.Containers {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: each.Name, Ports: each.Ports})
		}
		return pod, nil
	}
	return object, nil
}
