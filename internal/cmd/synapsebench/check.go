package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// spam is the word that the check is against. The same check in Python is in check.py.
const spam = "viagra"

// check is the module that is measured: it looks into each message for a word, after a pause, and counts.
type check struct {
	config checkConfig
	checks atomic.Int64
}

// checkConfig is the same for all arrangements.
type checkConfig struct {
	Path  string `json:"path"`  // a web resource that tells how often the module checked
	Pause int    `json:"pause"` // milliseconds that each check takes
	Way   string `json:"way"`   // how a check in Python takes them: see check.py; one in Go waits
}

// path is where a module tells how often it checked.
func path(module string) string { return "/_synapse/client/bench/" + module }

// refuses reports whether the event is spam.
func (c *check) refuses(event []byte) (bool, error) {
	c.checks.Add(1)
	if c.config.Pause > 0 {
		time.Sleep(time.Duration(c.config.Pause) * time.Millisecond)
	}
	var message struct {
		Content struct {
			Body string `json:"body"`
		} `json:"content"`
	}
	err := json.Unmarshal(event, &message)
	return strings.Contains(message.Content.Body, spam), err
}

// ServeHTTP tells how often it was asked.
func (c *check) ServeHTTP(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.checks.Load()) }

// newModule is the check as a module of the bus.
func newModule(config checkConfig, api *modulekit.ModuleAPI) error {
	c := &check{config: config}
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{CheckEventForSpam: c.checkEvent})
	api.RegisterWebResource(config.Path, c)
	return nil
}

func (c *check) checkEvent(
	_ context.Context, req *callbacksv1.CheckEventForSpamRequest,
) (*callbacksv1.CheckEventForSpamResponse, error) {
	refused, err := c.refuses(req.GetEvent().GetJson())
	if err != nil || !refused {
		return nil, err
	}
	return &callbacksv1.CheckEventForSpamResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", "spam")}, nil
}

// answer is the check as the protocol of synapse-http-antispam has it. It refuses what it cannot read, which nobody sends.
func (c *check) answer(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Event json.RawMessage `json:"event"`
	}
	raw, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(raw, &body)
	}
	refused := false
	if err == nil {
		refused, err = c.refuses(body.Event)
	}
	w.Header().Set("Content-Type", "application/json")
	if err == nil && !refused {
		_, _ = io.WriteString(w, "{}") // It fails only when Synapse is gone.
		return
	}
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, `{"errcode":"M_FORBIDDEN","error":"spam"}`)
}

// roleVariable says which process this is, of those that are this program once more.
const roleVariable = "SYNAPSEBENCH_ROLE"

const (
	moduleRole   = "module"   // a module, which busd runs
	antispamRole = "antispam" // the server that synapse-http-antispam asks
)

// playRole does not return in a process that is not the benchmark itself.
func playRole() {
	switch os.Getenv(roleVariable) {
	case moduleRole:
		modulekit.Main(modulekit.Module[checkConfig]{Version: "1.0.0", New: newModule})
	case antispamRole:
		fmt.Fprintln(os.Stderr, serveAntispam(os.Stdout))
		os.Exit(1)
	}
}

// serveAntispam says where it serves, and does so for as long as the process lives.
func serveAntispam(announce io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c := &check{}
	mux := http.NewServeMux()
	mux.Handle("GET "+path(antispamRole), c)
	mux.HandleFunc("POST /check_event_for_spam", c.answer)
	fmt.Fprintf(announce, "HTTP at http://%s, without NATS\n", l.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	return server.Serve(l)
}
