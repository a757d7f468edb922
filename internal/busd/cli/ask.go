package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/subjects"
)

func newAsk() *cobra.Command {
	r, explained := &remote{scope: config.ScopeAsk}, false
	c := &cobra.Command{
		Use:   "ask CATEGORY.CALLBACK [JSON|-]",
		Short: "Ask a running busd, and print the decision",
		Long: `Ask a running busd, and print the decision. stderr says in a line what it was, and how long it took.

The exit status is 0 for any decision, a refusal and no opinion among them, and 1 when there is none.`,
		Example:           `  busd ask spam_checker.user_may_create_room '{"user_id": "@alice:example.com"}'`,
		Args:              arguments(1, 2),
		ValidArgsFunction: completeCallbacks,
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		name, err := fullName(args[0])
		if err != nil {
			return err
		}
		body, err := requestBody(args[1:], c.InOrStdin())
		if err != nil {
			return err
		}
		if explained { // It reads the record, too.
			r.scope = config.ScopeAdmin
		}
		asked := time.Now()
		out, err := r.do(c.Context(), http.MethodPost, "/_modulebus/v1/ask/"+strings.Replace(name, ".", "/", 1), body)
		if err != nil {
			return instead(name, err)
		}
		summarize(c.ErrOrStderr(), out, time.Since(asked))
		if err := printJSON(c.OutOrStdout(), out); err != nil || !explained {
			return err
		}
		return r.explainAsked(c.Context(), c.OutOrStdout(), out)
	}
	r.flags(c)
	c.Flags().BoolVar(&explained, "explain", false, "print also who was asked, what each said, and how long it took")
	return c
}

// fullName returns a callback's full name; the name may lack its category. A full name that is not known here is kept,
// because the busd that is asked may know it.
func fullName(name string) (string, error) {
	if d, ok := subjects.Find(name); ok {
		return d.FullName(), nil
	}
	if !strings.Contains(name, ".") {
		return "", unknownCallback(name)
	}
	return name, nil
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

// instead adds to busd's refusal what the operator can write instead.
func instead(name string, err error) error {
	no, ok := errors.AsType[*refusal](err)
	d, found := subjects.Find(name)
	if !ok || !found || no.Status != http.StatusBadRequest {
		return err
	}
	fields := declared.Of(d).RequestFields
	var names []string
	for i := range fields.Len() {
		names = append(names, string(fields.Get(i).Name()))
	}
	return fmt.Errorf("%w; %s has the fields %s: see busd callbacks %s", err, d.Name, strings.Join(names, ", "), d.Name)
}

// summarize writes the decision in one line.
func summarize(w io.Writer, decision []byte, took time.Duration) {
	var d struct {
		Answer    json.RawMessage `json:"answer"`
		DecidedBy string          `json:"decided_by"`
		ID        string          `json:"decision_id"` // none: no module was asked
		Failures  []struct {
			Module  string `json:"module"`
			Failure string `json:"failure"`
			Policy  string `json:"policy"`
		} `json:"failures"`
	}
	if json.Unmarshal(decision, &d) != nil {
		return // What cannot be read is printed as it is.
	}
	what := []string{"no module had an opinion"}
	switch {
	case d.DecidedBy != "":
		what[0] = "decided by " + d.DecidedBy
	case d.Answer != nil:
		what[0] = "decided by several modules together"
	case d.ID == "":
		what[0] = "no module was asked"
	}
	for _, f := range d.Failures {
		what = append(what, fmt.Sprintf("%s failed (%s, on_failure: %s)", f.Module, f.Failure, f.Policy))
	}
	fmt.Fprintf(w, "busd: %s, in %s\n", strings.Join(what, "; "), took.Round(10*time.Microsecond))
}

// completeCallbacks completes the names of callbacks, with or without category.
func completeCallbacks(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, d := range subjects.All() {
		if !d.FollowUp() {
			names = append(names, d.Name)
			if strings.Contains(typed, ".") {
				names = append(names, d.FullName())
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, typed) }), cobra.ShellCompDirectiveNoFileComp
}
