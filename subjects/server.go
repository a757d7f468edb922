package subjects

import (
	"fmt"
	"strings"
)

// Server builds the subjects of one homeserver. It is a value; its methods may be called concurrently.
type Server struct{ root string }

// For returns the subjects of the homeserver with that server name.
func For(serverName string) Server { return Server{"modulebus." + Token(serverName) + "."} }

// Ask is where a homeserver asks a callback; busd answers.
func (s Server) Ask(c AnyCallback) string { return s.root + "ask." + c.declaration().FullName() }

// AskAny matches Ask of every callback, including those that this version does not know.
func (s Server) AskAny() string { return s.root + "ask.*.*" }

// Callback is where an aggregator asks a module. Workers subscribe it with [Group].
func (s Server) Callback(c AnyCallback, module string) string {
	return s.root + "cb." + c.declaration().FullName() + "." + Token(module)
}

// Worker is where an aggregator asks one worker of a module.
func (s Server) Worker(c AnyCallback, module, worker string) string {
	return s.Callback(c, module) + "." + Token(worker)
}

// WorkerAny matches Worker of every callback.
func (s Server) WorkerAny(module, worker string) string {
	return s.root + "cb.*.*." + Token(module) + "." + Token(worker)
}

// Web is where HTTP requests for a web resource of a module are sent. Workers subscribe it with [Group].
func (s Server) Web(module, resource string) string {
	return s.root + "web.1." + Token(module) + "." + Token(resource)
}

// Entry is where a module asks for its roster entry.
func (s Server) Entry(module string) string { return s.module(module, "entry") }

// Join is where a worker registers.
func (s Server) Join(module string) string { return s.module(module, "join") }

// Leave is where a worker says that it takes no more requests.
func (s Server) Leave(module string) string { return s.module(module, "leave") }

// Changed is where a module is told of changes of its roster entry.
func (s Server) Changed(module string) string { return s.module(module, "changed") }

// Cancel is where a module is told that an answer is no longer wanted: the payload is the reply subject of the request.
func (s Server) Cancel(module string) string { return s.module(module, "cancel") }

// File is where a module reads a file. The names of the client and of the file cannot be guessed.
func (s Server) File(module, client, file string) string {
	return s.module(module, "file."+Token(client)+"."+Token(file))
}

// FileAny matches File of every module and every file of one client.
func (s Server) FileAny(client string) string {
	return s.root + "module.*.file." + Token(client) + ".*"
}

// EntryAny, JoinAny, LeaveAny and StoreAny match the subjects of every module; [ModuleOf] returns the module of a subject.
func (s Server) EntryAny() string { return s.root + "module.*.entry" }

// JoinAny is described at [Server.EntryAny].
func (s Server) JoinAny() string { return s.root + "module.*.join" }

// LeaveAny is described at [Server.EntryAny].
func (s Server) LeaveAny() string { return s.root + "module.*.leave" }

// Store is where a worker asks busd to make a bucket of the module; the answer has its name.
func (s Server) Store(module string) string { return s.module(module, "store") }

// Stored is where a module is told that a key of its store has changed. At is the key's subject in JetStream, or a pattern of
// such subjects.
func (s Server) Stored(module, at string) string { return s.module(module, "stored."+at) }

// StoreAny is described at [Server.EntryAny].
func (s Server) StoreAny() string { return s.root + "module.*.store" }

// Inbox is the prefix of the subjects on which a worker gets replies.
func (s Server) Inbox(module, worker string) string { return s.module(module, "inbox."+Token(worker)) }

// Roster is where homeservers ask for the roster.
func (s Server) Roster() string { return s.root + "roster.get" }

// RosterChanged is where homeservers are told of each new roster.
func (s Server) RosterChanged() string { return s.root + "roster.changed" }

// Decisions is where busd hands records of decisions to a module that may read them.
func (s Server) Decisions(module string) string { return s.module(module, "decisions") }

// Decision is where busd writes the record of a decision of that outcome to the stream [Server.DecisionStream]. A * stands for
// any callback, as category.callback, or any outcome.
func (s Server) Decision(outcome, callback string) string {
	if callback == "*" {
		callback = "*.*"
	}
	return s.root + "decisions." + outcome + "." + callback
}

func (s Server) module(module, what string) string {
	return s.root + "module." + Token(module) + "." + what
}

// Group is the queue group of a module's workers.
func Group(module string) string { return Token(module) }

// MayReply reports whether a request that came on a subject may be answered on its reply subject: only inboxes may be. NATS lets
// a client name any reply subject, and the answering side may publish where the client may not. A request of a module may be
// answered only in that module's inbox.
func MayReply(subject, reply string) bool {
	if !strings.HasPrefix(reply, "modulebus.") {
		return !strings.HasPrefix(reply, "$")
	}
	const about = 4 // tokens: modulebus.<server>.module.<module>
	tokens := strings.SplitN(subject, ".", about+1)
	return len(tokens) > about && strings.HasPrefix(reply, strings.Join(tokens[:about], ".")+".inbox.")
}

// ModuleOf returns the name of the module of an Entry, Join, Leave, Store or Changed subject; an error for any other subject.
// There need not be such a module.
func ModuleOf(subject string) (string, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 || tokens[0] != "modulebus" || tokens[2] != "module" {
		return "", fmt.Errorf("subjects: %q is not about a module", subject)
	}
	return ParseToken(tokens[3])
}

// CallbackOf returns the full name, category.callback, of an Ask, Callback or Worker subject; an error for any other subject.
// There need not be such a callback.
func CallbackOf(subject string) (string, error) {
	tokens := strings.SplitN(subject, ".", 6)
	if len(tokens) < 5 || tokens[0] != "modulebus" || tokens[2] != "ask" && tokens[2] != "cb" {
		return "", fmt.Errorf("subjects: %q is not about a callback", subject)
	}
	return tokens[3] + "." + tokens[4], nil
}
