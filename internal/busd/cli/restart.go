package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/config"
)

const (
	// restartTimeout is how long `busd restart` waits by default: a module with many workers takes a while.
	restartTimeout = 10 * time.Minute

	// stopTime is how much longer the command waits: busd answers when the last worker that it stopped is gone.
	stopTime = 20 * time.Second
)

func newRestart() *cobra.Command {
	r := &remote{scope: config.ScopeAdmin}
	c := &cobra.Command{
		Use:   "restart MODULE",
		Short: "Replace the workers of a module that busd runs, without losing an ask",
		Long: `Replace the workers of a module that busd runs, one after the other: beside each, a new one is started, and when it has
joined, the old one takes no more questions, answers those that it has, and ends. No ask is lost, also where there is one worker
alone: for a moment there are two. Web requests under way have ten seconds.

The exit status is 1 when a new worker did not join within a minute, or all did not within --timeout: its old one goes on then,
and the workers after it are not touched. The message says which it is, and how many are new.`,
		Args: arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			workers, err := r.restart(c.Context(), args[0])
			if err == nil {
				_, err = fmt.Fprintf(c.OutOrStdout(), "restarted %s: %d of %[2]d workers are new\n", args[0], workers)
			}
			return err
		},
		ValidArgsFunction: r.completeModules,
	}
	r.flags(c)
	c.Flags().Lookup("timeout").DefValue = restartTimeout.String()
	r.timeout = restartTimeout
	return c
}

// restart replaces the workers of a module, and returns how many there are.
func (r *remote) restart(ctx context.Context, module string) (workers int, err error) {
	path := "/_modulebus/v1/modules/" + url.PathEscape(module) + "/restart?wait=" + r.timeout.String()
	r.timeout += stopTime
	out, err := r.do(ctx, http.MethodPost, path, nil)
	if no, ok := errors.AsType[*refusal](err); ok && no.Text != "" {
		return 0, errors.New(no.Text)
	}
	if err != nil {
		return 0, err
	}
	var done struct {
		Workers int `json:"workers"`
	}
	if err := json.Unmarshal(out, &done); err != nil {
		return 0, errOtherVersion
	}
	return done.Workers, nil
}
