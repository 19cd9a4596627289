package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// behaviour is a node's behave.json: how each part of it behaves, where it does not just do its work.
type behaviour struct {
	Kubelet  string `json:"kubelet"`
	Exec     string `json:"exec"`
	Logs     string `json:"logs"`
	Kernel   string `json:"kernel"`
	Exporter string `json:"exporter"`
	Pod      string `json:"pod"`

	written time.Time
}

// artefacts is the folder that says what nodes say.
type artefacts struct {
	folder string
}

// path is where a node's artefact lies. A node's name comes from the API server, which allows no slash in it.
func (a artefacts) path(node string, artefact ...string) string {
	return filepath.Join(append([]string{a.folder, "nodes", filepath.Base(node)}, artefact...)...)
}

// read is a node's artefact, the first of these that is there; false where none is.
func (a artefacts) read(node string, names ...string) ([]byte, bool) {
	for _, name := range names {
		content, err := os.ReadFile(a.path(node, strings.Split(name, "/")...))
		if err == nil {
			return content, true
		}
		if !errors.Is(err, fs.ErrNotExist) {
			log.Print(err)
		}
	}
	return nil, false
}

// behaviour is how a node behaves now.
func (a artefacts) behaviour(node string) behaviour {
	var said behaviour
	path := a.path(node, "behave.json")
	content, err := os.ReadFile(path)
	if err != nil {
		return said
	}
	if err := json.Unmarshal(content, &said); err != nil {
		log.Printf("%s: %v", path, err)
	}
	if info, err := os.Stat(path); err == nil {
		said.written = info.ModTime()
	}
	return said
}

// forward is the loopback address of the program that stands for what a pod serves, if there is one.
func (a artefacts) forward(address string) (string, bool) {
	content, err := os.ReadFile(filepath.Join(a.folder, "forward.json"))
	if err != nil {
		return "", false
	}
	var said map[string]string
	if err := json.Unmarshal(content, &said); err != nil {
		log.Print(err)
	}
	to, found := said[address]
	host, _, _ := strings.Cut(to, ":")
	return to, found && host == "127.0.0.1"
}
