package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/registry"
	"github.com/modulebus/modulebus/subjects"
)

// remote is a running busd.
type remote struct {
	url, tokenFile string
	timeout        time.Duration
}

func (r *remote) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.url, "url", "http://127.0.0.1:8010", "where busd's HTTP door is")
	c.Flags().StringVar(&r.tokenFile, "token-file", "", "`file` with the token of the HTTP door, if it wants one")
	c.Flags().DurationVar(&r.timeout, "timeout", 30*time.Second, "how long to wait")
}

// do returns the body of a 200, and else an error with what the body says.
func (r *remote) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(r.url, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, usageError{fmt.Errorf("--url: %w", err)}
	}
	if err := r.authorize(req); err != nil {
		return nil, err
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot reach busd: %w: is it running there? See --url", err)
	}
	defer rsp.Body.Close()
	const limit = 64 << 20
	out, err := io.ReadAll(io.LimitReader(rsp.Body, limit))
	if err != nil {
		return nil, fmt.Errorf("cannot read busd's answer: %w", err)
	}
	if rsp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", rsp.Status, bytes.TrimSpace(out))
	}
	return out, nil
}

func (r *remote) authorize(req *http.Request) error {
	if r.tokenFile == "" {
		return nil
	}
	token, err := os.ReadFile(r.tokenFile)
	if err != nil {
		return usageError{fmt.Errorf("--token-file: %w", err)}
	}
	req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	return nil
}

func newAsk() *cobra.Command {
	r := &remote{}
	c := &cobra.Command{
		Use:     "ask CATEGORY.CALLBACK [JSON|-]",
		Short:   "Ask a running busd, and print the decision",
		Example: `  busd ask spam_checker.user_may_create_room '{"user_id": "@alice:example.com"}'`,
		Args:    arguments(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			body, err := requestBody(args[1:], c.InOrStdin())
			if err != nil {
				return err
			}
			out, err := r.do(c.Context(), http.MethodPost, "/_modulebus/v1/ask/"+address(args[0]), body)
			if err != nil {
				return err
			}
			return printJSON(c.OutOrStdout(), out)
		},
	}
	r.flags(c)
	return c
}

// address takes a callback's name without its category, too.
func address(name string) string {
	if d, ok := subjects.Find(name); ok {
		name = d.FullName()
	}
	return strings.Replace(name, ".", "/", 1)
}

func requestBody(args []string, stdin io.Reader) ([]byte, error) {
	switch {
	case len(args) == 0:
		return []byte("{}"), nil
	case args[0] == "-":
		return io.ReadAll(stdin)
	}
	return []byte(args[0]), nil
}

func printJSON(w io.Writer, raw []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return errors.New("busd's answer is not JSON: is --url right?")
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

func newModules() *cobra.Command {
	r, asJSON := &remote{}, false
	c := &cobra.Command{
		Use:   "modules",
		Short: "List the modules of a running busd, and how they are",
		Args:  arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := r.do(c.Context(), http.MethodGet, "/_modulebus/v1/modules", nil)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			return printModules(c.OutOrStdout(), out)
		},
	}
	r.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printModules(w io.Writer, raw []byte) error {
	var list struct {
		Modules []registry.Status `json:"modules"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return errors.New("busd's answer is not what this version knows: is --url right?")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ORDER\tMODULE\tSTATE\tVERSION\tWORKERS\tCALLBACKS\tWEB RESOURCES\tLAST ERROR")
	for _, m := range list.Modules {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", m.Order, m.Name, m.State, dash(m.Version), m.Workers,
			dash(strings.Join(m.Callbacks, " ")), dash(strings.Join(m.WebResources, " ")), dash(m.LastError))
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
