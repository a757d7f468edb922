package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// askPeer holds an ask against the same question by another way.
func askPeer(callers int, over func(*stage, int) (side, error)) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		if ours, err = asking(s, "example.com", callers, abstain); err == nil {
			peer, err = over(s, callers)
		}
		return ours, peer, err
	}
}

// question is the body that synapse-http-antispam sends.
type question struct {
	UserID string `json:"user_id"`
}

// overHTTP is what synapse-http-antispam does, with Go on both ends: a POST of JSON on connections that stay, enough for
// all callers.
func overHTTP(s *stage, callers int) (side, error) {
	url, err := s.serve(http.HandlerFunc(antispam))
	if err != nil {
		return side{}, err
	}
	c := s.httpClient(callers)
	return side{callers, func(ctx context.Context) error { return post(ctx, c, url+"/user_may_create_room") }}, nil
}

// httpClient keeps a connection for each caller.
func (s *stage) httpClient(callers int) *http.Client {
	t := &http.Transport{MaxIdleConns: callers, MaxIdleConnsPerHost: callers}
	s.onClose(func() error { t.CloseIdleConnections(); return nil })
	return &http.Client{Transport: t, Timeout: time.Minute}
}

// serve listens on a port of its own.
func (s *stage) serve(h http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(l) }() // It fails only when it is closed.
	s.onClose(srv.Close)
	return "http://" + l.Addr().String(), nil
}

func antispam(w http.ResponseWriter, r *http.Request) {
	var q question
	if r.Method != http.MethodPost || r.URL.Path != "/user_may_create_room" || json.NewDecoder(r.Body).Decode(&q) != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "{}") // It fails only when the client is gone.
}

func post(ctx context.Context, c *http.Client, url string) error {
	body, err := json.Marshal(question{request.GetUserId()})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	rsp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	answer, err := io.ReadAll(rsp.Body)
	if err != nil {
		return err
	}
	if rsp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", rsp.StatusCode)
	}
	var denial struct {
		Errcode string `json:"errcode"`
	}
	return json.Unmarshal(answer, &denial)
}

const method = "UserMayCreateRoom"

// service is what protoc-gen-go-grpc would make of the one rpc.
var service = grpc.ServiceDesc{
	ServiceName: "modulebus.callbacks.v1.SpamChecker",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: method,
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return &callbacksv1.UserMayCreateRoomResponse{}, decode(&callbacksv1.UserMayCreateRoomRequest{})
		},
	}},
}

// overGRPC is gRPC unary with the same messages and the same deadline, on one connection.
func overGRPC(s *stage, callers int) (side, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return side{}, err
	}
	srv := grpc.NewServer()
	srv.RegisterService(&service, nil)
	go func() { _ = srv.Serve(l) }() // It fails only when it is stopped.
	s.onClose(func() error { srv.Stop(); return nil })
	cc, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return side{}, err
	}
	s.onClose(cc.Close)
	return side{callers, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		reply := &callbacksv1.UserMayCreateRoomResponse{}
		err := cc.Invoke(ctx, "/"+service.ServiceName+"/"+method, request, reply)
		if err == nil && reply.GetRefusal() != nil {
			err = errors.New("refused")
		}
		return err
	}}, nil
}
