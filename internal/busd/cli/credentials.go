package cli

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/identity"
)

func newCredentials() *cobra.Command {
	var file string
	var homeserver, admin, rotate bool
	c := &cobra.Command{
		Use:   "credentials MODULE | --homeserver | --admin",
		Short: "Print a NATS credentials file",
		Long: `Print a NATS credentials file: for a module that runs elsewhere, for a homeserver that asks over NATS, or for the nats command.
Modules that busd runs have theirs from it.

It is the same each time, until --rotate makes a new one. busd has the workers that it runs take it over, one after the other;
give the others the new file. The old one is turned away as soon as nobody is connected with it, and after an hour in any case.

Keep the file from others: whoever reads it is that module.

    (umask 077; busd credentials gate >gate.creds)`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			conf, err := readConfig(file)
			if err != nil {
				return err
			}
			user, err := chosen(conf, args, homeserver, admin)
			if err != nil {
				return err
			}
			return printCredentials(c, conf, user, rotate)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return listed(file), cobra.ShellCompDirectiveNoFileComp
		},
	}
	configFlag(c, &file, defaultConfig)
	c.Flags().BoolVar(&homeserver, "homeserver", false, "for a homeserver: it asks, and serves the Module API")
	c.Flags().BoolVar(&admin, "admin", false, "for whoever may do everything on the bus")
	c.Flags().BoolVar(&rotate, "rotate", false, "replace the credentials")
	return c
}

func printCredentials(c *cobra.Command, conf *config.Config, user identity.User, rotate bool) error {
	text, err := credentials(conf, user, rotate)
	if err != nil {
		return err
	}
	warnReadable(c, user)
	_, err = c.OutOrStdout().Write(text)
	return err
}

// warnReadable says so when others can read the file that the shell writes the credentials to.
func warnReadable(c *cobra.Command, u identity.User) {
	out, _ := c.OutOrStdout().(shown)
	f, ok := out.w.(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		c.PrintErrf("busd: others can read the file that this goes to, and be %s then: chmod 600 it\n", u)
	}
}

// chosen returns the user whose credentials are wanted.
func chosen(conf *config.Config, args []string, homeserver, admin bool) (identity.User, error) {
	switch {
	case homeserver && !admin && len(args) == 0:
		return identity.Homeserver, nil
	case admin && !homeserver && len(args) == 0:
		return identity.Admin, nil
	case homeserver || admin || len(args) == 0:
		return identity.User{}, usagef("name one: a module, --homeserver or --admin")
	case !slices.Contains(moduleNames(conf), args[0]):
		return identity.User{}, usagef("module %q is not in the configuration (%s): NATS would turn it away. Add it to modules first",
			args[0], config.DidYouMean(args[0], moduleNames(conf), "there is no name like it"))
	}
	return identity.Module(args[0]), nil
}

func credentials(conf *config.Config, u identity.User, rotate bool) ([]byte, error) {
	keys, err := openKeys(conf)
	if err != nil {
		return nil, err
	}
	if rotate {
		return keys.Rotate(u)
	}
	return keys.Credentials(u)
}

// openKeys opens the keys of the busd with this configuration, or makes them.
func openKeys(conf *config.Config) (*identity.Keys, error) {
	if conf.StateDir == "" {
		return nil, usagef("there is no folder with keys: set state_dir in the configuration")
	}
	return identity.Open(identity.In(conf.StateDir), conf.ServerName)
}

// listed completes names of modules.
func listed(file string) []string {
	conf, err := readConfig(file)
	if err != nil {
		return nil
	}
	return moduleNames(conf)
}

func moduleNames(conf *config.Config) (names []string) {
	for _, m := range conf.Modules {
		names = append(names, m.Name)
	}
	return names
}

func newNATSConfig() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "nats-config",
		Short: "Print what an external NATS needs to know the users of the bus",
		Long: `Print what the configuration of each server of an external NATS needs, so that it lets in this bus's users and nobody else.
It stays as it is when modules come and go, and when credentials are replaced: busd tells the servers.

The servers need JetStream for modules that store something, and a folder of their own for the accounts ("dir" of "resolver").`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := readConfig(file)
			if err != nil {
				return err
			}
			keys, err := openKeys(conf)
			if err != nil {
				return err
			}
			text, err := keys.ServerConfig(moduleNames(conf))
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write([]byte(text))
			return err
		},
	}
	configFlag(c, &file, defaultConfig)
	return c
}
