package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	remotecommand "k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// command runs commands in the containers of a node; the only program that any of them has is nvidia-smi.
type command struct {
	artefacts artefacts
	node      string
	behaves   string
}

// ExecInContainer implements remotecommand.Executor.
func (c command) ExecInContainer(
	ctx context.Context, _, _, _ string, argv []string, _ io.Reader, stdout, stderr io.WriteCloser, _ bool,
	_ <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	content, exists := c.artefacts.read(c.node, "nvidia-smi.xml")
	if len(argv) == 0 || argv[0] != "nvidia-smi" || !exists || c.behaves == "missing" {
		return fmt.Errorf("failed to exec in container: failed to start exec \"5b0d1c4f\": OCI runtime exec failed: "+
			"exec failed: unable to start container process: exec: %q: executable file not found in $PATH", argv[0])
	}
	if !slices.Equal(argv[1:], []string{"-q", "-x"}) {
		say(stdout, []byte("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"))
		return exit(2)
	}
	switch c.behaves {
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	case "endless":
		line := []byte(strings.Repeat("<gpu/>\n", 100))
		for ctx.Err() == nil {
			if _, err := stdout.Write(line); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
		return ctx.Err()
	case "exit9":
		say(stdout, []byte("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "+
			"Make sure that the latest NVIDIA driver is installed and running.\n\n"))
		return exit(9)
	case "drop":
		say(stdout, content[:len(content)/2])
		panic(http.ErrAbortHandler)
	}
	say(stdout, content)
	return nil
}

// say writes to a stream that the client may not have asked for, or not wait for.
func say(stream io.Writer, content []byte) {
	if stream != nil {
		_, _ = stream.Write(content)
	}
}

func exit(code int) error {
	return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
}
