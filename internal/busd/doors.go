package busd

import (
	"cmp"
	"net/url"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/antispamdoor"
	"github.com/modulebus/modulebus/internal/busd/door/askdoor"
	"github.com/modulebus/modulebus/internal/busd/door/httpdoor"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/door/policydoor"
	"github.com/modulebus/modulebus/internal/busd/page"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
)

// doors are the front doors over HTTP. A new one is a folder in door, and a line here.
func (d *daemon) doors() []door.Served {
	operators := operatordoor.New(operatordoor.Options{
		Client: d.client, Roster: d.roster, Metrics: d.metrics, Processes: d.modules, Records: d.records, ConfigStatus: d.reloads.Status,
		Life: d.life, Guard: d.guard, Alive: d.broker.Conn.IsConnected, Trouble: d.broker.Trouble,
	})
	doors := []door.Served{
		operators,
		askdoor.New(askdoor.Options{ServerName: d.config.ServerName, Answerer: d.answerer, Client: d.client, Life: d.life, Log: d.Log}),
		antispamdoor.New(antispamdoor.Options{ServerName: d.config.ServerName, Answerer: d.answerer, Life: d.life, Log: d.Log}),
		page.New(page.Options{
			ServerName: d.config.ServerName, Modules: operators.Status, Config: d.reloads.Status, Records: d.records, Metrics: d.asked,
			Guard: d.guard, Life: d.life, Log: d.Log,
		}),
	}
	if c := d.config.PolicyServer; c != nil {
		doors = append(doors, policydoor.New(policydoor.Options{
			KeyFile: cmp.Or(c.KeyFile, d.state.Path("policy.key")), Answerer: d.answerer, Life: d.life,
			Server: policyserver.Options{
				ServerName: d.config.ServerName, Homeserver: hostOf(d.config.Homeserver.URL), Call: d.call, Metrics: d.metrics, Log: d.Log,
			},
		}))
	}
	return doors
}

// openDoors opens all doors but the one over NATS, which begin opens: these turn asks away themselves until busd has
// begun.
func (d *daemon) openDoors() error {
	doors := d.doors()
	for _, one := range doors {
		if err := d.openDoor(one); err != nil {
			return err
		}
	}
	d.http = httpdoor.New(httpdoor.Options{
		Config: d.config.HTTP, Doors: doors, Client: d.client, Life: d.life, Guard: d.guard, TracerProvider: d.TracerProvider,
		Failed: d.fail, Log: d.Log,
	})
	d.metrics.MustRegister(d.http)
	return d.openDoor(d.http)
}

// openDoor opens a door, which is drained and closed at the end.
func (d *daemon) openDoor(one door.Door) error {
	if err := one.Open(); err != nil {
		return err
	}
	d.open = append(d.open, one)
	return nil
}

// hostOf returns a URL without its path, which is the base of the homeserver's other APIs; empty without a URL.
func hostOf(homeserver string) string {
	u, err := url.Parse(homeserver)
	if err != nil || u.Host == "" {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host}).String()
}
