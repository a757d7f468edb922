package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// joined is join, once Synapse has heard what a busd that was ready after it wants to be asked. Until then it refuses.
func (h *synapse) joined(ctx context.Context, name string) (c *client, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for attempt := 0; ; attempt++ {
		if c, err = h.join(ctx, fmt.Sprintf("%s-%d", name, attempt)); err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

const pause = 100 * time.Millisecond // between two attempts

// join registers a user, who creates a room.
func (h *synapse) join(ctx context.Context, name string) (*client, error) {
	var user struct {
		Token string `json:"access_token"`
	}
	registration := map[string]any{"username": name, "password": "secret", "auth": map[string]any{"type": "m.login.dummy"}}
	status, err := call(ctx, http.MethodPost, h.url+"/_matrix/client/v3/register", "", registration, &user)
	if err != nil || user.Token == "" {
		return nil, h.failed(fmt.Errorf("registration has status %d: %w", status, err))
	}
	var room struct {
		ID string `json:"room_id"`
	}
	status, err = call(ctx, http.MethodPost, h.url+"/_matrix/client/v3/createRoom", user.Token, map[string]any{}, &room)
	if err != nil || room.ID == "" {
		return nil, h.failed(fmt.Errorf("creating a room has status %d: %w", status, err))
	}
	return &client{url: h.url + "/_matrix/client/v3/rooms/" + url.PathEscape(room.ID) + "/send/m.room.message/", token: user.Token}, nil
}

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
