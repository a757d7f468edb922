package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/config"
)

// maxAnswer is how many bytes of busd's answer a command reads. Beyond: the command fails.
const maxAnswer = 64 << 20

// remote is a running busd, and how to ask it.
type remote struct {
	url, tokenFile, config string
	cert                   string // file with the one certificate to trust; empty for the system's authorities
	scope                  string // of the token that the command needs; empty if it needs none
	timeout                time.Duration
}

func (r *remote) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.url, "url", "", "where busd's HTTP door is (default: where --config says, else http://127.0.0.1:8010)")
	c.Flags().StringVar(&r.tokenFile, "token-file", "", "`file` with the token of the HTTP door (default: what --config says)")
	c.Flags().DurationVar(&r.timeout, "timeout", 30*time.Second, "how long to wait")
	configFlag(c, &r.config, "")
}

// resolve fills in the fields that no flag has set, from the configuration if one is named, or with defaults.
func (r *remote) resolve() error {
	if r.config != "" && r.url == "" {
		if err := r.fromConfig(); err != nil {
			return err
		}
	}
	if r.url == "" {
		r.url = "http://127.0.0.1:8010"
	}
	if !strings.HasPrefix(r.url, "http://") && !strings.HasPrefix(r.url, "https://") {
		return usagef("--url: %q must begin with http:// or https://", r.url)
	}
	r.url = strings.TrimSuffix(r.url, "/")
	return nil
}

func (r *remote) fromConfig() error {
	c, err := readConfig(r.config)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(c.HTTP.Listen)
	switch {
	case err != nil:
		return usagef("http.listen of %s: %w", r.config, err)
	case port == "0":
		return usagef("%s has busd listen on any free port: say --url", r.config)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	r.url = "http://" + net.JoinHostPort(host, port)
	if c.HTTP.TLS.Cert != "" {
		r.url, r.cert = "https://"+net.JoinHostPort(host, port), c.HTTP.TLS.Cert
	}
	if r.tokenFile == "" && r.scope != "" {
		r.tokenFile = cmp.Or(c.HTTP.TokenFileFor(r.scope), c.HTTP.TokenFileFor(config.ScopeAdmin))
	}
	return nil
}

// refusal is an answer of busd with another status than 200.
type refusal struct {
	Status  int    `json:"-"`
	Errcode string `json:"errcode"`
	Text    string `json:"error"`
	raw     []byte
}

// Error implements error.
func (r *refusal) Error() string {
	if r.Text != "" {
		return fmt.Sprintf("%s (%d %s)", r.Text, r.Status, r.Errcode)
	}
	return fmt.Sprintf("%d %s: %s", r.Status, http.StatusText(r.Status), bytes.TrimSpace(r.raw))
}

// do returns the body of a response of status 200. For any other status, the error is a *[refusal].
func (r *remote) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	rsp, err := r.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer rsp.Body.Close()
	return readAnswer(rsp)
}

// request returns a response of status 200. For any other status, the error is a *[refusal].
func (r *remote) request(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	if err := r.resolve(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, usagef("--url: %w", err)
	}
	if err := r.authorize(req); err != nil {
		return nil, err
	}
	client, err := r.client()
	if err != nil {
		return nil, err
	}
	rsp, err := client.Do(req)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return nil, fmt.Errorf("busd at %s has not answered within %s: see --timeout", r.url, r.timeout)
	case err != nil:
		return nil, fmt.Errorf("cannot reach busd: %w: is it running there? See --url", err)
	}
	if rsp.StatusCode == http.StatusOK {
		return rsp, nil
	}
	defer rsp.Body.Close()
	return nil, r.refused(rsp)
}

// refused is the error of a response with another status than 200.
func (r *remote) refused(rsp *http.Response) error {
	if to := rsp.Header.Get("Location"); rsp.StatusCode/100 == 3 && to != "" {
		return fmt.Errorf("what is at %s sends on to %s: say with --url where busd is", r.url, to)
	}
	out, err := readAnswer(rsp)
	if err != nil {
		return err
	}
	no := &refusal{Status: rsp.StatusCode, raw: out}
	_ = json.Unmarshal(out, no) // A body that is no JSON is shown unchanged.
	if no.Status == http.StatusUnauthorized && no.Text != "" {
		no.Text = "busd wants another token: give it with --token-file, or its configuration with --config"
	}
	return no
}

func readAnswer(rsp *http.Response) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(rsp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("cannot read busd's answer: %w", err)
	}
	return out, nil
}

func (r *remote) client() (*http.Client, error) {
	if r.cert == "" {
		return &http.Client{CheckRedirect: stay}, nil
	}
	only, err := certs.Only(r.cert)
	if err != nil {
		return nil, usagef("http.tls: %w", err)
	}
	return &http.Client{CheckRedirect: stay, Transport: &http.Transport{TLSClientConfig: only, DisableKeepAlives: true}}, nil
}

// stay follows no redirect: it would take the token and the request to where the operator did not say.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (r *remote) authorize(req *http.Request) error {
	if r.tokenFile == "" {
		return nil
	}
	token, err := config.ReadToken(r.tokenFile, "a token of http.token_file or http.tokens")
	if err != nil {
		return usagef("--token-file: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	return nil
}

func printJSON(w io.Writer, raw []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return errors.New("busd's answer is not JSON: is --url right?")
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}
