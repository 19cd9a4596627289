package main

import (
	"context"
	"encoding/json"
	"log"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	playAnnotation = "rig/play" // what becomes of a pod; kwok's stages do it
	failAnnotation = "rig/fail"
	ownName        = "gpu-readiness"
)

// player decides what becomes of pods.
type player struct {
	client    kubernetes.Interface
	artefacts artefacts
}

// assign decides it for a pod that a node was found for, once.
func (p player) assign(pod *corev1.Pod) {
	if pod.Spec.NodeName == "" || pod.Status.Phase != corev1.PodPending || pod.Annotations[playAnnotation] != "" {
		return
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{playAnnotation: p.part(pod)}},
	})
	if err != nil {
		log.Print(err)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		pods := p.client.CoreV1().Pods(pod.Namespace)
		_, err := pods.Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			log.Printf("%s/%s: %v", pod.Namespace, pod.Name, err)
		}
	}()
}

// part is what the pod itself says, or its node; else jobs and our own probes end well, and others run.
func (p player) part(pod *corev1.Pod) string {
	if said := pod.Annotations[failAnnotation]; said != "" {
		return said
	}
	ours := pod.Labels["app.kubernetes.io/name"] == ownName
	if said := p.artefacts.behaviour(pod.Spec.NodeName).Pod; said != "" && ours {
		return said
	}
	if owner := metav1.GetControllerOfNoCopy(pod); ours || (owner != nil && owner.Kind == "Job") {
		return "complete"
	}
	return "run"
}
