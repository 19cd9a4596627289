// seed writes objects straight into etcd, for fleets that would take minutes through the API server:
// seed ENDPOINT [PREFIX...] < LINES. What is stored under the prefixes is erased before. Each line of the input is
// {"key": where it is stored, "object": what kubectl get -o json shows}.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	batch   = 100 // etcd takes 128 operations in one transaction
	writers = 4
)

type line struct {
	Key    string          `json:"key"`
	Object json.RawMessage `json:"object"`
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: seed ENDPOINT [PREFIX...] < LINES")
	}
	count, err := seed(context.Background(), os.Args[1], os.Args[2:], os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(count)
}

func seed(ctx context.Context, endpoint string, prefixes []string, input io.Reader) (int, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		return 0, err
	}
	defer client.Close()
	for _, each := range prefixes {
		if err := erase(ctx, client, each); err != nil {
			return 0, err
		}
	}
	count := 0
	batches := make(chan [][]byte, writers)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		lines := bufio.NewReaderSize(input, 1<<20)
		for {
			next, err := readLines(lines)
			if len(next) == 0 || err != nil {
				return err
			}
			count += len(next)
			select {
			case batches <- next:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	for range writers {
		group.Go(func() error {
			for each := range batches {
				if err := write(ctx, client, each); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return count, group.Wait()
}

func erase(ctx context.Context, client *clientv3.Client, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := client.Delete(ctx, prefix, clientv3.WithPrefix())
	return err
}

func readLines(input *bufio.Reader) ([][]byte, error) {
	var found [][]byte
	for len(found) < batch {
		each, err := input.ReadBytes('\n')
		if len(bytes.TrimSpace(each)) > 0 {
			found = append(found, each)
		}
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func write(ctx context.Context, client *clientv3.Client, lines [][]byte) error {
	puts := make([]clientv3.Op, 0, len(lines))
	for _, each := range lines {
		var said line
		if err := json.Unmarshal(each, &said); err != nil {
			return err
		}
		stored, err := stored(said.Object)
		if err != nil {
			return fmt.Errorf("%s: %w", said.Key, err)
		}
		puts = append(puts, clientv3.OpPut(said.Key, string(stored)))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := client.Txn(ctx).Then(puts...).Commit()
	return err
}

// stored is an object as the API server stores it: kinds of Kubernetes' own as protobuf, others as the JSON that they are.
func stored(object json.RawMessage) ([]byte, error) {
	decoded, _, err := codecs.UniversalDeserializer().Decode(object, nil, nil)
	if runtime.IsNotRegisteredError(err) {
		return object, nil
	}
	if err != nil {
		return nil, err
	}
	var encoded bytes.Buffer
	err = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(decoded, &encoded)
	return encoded.Bytes(), err
}

var codecs = serializer.NewCodecFactory(scheme.Scheme)
