package subjects

import "slices"

// Permissions are what one NATS user may do, as subject patterns. A pattern of Subscribe with a queue group after a
// blank allows subscriptions in that group alone, as NATS's own configuration spells it.
type Permissions struct {
	Publish, Subscribe []string
}

// ModulePermissions are what a module of that name needs, and all that it may do: hear what it is asked, answer, join and
// leave as itself, call the Module API, serve its web resources, read and write its store. They follow from the name alone, so what the module
// registers later changes nothing. Answering needs NATS's allow_responses besides, for one answer to each question.
func (s Server) ModulePermissions(module string) Permissions {
	name := Token(module)
	store, lease := bucketPermissions(s.StoreBucket(module)), bucketPermissions(s.LeaseBucket(module))
	return Permissions{
		Subscribe: []string{
			s.root + "cb.*.*." + name + " " + Group(module),
			s.root + "cb.*.*." + name + ".*",
			s.root + "web.1." + name + ".* " + Group(module),
			s.root + "webw.1." + name + ".>",
			s.Changed(module),
			s.Cancel(module),
			s.module(module, "inbox.>"),
			"$SRV.PING", "$SRV.INFO", "$SRV.STATS",
			"$SRV.*." + ServiceName(module), "$SRV.*." + ServiceName(module) + ".>",
			s.Stored(module, ">"),
		},
		Publish: slices.Concat([]string{
			s.Entry(module),
			s.Store(module),
			s.Join(module),
			s.Leave(module),
			s.module(module, "api.*"),
			s.APICancel(module),
			s.module(module, "file.>"),
			s.root + "webg.1." + name + ".>",
		}, store, lease),
	}
}

// HomeserverPermissions are what a homeserver needs that asks modules itself, with package bus, or that asks busd over
// NATS: to ask, to hear answers, to serve the Module API and files, and to be the gateway of web resources. Answering
// the Module API needs allow_responses besides.
func (s Server) HomeserverPermissions() Permissions {
	return Permissions{
		Subscribe: []string{
			"_INBOX.>",
			s.RosterChanged(),
			s.root + "webg.1.>",
			s.root + "module.*.api.*",
			s.root + "module.*.api_cancel",
			s.root + "module.*.file.>",
		},
		Publish: []string{
			s.AskAny(),
			s.Roster(),
			s.root + "cb.>",
			s.root + "web.1.>",
			s.root + "webw.1.>",
			s.root + "module.*.cancel",
		},
	}
}
