package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// connections are kept alive, one for each client, but not for as long as Synapse would keep them.
var connections = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128, IdleConnTimeout: 20 * time.Second}}

// call makes a request as a client does, and returns the status. The response, if it is wanted, is JSON.
func call(ctx context.Context, method, address, token string, body, response any) (int, error) {
	req, err := request(ctx, method, address, token, body)
	if err != nil {
		return 0, err
	}
	rsp, err := connections.Do(req)
	if err != nil {
		return 0, err
	}
	defer rsp.Body.Close()
	raw, err := io.ReadAll(rsp.Body)
	if err == nil && response != nil {
		err = json.Unmarshal(raw, response)
	}
	return rsp.StatusCode, err
}

func request(ctx context.Context, method, address, token string, body any) (*http.Request, error) {
	if body == nil {
		return http.NewRequestWithContext(ctx, method, address, http.NoBody)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(raw))
	if err == nil && token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, err
}

// client is a user with a room.
type client struct {
	url   string // where messages go; a number follows
	token string
	sent  int
}

const pause = 100 * time.Millisecond // between two attempts

// send sends a message, and returns the status.
func (c *client) send(ctx context.Context, text string) (int, error) {
	c.sent++
	message := map[string]any{"msgtype": "m.text", "body": text}
	return call(ctx, http.MethodPut, c.url+strconv.Itoa(c.sent), c.token, message, nil)
}

// number gets one from a page that is nothing else.
func number(ctx context.Context, address string) (n int64, err error) {
	status, err := call(ctx, http.MethodGet, address, "", nil, &n)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s has status %d", address, status)
	}
	return n, err
}

// chat is what people write.
var chat = strings.Repeat("What do you think of that? ", 3)
