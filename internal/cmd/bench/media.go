package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

const mediaSize = 8 << 20 // bytes of an upload

// readingMedia is an ask about an upload, which the module reads to its end. The peer reads the same file from a server of
// files over HTTP, and asks nobody.
func readingMedia(s *stage) (ours, peer side, err error) {
	h, err := newHomeserver(s, "example.com", "module")
	if err != nil {
		return ours, peer, err
	}
	if err := h.module("module", readsMedia); err != nil {
		return ours, peer, err
	}
	folder, err := os.MkdirTemp("", "modulebus-bench-")
	if err != nil {
		return ours, peer, err
	}
	s.onClose(func() error { return os.RemoveAll(folder) })
	name := filepath.Join(folder, "media")
	if err := os.WriteFile(name, bytes.Repeat([]byte("media..."), mediaSize/8), 0o600); err != nil {
		return ours, peer, err
	}
	file, err := os.Open(name)
	if err != nil {
		return ours, peer, err
	}
	s.onClose(file.Close)
	url, err := s.serve(http.FileServer(http.Dir(folder)))
	if err != nil {
		return ours, peer, err
	}
	c := s.httpClient(1)
	return side{1, func(ctx context.Context) error { return askMedia(ctx, h, file) }},
		side{1, func(ctx context.Context) error { return getMedia(ctx, c, url+"/media") }}, nil
}

// readsMedia refuses a file that it could not read to its end.
func readsMedia(api *modulekit.ModuleAPI) {
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{CheckMediaFileForSpam: func(
		ctx context.Context, req *callbacksv1.CheckMediaFileForSpamRequest,
	) (*callbacksv1.CheckMediaFileForSpamResponse, error) {
		n, err := io.Copy(io.Discard, api.OpenFile(ctx, req.GetFileWrapper()))
		if err == nil && n != mediaSize {
			err = fmt.Errorf("read %d bytes", n)
		}
		return nil, err
	}})
}

func askMedia(ctx context.Context, h *homeserver, file io.ReaderAt) error {
	req := &callbacksv1.CheckMediaFileForSpamRequest{FileWrapper: &callbacksv1.FileWrapper{}, FileInfo: &callbacksv1.FileInfo{}}
	d, err := h.client.SpamChecker.CheckMediaFileForSpam(bus.WithFile(ctx, file, mediaSize), req)
	if err == nil && len(d.Failures) > 0 {
		err = fmt.Errorf("%v", d.Failures)
	}
	return err
}

func getMedia(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	rsp, err := c.Do(req)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, rsp.Body)
	if err == nil && n != mediaSize {
		err = fmt.Errorf("read %d bytes", n)
	}
	return errors.Join(err, rsp.Body.Close())
}
