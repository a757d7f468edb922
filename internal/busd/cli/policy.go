package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/policyserver"
)

func newPolicy() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "policy",
		Short: "Print the state event that makes this the policy server of a room",
		Long: `Print the state event that makes this the policy server of a room, as JSON, for a moderator to send into the room. A user of
the homeserver must be in it.

The key is the one of policy_server.key_file, and is made if there is none, whether or not busd runs.`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			event, err := policyEvent(file)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", event)
			return err
		},
	}
	configFlag(c, &file, defaultConfig)
	return c
}

func policyEvent(file string) ([]byte, error) {
	conf, err := readConfig(file)
	if err != nil {
		return nil, err
	}
	switch p := conf.PolicyServer; {
	case p == nil:
		return nil, usagef("%s has no policy_server: add \"policy_server: {}\"", file)
	case p.KeyFile == "":
		return nil, usagef("%s: there is no folder for a key: set state_dir, or policy_server.key_file", file)
	}
	key, err := policyserver.OpenKey(conf.PolicyServer.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("policy_server.key_file: %w", err)
	}
	return policyserver.StateEvent(conf.ServerName, key)
}
