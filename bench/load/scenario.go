package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
)

// An operation is what is timed: one request, or the requests of a push. `index` is never given twice.
type operation func(conn *connection, index int) error

// content is `prefix`, which no other content has, and a rest that all of a job share.
type content struct {
	prefix []byte
	rest   []byte
	digest string
}

func prepare(asked job) (operation, error) {
	switch asked.Scenario {
	case "request":
		var headers strings.Builder
		for name, value := range asked.Headers {
			fmt.Fprintf(&headers, "%s: %s\r\n", name, value)
		}
		text := headers.String()
		return func(conn *connection, _ int) error {
			got, err := conn.ask(asked.Method, asked.Path, text)
			return expect(200, asked.Method+" "+asked.Path, got, err)
		}, nil
	case "put":
		contents := contentsOf(asked.Most, asked.SizeBytes, asked.Seed)
		return func(conn *connection, index int) error { return put(conn, asked.Repository, contents[index]) }, nil
	case "chunked":
		contents := contentsOf(asked.Most, asked.SizeBytes, asked.Seed)
		return func(conn *connection, index int) error {
			return putChunked(conn, asked.Repository, contents[index], asked.ChunkBytes)
		}, nil
	case "push":
		layers := contentsOf(asked.Most, asked.SizeBytes, asked.Seed)
		configs := contentsOf(asked.Most, 1_000, ^asked.Seed)
		return func(conn *connection, index int) error {
			return push(conn, asked.Repository, layers[index], configs[index])
		}, nil
	}
	return nil, fmt.Errorf("no scenario %q", asked.Scenario)
}

func contentsOf(count, sizeBytes int, seed uint64) []content {
	const prefixBytes = 16
	rest := make([]byte, sizeBytes-prefixBytes)
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(rest)
	made := make([]content, count)
	for i := range made {
		prefix := make([]byte, prefixBytes)
		binary.BigEndian.PutUint64(prefix, seed)
		binary.BigEndian.PutUint64(prefix[8:], uint64(i))
		hash := sha256.New()
		hash.Write(prefix)
		hash.Write(rest)
		made[i] = content{prefix, rest, "sha256:" + hex.EncodeToString(hash.Sum(nil))}
	}
	return made
}

func put(conn *connection, repository string, blob content) error {
	location, err := start(conn, repository)
	if err != nil {
		return err
	}
	got, err := conn.ask("PUT", closing(location, blob), "Content-Type: application/octet-stream\r\n", blob.prefix, blob.rest)
	return expect(201, "PUT of a blob", got, err)
}

func putChunked(conn *connection, repository string, blob content, chunkBytes int) error {
	location, err := start(conn, repository)
	if err != nil {
		return err
	}
	size := len(blob.prefix) + len(blob.rest)
	for from := 0; from < size; from += chunkBytes {
		to := min(from+chunkBytes, size)
		pieces := [][]byte{blob.rest[max(0, from-len(blob.prefix)) : to-len(blob.prefix)]}
		if from == 0 {
			pieces = append([][]byte{blob.prefix}, pieces...)
		}
		headers := fmt.Sprintf("Content-Type: application/octet-stream\r\nContent-Range: %d-%d\r\n", from, to-1)
		got, err := conn.ask("PATCH", location, headers, pieces...)
		if err := expect(202, "PATCH", got, err); err != nil {
			return err
		}
		location = got.location
	}
	got, err := conn.ask("PUT", closing(location, blob), "")
	return expect(201, "closing PUT", got, err)
}

// push is what a client sends for a new image of one small layer: six requests.
func push(conn *connection, repository string, layer, config content) error {
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	got, err := conn.ask("HEAD", "/v2/"+repository+"/blobs/"+layer.digest, "")
	if err := expect(404, "HEAD of a new layer", got, err); err != nil {
		return err
	}
	for _, blob := range []content{layer, config} {
		if err := put(conn, repository, blob); err != nil {
			return err
		}
	}
	manifest := fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		manifestType, config.digest, len(config.prefix)+len(config.rest), layer.digest, len(layer.prefix)+len(layer.rest))
	path := "/v2/" + repository + "/manifests/t" + config.digest[len("sha256:"):][:32]
	got, err = conn.ask("PUT", path, "Content-Type: "+manifestType+"\r\n", []byte(manifest))
	return expect(201, "PUT of a manifest", got, err)
}

func start(conn *connection, repository string) (string, error) {
	got, err := conn.ask("POST", "/v2/"+repository+"/blobs/uploads/", "")
	return got.location, expect(202, "POST", got, err)
}

func closing(location string, blob content) string {
	if strings.Contains(location, "?") {
		return location + "&digest=" + blob.digest
	}
	return location + "?digest=" + blob.digest
}

func expect(status int, what string, got answer, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if got.status != status {
		return fmt.Errorf("%s was answered %d, not %d", what, got.status, status)
	}
	return nil
}
