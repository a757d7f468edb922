package subjects

import "strings"

// The channels of a stream of tunnelled HTTP. Frames on one channel keep their order.
const (
	Control = "c" // all but bodies
	Bulk    = "b" // bodies
)

// batched is the channel, beside those of streams, on which a worker answers what it was asked in batches.
const batched = "a"

// Answers is where workers of a module answer what a client asked them in batches. Only the module may publish there, and the name
// of the client cannot be guessed.
func (s Server) Answers(module, client string) string {
	return s.GatewayStream(Process(module, client), batched, "1")
}

// AnswersAny matches Answers of every module.
func (s Server) AnswersAny(client string) string { return s.GatewayStreams(client, batched) }

// NowhereElse is one of the subjects that [Server.Nowhere] matches.
func (s Server) NowhereElse(module string) string {
	return s.root + "webg.1." + Token(module) + ".nowhere.else"
}

// Nowhere matches subjects on which a module may publish, and which nobody hears.
func (s Server) Nowhere(module string) string {
	return s.root + "webg.1." + Token(module) + ".nowhere.>"
}

// MayAnswer reports whether a subject is one that Answers returns for the module.
func (s Server) MayAnswer(module, answers string) bool {
	rest, ok := strings.CutPrefix(answers, s.root+"webg.1."+Token(module)+".")
	_, rest, _ = strings.Cut(rest, ".")
	return ok && rest == batched+".1"
}

// Process returns the address of a gateway or a worker that carries HTTP for a module: the tokens of the module and of the
// name, with a dot between them.
func Process(module, name string) string { return Token(module) + "." + Token(name) }

// ModuleIn returns the token of the module in an address that [Process] returned.
func ModuleIn(process string) string {
	module, _, _ := strings.Cut(process, ".")
	return module
}

// Beside returns the address of the gateway or worker of that name for the same module as process, which is an address of
// [Process].
func Beside(process, name string) string {
	return ModuleIn(process) + "." + Token(name)
}

// StreamToken returns the token of a gateway's stream for a module. It holds the module, so that no other module can speak in the
// stream. random must be something that nobody can guess, and a subject token.
func StreamToken(random, module string) string { return random + "-" + Token(module) }

// GatewayStream is where a gateway gets frames of a stream. The names of gateway and stream are random, so only the worker that
// was asked knows the subject.
func (s Server) GatewayStream(process, channel, token string) string {
	return s.root + "webg.1." + process + "." + channel + "." + token
}

// GatewayStreams matches GatewayStream of every stream of a gateway.
func (s Server) GatewayStreams(gateway, channel string) string {
	return s.root + "webg.1.*." + Token(gateway) + "." + channel + ".*"
}

// WorkerStream is where a worker gets frames of a stream.
func (s Server) WorkerStream(process, channel, token string) string {
	return s.root + "webw.1." + process + "." + channel + "." + token
}

// WorkerStreams matches WorkerStream of every stream of a worker.
func (s Server) WorkerStreams(process, channel string) string {
	return s.WorkerStream(process, channel, "*")
}

// StreamOf returns the process and the token of a GatewayStream or WorkerStream; both are empty for other subjects. It
// allocates nothing.
func StreamOf(subject string) (process, token string) {
	rest, token, ok := cutLast(subject)
	if !ok {
		return "", ""
	}
	rest, _, _ = cutLast(rest) // The channel.
	end := len(rest)
	rest, _, _ = cutLast(rest)
	rest, _, ok = cutLast(rest)
	if !ok || !strings.HasSuffix(rest, ".webg.1") && !strings.HasSuffix(rest, ".webw.1") {
		return "", ""
	}
	return subject[len(rest)+1 : end], token
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
