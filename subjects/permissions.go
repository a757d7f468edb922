package subjects

import "slices"

// Permissions are what one NATS user may do, as subject patterns. A pattern of Subscribe with a queue group after a
// blank allows subscriptions in that group alone, as NATS's own configuration spells it.
type Permissions struct {
	Publish, Subscribe []string
}

// ModulePermissions are the permissions that a module needs: to get its questions, join and leave as itself, get records of
// decisions, call the Module API, serve its web resources, and read and write its store. They follow from the name alone, whatever the module
// registers.
// To answer it also needs NATS's allow_responses, for one answer to each question.
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
			s.Decisions(module) + " " + Group(module),
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

// HomeserverPermissions are the permissions that a homeserver needs to ask modules itself, with package bus, or to ask busd over
// NATS: to ask, to get answers, to serve the Module API and files, and to be the gateway of web resources. To answer calls of
// the Module API it also needs allow_responses.
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
			s.NewsOfAll(),
			s.root + "web.1.>",
			s.root + "webw.1.>",
			s.root + "module.*.cancel",
		},
	}
}
