// Package bus is the homeserver's side: it asks modules that run in other processes, and combines their answers into one
// decision.
//
//	modules, err := bus.New(ctx, nc, bus.Options{ServerName: "example.com"})
//	…
//	decision, err := modules.SpamChecker.UserMayCreateRoom(ctx, &callbacksv1.UserMayCreateRoomRequest{UserId: user})
//	if err != nil {
//		return err // a module failed, and its policy does not let that pass
//	}
//	if r := decision.Answer.GetRefusal(); r != nil {
//		return matrixError(r.GetErrcode(), r.GetError())
//	}
//	// No module objected.
//
// # Order
//
// Modules count in the order of the operator's roster, whatever order their replies arrive in: the decision is the one
// that asking them one after the other would have made. A callback that is declared free of side effects is asked of all
// modules at once, so a module may be asked although its answer turns out not to matter.
//
// # Silence, refusals and failures
//
// A nil Answer means that no module had an opinion: carry on as if there were no modules. A refusal is an answer. A
// module that is absent, too slow or broken, or whose answer cannot be read, has failed. Its policy in the roster says what
// that means: the module is skipped, or the ask is refused, or the ask fails with an [*Error] that names the module.
//
// # Deadlines
//
// An ask ends within the caller's context, the roster's budget and each module's own timeout, whichever is first. When
// the budget or the context's deadline runs out, each module not heard from gets its own failure policy. When the
// context is cancelled, the ask returns its error at once.
//
// # Workers
//
// Workers of a module stand in for each other: one that is busy, or gone, leaves a request to another at once. Where the
// operator wants it, a second worker is asked when the first takes long; the first answer counts, and nothing that has
// side effects is asked twice. A module that repeatedly does not answer in time is not asked for a while: its policy
// applies at once, until one ask has tried again and was answered. Requests whose answers are no longer wanted are cancelled.
//
// # Concurrency
//
// A [Client] may be used from any number of goroutines. An ask runs on the goroutine of its caller. When many are sent at
// once, one goroutine of the client publishes for all of them; [Client.Close] waits for it. A module may call
// the homeserver, which may ask modules again: no lock is held while a module works.
//
// # Testing
//
// Package bustest has clients that answer from a script.
package bus
