package cli

import (
	"net/http"

	"github.com/spf13/cobra"
)

func newHealth() *cobra.Command {
	r := &remote{}
	c := &cobra.Command{
		Use:   "health",
		Short: "Say with the exit status whether a running busd answers",
		Long: `Say with the exit status whether a running busd answers /healthz: 0 if it does, 1 if it does not. It needs no token, and is for
containers, which may have no other program to ask with.`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := r.do(c.Context(), http.MethodGet, "/healthz", nil)
			return err
		},
	}
	r.flags(c)
	return c
}
