package roster

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
)

const (
	// maxSaid is how many messages about its workers each module may send per second in the long run; each worker joins
	// every five seconds. Beyond: they are answered 429 and change nothing; the log names the module, and
	// modulebus_module_messages_not_taken_total counts them.
	maxSaid = 256

	// maxSaidAtOnce is how many messages about its workers each module may send at once: four for each worker. Beyond: they are
	// answered 429 and change nothing.
	maxSaidAtOnce = 4 * maxWorkers

	// maxVoices is for how many modules messages about workers are counted separately. Beyond: those of further modules
	// are counted together.
	maxVoices = 4096

	// maxTold is how many rosters per second homeservers are told in the long run. Beyond: several changes are told as
	// one.
	maxTold = 20

	// maxToldAtOnce is how many rosters homeservers are told at once. Beyond: several changes are told as one.
	maxToldAtOnce = 50

	// remindEvery is how often the log says that a module still sends too much.
	remindEvery = time.Minute
)

// throttle bounds how often each module may join, leave and ask for its entry: a module that does so in a loop must not
// slow down others, nor the homeservers that follow the roster. Its methods may be called concurrently.
type throttle struct {
	log    zerolog.Logger // gets a line per minute and module
	denied prometheus.Counter
	mu     sync.Mutex
	voices map[string]*voice // by module
	looked time.Time         // when voices to forget were last looked for
}

// voice counts the messages of one module.
type voice struct {
	*rate.Limiter
	warned time.Time
}

func newThrottle(log zerolog.Logger) *throttle {
	denied := prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "modulebus", Name: "module_messages_not_taken_total",
		Help: "Joins, leaves and requests for entries that were answered 429, because a module sends too many.",
	})
	return &throttle{log: log, denied: denied, voices: map[string]*voice{}}
}

// allows reports whether a message of the module is accepted now.
func (t *throttle) allows(module string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.of(module, now)
	allowed := v.AllowN(now, 1)
	if !allowed {
		t.denied.Inc()
	}
	if !allowed && now.Sub(v.warned) >= remindEvery {
		v.warned = now
		t.log.Warn().Str("module", module).Int("most", maxSaid).
			Msg("a module joins, leaves or asks for its entry too often, and is answered 429: does it do so in a loop?")
	}
	return allowed
}

// of returns the voice of a module.
func (t *throttle) of(module string, now time.Time) *voice {
	if t.voices[module] == nil && len(t.voices) >= maxVoices {
		module = t.makeRoom(module, now)
	}
	v := t.voices[module]
	if v == nil {
		v = &voice{Limiter: rate.NewLimiter(maxSaid, maxSaidAtOnce)}
		t.voices[module] = v
	}
	return v
}

// makeRoom forgets modules that have been silent for long, and returns the name under which another module is counted:
// its own, or, if there is no room, a common one. It looks for silent modules at most once a second, because a client
// that sends many names would otherwise make it look each time.
func (t *throttle) makeRoom(module string, now time.Time) string {
	if now.Sub(t.looked) >= time.Second {
		t.looked = now
		maps.DeleteFunc(t.voices, func(_ string, v *voice) bool { return v.TokensAt(now) >= maxSaidAtOnce })
	}
	if len(t.voices) >= maxVoices {
		return "" // No module has that name.
	}
	return module
}
