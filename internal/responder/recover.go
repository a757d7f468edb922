package responder

import (
	"fmt"
	"runtime/debug"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/redact"
)

// PanicError is what a panic becomes. It repeats nothing of the panic, which may hold what a user said: that is in the
// log of the process that panicked.
type PanicError struct{ What string }

// Error implements error.
func (e *PanicError) Error() string { return e.What + " panicked; see the log" }

// Recover ends a panic, logs it with its stack, and sets err to a [*PanicError]. It is deferred by functions that call code of
// others. What names the kind of that code, such as "callback", and name, if not empty, which one it was. The log has no secret
// of the message that it was about; nil for none.
func Recover(err *error, log *zerolog.Logger, what, name string, about proto.Message) {
	v := recover()
	if v == nil {
		return
	}
	named := func(e *zerolog.Event) {
		if name != "" {
			e.Str(what, name)
		}
	}
	log.Error().Func(named).Str("panic", redact.Text(fmt.Sprint(v), about)).Bytes("stack", debug.Stack()).Msg(what + " panicked")
	*err = &PanicError{what}
}
